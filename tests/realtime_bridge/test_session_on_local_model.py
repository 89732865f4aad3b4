"""The session against the offline model's real server on loopback, over the real socket; its parts are scripted."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from openai import AsyncOpenAI
from support.live_session import of, until
from support.scripted_model import LoudnessVad, ScriptedRecognizer, ToneVoice, silence, tone

from realtime_bridge import Agent, RealtimeSession, tool
from realtime_bridge.localmodel.model_session import Limits
from realtime_bridge.localmodel.parts import CallTool, Say, Turn
from realtime_bridge.localmodel.server import LocalModelServer
from realtime_bridge.transport.websocket import WebSocketTransport


class RuleBrain:
    """Does what the last item calls for: a typed `call NAME` calls a tool, a result is said, other words are said back."""

    def __init__(self, greetings: list[str]):
        self._greetings = greetings

    async def respond(self, turn: Turn):
        spoken = [item for item in turn.items if item.role != "system"]
        if not spoken:
            self._greetings.append("hello")
            yield Say("Hello.")
            return
        last = spoken[-1]
        if last.type == "function_call_output":
            yield Say(f"The answer is {last.output}.")
        elif last.role == "user":
            words = " ".join(part.text or part.transcript or "" for part in last.content or ())
            if words.startswith("call "):
                yield CallTool(words.removeprefix("call "))
            else:
                yield Say(f"You said {words}.")


@asynccontextmanager
async def conversation(agent, *, heard=(), session_seconds=3600.0, **options):
    """(session, server, greetings said by the model)."""
    greetings = []
    server = LocalModelServer(
        brain_factory=lambda: RuleBrain(greetings),
        recognizer=ScriptedRecognizer(*heard),
        voice=ToneVoice(),
        vad_factory=LoudnessVad,
        limits=Limits(session_seconds=session_seconds),
    )
    async with server, AsyncOpenAI(base_url=server.base_url, api_key="sk-local") as openai:
        made = RealtimeSession(agent, transport=WebSocketTransport(model="local", openai=openai), **options)
        made.events = []
        made.on(None, made.events.append)
        async with made:
            yield made, server, greetings


def run(main):
    asyncio.run(asyncio.wait_for(main(), 120))


async def replied(made, text):
    """Wait until the agent has said this."""
    count = 0
    while True:
        count += 1
        event = await until(made, "agent_end", count)
        if text in event.output:
            return event


def test_a_spoken_conversation_with_tool_approval_and_hand_off():
    async def main():
        @tool
        async def weather() -> str:
            return "sunny"

        @tool(needs_approval=True)
        async def refund() -> str:
            return "refunded"

        desk = Agent("desk", tools=[weather, refund], handoffs=[Agent("billing", "Money.")])
        async with conversation(desk, heard=["good morning"], greeting=True) as (made, _, greetings):
            await replied(made, "Hello.")
            await made.audio_played(of(made, "audio_stopped")[0].item_id, 10_000)
            await made.send_audio(tone(600) + silence(1200))
            await replied(made, "You said good morning.")
            await made.send_message("call weather")
            await replied(made, "The answer is sunny.")
            await made.send_message("call refund")
            await made.approve((await until(made, "tool_approval_requested")).request)
            await replied(made, "The answer is refunded.")
            await made.send_message("call transfer_to_billing")
            await until(made, "agent_handoff")
            assert made.current_agent.name == "billing"
            assert greetings == ["hello"]
            assert made.usage.total > 0
            texts = [(item.role, item.text) for item in made.history if item.type == "message"]
            assert texts[:3] == [
                ("assistant", "Hello."),
                ("user", "good morning"),
                ("assistant", "You said good morning."),
            ]
            assert [event for event in of(made, "error") if event.level == "error"] == []

    run(main)


def test_speech_over_the_agent_is_a_barge_in():
    async def main():
        async with conversation(Agent("desk"), heard=["stop"]) as (made, _, _):
            await made.send_message("please repeat after me a very long sentence that takes quite a while to say")
            item_id = (await until(made, "audio_stopped")).item_id
            await made.audio_played(item_id, 1500)
            await made.send_audio(tone(600))
            cut = (await until(made, "audio_interrupted")).cuts[0]
            assert (cut.heard_ms, cut.audio_ms > 3000) == (1500, True)
            await made.send_audio(silence(1200))
            await replied(made, "You said stop.")
            (interrupted,) = [item for item in made.history if item.cut]
            assert interrupted.text == "You said please repeat after me"
            assert interrupted.unheard.endswith("takes quite a while to say.")
            assert [event for event in of(made, "error") if event.level == "error"] == [], "the truncate was right"

    run(main)


@pytest.mark.parametrize(
    ("options", "in_time"),
    [
        ({"rotate_after_s": 0.4}, True),
        ({"session_seconds": 3.0}, True),
        ({"session_seconds": 1.0, "rotate_after_s": None}, False),
    ],
    ids=["when we want", "before the server's word", "thrown out"],
)
def test_a_conversation_outlives_its_model_sessions(options, in_time):
    """A tool and an approval are pending all the while."""

    async def main():
        may_end = asyncio.Event()
        runs = []

        @tool
        async def slow() -> str:
            runs.append("slow")
            await may_end.wait()
            return "done at last"

        @tool(needs_approval=True)
        async def refund() -> str:
            runs.append("refund")
            return "refunded"

        agent = Agent("desk", tools=[slow, refund])
        async with conversation(agent, greeting=True, **options) as (made, _, greetings):
            await replied(made, "Hello.")
            await made.send_message("call slow")
            await until(made, "agent_tool_start")
            await made.send_message("call refund")
            request = (await until(made, "tool_approval_requested")).request
            await until(made, "reconnected", 2)
            await made.approve(request)
            await replied(made, "The answer is refunded.")
            may_end.set()
            await replied(made, "The answer is done at last.")
            assert greetings == ["hello"], "nobody is greeted twice"
            assert runs == ["slow", "refund"], "nothing is run twice"
            assert all(event.planned == in_time for event in of(made, "reconnecting"))
            calls = [item for item in made.history if item.type == "function_call"]
            assert [item.output for item in calls] == ["done at last", "refunded"]

    run(main)
