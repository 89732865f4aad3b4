"""The calls of the regression set: a recorded human caller, the offline model, and what goes wrong in each.

Each is named after what users of such bridges report; the numbers are those of README.md, in this directory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.bent_model import BentModels
from support.scripted_model import ScriptedBrain

from realtime_bridge import Agent, ToolContext, tool
from realtime_bridge.localmodel.parts import CallTool, Deed, Recognizer, Synthesizer
from realtime_bridge.localmodel.parts import Say as SayThis
from realtime_bridge.localmodel.reply import Pace
from realtime_bridge.tape import InlineDisk
from realtime_bridge.transport.inline_socket import InlineModels
from telephony.calls.answering import Switchboard
from telephony.calls.live import LiveCall
from telephony.records.folder import CallFolder
from telephony.testing import (
    HangUp,
    InterruptAfter,
    Link,
    Pause,
    Say,
    SimulatedPhone,
    Step,
    WaitForAgent,
    place_virtual_call,
    run_virtual,
)
from telephony.testing.speech import LINES, compose

GREETING = "Good morning. This is the front desk of the telephone company, and there is a great deal that I can do."
TURN_DETECTION = {"type": "server_vad", "silence_duration_ms": 300}

NO = Say(compose("vm-no"), "no")
HELLO = Say(compose("hello"), "hello")
THANKS = Say(compose("auth-thankyou"), "thank you")
WEASELS = Say(LINES["opening"].mulaw, "weasels")
TOMORROW = Say(compose("digits/tomorrow"), "tomorrow")
WAIT = WaitForAgent()


@tool
def look_up() -> str:
    """Look the customer up."""
    return "A good customer."


@tool(filler="Let me see. This may take a moment, since our books are kept on paper.", filler_after_s=0.2)
async def search() -> str:
    """Search the books."""
    await asyncio.sleep(8)
    return "Nothing was found."


@tool(needs_approval=True)
def refund() -> str:
    """Pay an order back."""
    return "Refunded."


@tool
async def think_twice(context: ToolContext[Any]) -> str:
    """Change your mind."""
    asyncio.get_running_loop().call_later(0.1, lambda: asyncio.ensure_future(context.session.interrupt()))
    return "It was wrong."


@dataclass(frozen=True, kw_only=True)
class TapedCall:
    """`responses`: what the agent does, one list of deeds for each response. `bend`: of the model, see `BentModels`."""

    responses: Sequence[Sequence[Deed]]
    steps: Sequence[Step]
    agent: Callable[[], Agent] = lambda: Agent(name="Front desk", instructions="Help.")
    audio: str = "pcmu"
    pace: Pace | None = None  # of the model's audio
    rotate_after_s: float = 55 * 60.0
    bend: dict[str, Any] = field(default_factory=dict)
    to_server: Callable[[], Link] | None = None
    to_phone: Callable[[], Link] | None = None
    meddle: Callable[[LiveCall, BentModels], None] = lambda call, models: None


def with_tools(*tools: Any, **more: Any) -> Callable[[], Agent]:
    return lambda: Agent(name="Front desk", instructions="Help.", tools=tools, **more)


def with_colleague(*, voices: tuple[str | None, str | None] = (None, None)) -> Callable[[], Agent]:
    def make() -> Agent:
        billing = Agent(name="Billing", instructions="Help with bills.", voice=voices[1])
        return Agent(name="Front desk", instructions="Help.", handoffs=[billing], voice=voices[0])

    return make


def objecting(times: int, *, names_a_length: bool) -> Callable[[dict[str, Any]], list[dict[str, Any]] | None]:
    """A model that takes the first truncates for too long: by its count there was half as much audio."""
    left = [times]

    def hears(event: dict[str, Any]) -> list[dict[str, Any]] | None:
        if event["type"] != "conversation.item.truncate" or not left[0]:
            return None
        left[0] -= 1
        asked_ms = event["audio_end_ms"]
        told = f"{asked_ms // 2}ms is already shorter than {asked_ms}ms" if names_a_length else "is already shorter"
        error = {
            "type": "invalid_request_error", "code": "invalid_value", "message": f"Audio content of {told}",
            "event_id": event["event_id"], "param": None,
        }  # fmt: skip
        return [{"type": "error", "event_id": f"event_objection_{times - left[0]}", "error": error}]

    return hears


def twice(event: dict[str, Any]) -> list[dict[str, Any]]:
    """A model that delivers tool calls twice."""
    called = event["type"] == "response.output_item.done" and event["item"]["type"] == "function_call"
    return [event, event] if called else [event]


def lose_after(heard_s: float, *, of: int) -> Callable[[LiveCall, BentModels], None]:
    """The model is lost when the caller has heard so much of an item, the first or a later one."""

    def meddle(call: LiveCall, models: BentModels) -> None:
        started = []

        def on_start(_event: object) -> None:
            started.append(True)
            if len(started) == of:
                asyncio.get_running_loop().call_later(heard_s, models.lose)

        call.session.on("audio_start", on_start)

    return meddle


def interrupt_after(heard_s: float) -> Callable[[LiveCall, BentModels], None]:
    """The program stops the first item when the caller has heard so much of it."""

    def meddle(call: LiveCall, _models: BentModels) -> None:
        stops = []

        def on_start(_event: object) -> None:
            if not stops:
                stop = lambda: asyncio.ensure_future(call.session.interrupt())  # noqa: E731 - one of two lines
                stops.append(asyncio.get_running_loop().call_later(heard_s, stop))

        call.session.on("audio_start", on_start)

    return meddle


def stalling(start_s: float, end_s: float) -> Callable[[], Link]:
    """Nothing comes from the phone for a while, counted from the call's beginning."""

    def make() -> Link:
        link, now = Link(), asyncio.get_running_loop().time()
        link.stall(now + start_s, now + end_s)
        return link

    return make


CALLS = {
    "01-barge-in-after-generation": TapedCall(
        responses=[[SayThis(GREETING)], [SayThis("All right. What else?")]],
        steps=[InterruptAfter(2500), NO, WAIT, HangUp()],
    ),
    "02-a-turn-is-no-interruption": TapedCall(
        responses=[[SayThis("Front desk. How can I help?")], [SayThis("Oh dear.")], [SayThis("You are welcome.")]],
        steps=[WAIT, WEASELS, WAIT, THANKS, WAIT, HangUp()],
    ),
    "03-truncate-refused-as-too-long": TapedCall(
        responses=[[SayThis(GREETING)], [SayThis("All right. What else?")]],
        steps=[InterruptAfter(2000), NO, WAIT, HangUp()],
        bend={"hears": lambda: objecting(1, names_a_length=True)},
    ),
    "04-errors-do-not-end-the-call": TapedCall(
        responses=[[SayThis(GREETING)], [SayThis("All right. What else?")]],
        steps=[InterruptAfter(2000), NO, WAIT, HangUp()],
        bend={"hears": lambda: objecting(9, names_a_length=False)},
    ),
    "05-marks-of-a-clear": TapedCall(
        responses=[[SayThis(GREETING)], [SayThis(GREETING)], [SayThis("All right.")]],
        steps=[InterruptAfter(2000), NO, InterruptAfter(1000), NO, WAIT, HangUp()],
        to_server=lambda: Link(40),
        to_phone=lambda: Link(40),
    ),
    "06-formats-after-a-hand-off": TapedCall(
        agent=with_colleague(),
        responses=[
            [SayThis("Front desk. How can I help?")],
            [CallTool("transfer_to_billing")],
            [SayThis("Billing, this is Robin.")],
        ],
        steps=[WAIT, WEASELS, WAIT, HangUp()],
    ),
    "07-voice-after-a-hand-off": TapedCall(
        agent=with_colleague(voices=("marin", "cedar")),
        responses=[
            [SayThis("Front desk. How can I help?")],
            [CallTool("transfer_to_billing")],
            [SayThis("Billing, this is Robin.")],
        ],
        steps=[WAIT, WEASELS, WAIT, HangUp()],
    ),
    "08-result-during-a-response": TapedCall(
        agent=with_tools(look_up),
        responses=[
            [SayThis("Front desk.")],
            [CallTool("look_up"), SayThis("I am looking you up, and while I do, please stay on the line with me.")],
            [SayThis("There you are. A good customer.")],
        ],
        steps=[WAIT, HELLO, WaitForAgent(quiet_ms=1500), HangUp()],
        pace=Pace(speed=1.0),
    ),
    "09-cancelled-before-it-began": TapedCall(
        agent=with_tools(think_twice),
        responses=[
            [SayThis("Front desk.")],
            [CallTool("think_twice")],
            [SayThis("Nobody shall hear this.")],
            [SayThis("Yes?")],
        ],
        steps=[WAIT, HELLO, Pause(3000), TOMORROW, WAIT, HangUp()],
        bend={"late_s": 0.3},
    ),
    "10-late-audio-of-an-interrupted-reply": TapedCall(
        responses=[[SayThis(GREETING)], [SayThis("All right. What else?")]],
        steps=[Pause(5500), HELLO, WAIT, HangUp()],
        pace=Pace(speed=1.2),
        bend={"late_s": 0.4},
        meddle=interrupt_after(1.5),
    ),
    "11-the-model-is-lost": TapedCall(
        responses=[[SayThis("Front desk. How can I help?")], [SayThis("Weasels. Oh dear.")]],
        steps=[WAIT, WEASELS, WAIT, THANKS, HangUp()],
        meddle=lose_after(2.5, of=1),
        bend={"open_s": 0.5},
    ),
    "11-the-model-session-ends": TapedCall(
        responses=[[SayThis("Front desk. How can I help?")], [SayThis("Weasels. Oh dear.")], [SayThis("Not at all.")]],
        steps=[WAIT, WEASELS, WAIT, Pause(500), THANKS, WAIT, HangUp()],
        rotate_after_s=6.0,  # while the caller speaks
    ),
    "12-items-end-in-whole-samples": TapedCall(
        responses=[[SayThis("Yes?")], [SayThis("No.")]],
        steps=[WAIT, HELLO, WAIT, HangUp()],
        audio="pcm",
    ),
    "13-the-phone-falls-silent": TapedCall(
        responses=[[SayThis("Front desk.")], [SayThis("Hello to you, too.")]],
        steps=[WAIT, HELLO, WAIT, HangUp()],
        to_server=stalling(1.95, 5.5),
    ),
    "14-first-words-while-connecting": TapedCall(
        responses=[[SayThis("Front desk. Weasels, you say?")], [SayThis("Yes?")]],
        steps=[WEASELS, WAIT, HangUp()],
        bend={"open_s": 2.0},
    ),
    "16-tool-ends-after-a-barge-in": TapedCall(
        agent=with_tools(search),
        responses=[
            [SayThis("Front desk.")],
            [CallTool("search")],
            [SayThis("Let me see. This may take a moment, since our books are kept on paper.")],
            [SayThis("As you like.")],
        ],
        steps=[WAIT, HELLO, InterruptAfter(1200), NO, WAIT, Pause(5000), HangUp()],
    ),
    "17-the-same-tool-call-twice": TapedCall(
        agent=with_tools(look_up),
        responses=[[SayThis("Front desk.")], [CallTool("look_up")], [SayThis("A good customer.")]],
        steps=[WAIT, HELLO, WAIT, HangUp()],
        bend={"says": lambda: twice},
    ),
    "18-hang-up-while-an-approval-waits": TapedCall(
        agent=with_tools(refund),
        responses=[[SayThis("Front desk.")], [CallTool("refund")]],
        steps=[WAIT, HELLO, Pause(3000), HangUp()],
    ),
    "24-hang-up-in-mid-sentence": TapedCall(
        responses=[[SayThis(GREETING)]],
        steps=[InterruptAfter(2500), HangUp()],
    ),
    "24-words-nobody-heard": TapedCall(
        responses=[[SayThis(GREETING)], [SayThis("All right.")], [SayThis("Tomorrow it is.")]],
        steps=[InterruptAfter(2500), NO, WAIT, Pause(1500), TOMORROW, WAIT, HangUp()],
        meddle=lose_after(1.5, of=2),
    ),
}


def ring(taped: TapedCall, data_dir: Path, *, recognizer: Recognizer, voice: Synthesizer) -> Path:
    """Make the call, in virtual time; returns its tape."""
    phone = SimulatedPhone()
    brain = ScriptedBrain(*taped.responses)
    models = InlineModels(brain_factory=lambda: brain, recognizer=recognizer, voice=voice, pace=taped.pace)
    bend = {name: value() if callable(value) else value for name, value in taped.bend.items()}
    bent = BentModels(models, **bend)

    class Meddler:
        def call_began(self, call: LiveCall) -> None:
            taped.meddle(call, bent)

        def call_ended(self, details: object, ending: object) -> None:
            pass

    async def call() -> None:
        switchboard = Switchboard(
            taped.agent(), model="local", open_model=bent, audio=taped.audio, data_dir=data_dir, disk=InlineDisk(),
            config={"audio": {"input": {"turn_detection": TURN_DETECTION}}}, rotate_after_s=taped.rotate_after_s,
        )  # fmt: skip
        switchboard.live.add_listener(Meddler())
        links = {"to_server": taped.to_server, "to_phone": taped.to_phone}
        made = {name: make() for name, make in links.items() if make is not None}
        result = await place_virtual_call(switchboard.answer, taped.steps, phone=phone, **made)
        await switchboard.close()
        assert result.failure is None, result.failure
        assert not result.problems, result.problems

    run_virtual(call())
    return CallFolder(data_dir, phone.ids.call_sid).tape
