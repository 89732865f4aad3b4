"""A whole call in virtual time that the test steers: caller, phone, switchboard, session, a scripted model, Twilio's API.

call = SteeredCall([SayThis("Hello.")], [SayThis("Bye."), CallTool("hang_up", {"reason": "done"})], tools=[hang_up])
result = call.run([WaitForAgent(), Say(SPEECH), Pause(20_000)])
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import numpy as np
from support.scripted_model import LoudnessVad, ScriptedRecognizer, ToneVoice, tone

from realtime_bridge import Agent
from realtime_bridge.audio.g711 import pcm16_to_mulaw
from realtime_bridge.localmodel.brains.instructions import sentence_ordered
from realtime_bridge.localmodel.parts import Say as SayThis
from realtime_bridge.tape import InlineDisk
from realtime_bridge.transport.inline_socket import InlineModels
from telephony.call_details import CallDetails
from telephony.calls.answering import Switchboard
from telephony.steering.control import CallControl
from telephony.steering.control_settings import ControlSettings, SilenceSettings
from telephony.steering.transfers import Transfers
from telephony.testing import CallResult, SimulatedPhone, place_virtual_call, run_virtual
from telephony.twilio.rest_errors import TwilioRestError

SPEECH = pcm16_to_mulaw(tone(800, rate=8000))
WORD_S = 0.25  # of ToneVoice
UNDERSTOOD = ("Well.",) * 50
PATIENT = ControlSettings(silence=SilenceSettings(after_s=None), public_url="https://phone.example.com")
OURS, THEIRS = "+14155550100", "+14155550199"


class ObedientBrain:
    """Says what a response's instructions order; else the given deeds, one list a response. `asked`: every turn."""

    def __init__(self, *responses: Iterable) -> None:
        self._responses = [list(deeds) for deeds in responses]
        self.asked = []

    async def respond(self, turn):
        self.asked.append(turn)
        if ordered := sentence_ordered(turn.instructions):
            yield SayThis(ordered)
            return
        for deed in self._responses.pop(0) if self._responses else []:
            if isinstance(deed, Exception):
                raise deed
            yield deed


class TwilioAtHand:
    """Twilio's REST API as far as it concerns one caller: what ends their call, or moves it, ends our stream."""

    def __init__(self, phone: SimulatedPhone, *, takes_s: float = 0.1, fails: Iterable[str] = ()) -> None:
        """`fails`: which requests are refused: `place`, `completed`, `twiml`, or `slow` for no answer at all."""
        self.requests = []  # (when, what, about)
        self.fails = set(fails)
        self._phone = phone
        self._takes_s = takes_s
        self._legs = 0

    async def place_call(self, call):
        self._note("place", call)
        await self._answer("place")
        self._legs += 1
        return f"CA9{self._legs:031d}"

    async def update_call(self, call_sid, *, twiml=None, status=None):
        self._note(status or "twiml", twiml or call_sid)
        await self._answer(status or "twiml")
        if call_sid == self._phone.ids.call_sid:
            self._phone.hang_up(asyncio.get_running_loop().time())

    def made(self, what):
        return [about for _, kind, about in self.requests if kind == what]

    def at(self, what):
        return [at for at, kind, _ in self.requests if kind == what]

    def _note(self, what, about):
        self.requests.append((asyncio.get_running_loop().time() - self._phone.started_at, what, about))

    async def _answer(self, what):
        if "slow" in self.fails:
            await asyncio.sleep(30)  # as long as a client of Twilio's API would wait, at most
        await asyncio.sleep(self._takes_s)
        if what in self.fails:
            raise TwilioRestError("Twilio refuses", code=None, status=500, kind="unknown")


class SteeredCall:
    """`control` and `session` once the call has begun; `at(seconds, function)` acts in the middle of it."""

    def __init__(
        self, *responses, tools=(), settings=PATIENT, rest=True, fails=(), details=None, data_dir=None, recording=None,
        rotate_after_s=None,
    ):  # fmt: skip
        self.phone = SimulatedPhone()
        self.twilio = TwilioAtHand(self.phone, fails=fails)
        self.transfers = Transfers()
        self.brain = ObedientBrain(*responses)
        self.results = []
        self.ending = None
        self._settings = settings
        self._rest = self.twilio if rest else None
        self._agent = Agent(name="Desk", instructions="Help.", tools=list(tools))
        self._details = details
        self._data_dir = data_dir
        self._recording = recording
        self._rotate_after_s = rotate_after_s
        self._plan = []

    def at(self, seconds, what):
        """Call `what(call)` so long after the call's beginning; what a coroutine returns is kept in `results`."""
        self._plan.append((seconds, what))
        return self

    def run(self, steps, **network) -> CallResult:
        """`network`: links, as `place_virtual_call` takes them."""
        return run_virtual(self._run(steps, network))

    async def _run(self, steps, network):
        switchboard = Switchboard(
            self._agent,
            model="scripted",
            open_model=InlineModels(
                brain_factory=lambda: self.brain,
                recognizer=ScriptedRecognizer(*UNDERSTOOD),
                voice=ToneVoice(),
                vad_factory=LoudnessVad,
            ),
            disk=InlineDisk(),
            data_dir=self._data_dir,
            control=self._control,
            recording=self._recording,
            rotate_after_s=self._rotate_after_s,
        )
        switchboard.live.add_listener(self)
        details = self._details or CallDetails(call_sid=self.phone.ids.call_sid, caller=THEIRS, called=OURS)
        switchboard.expect(details)
        try:
            return await place_virtual_call(switchboard.answer, steps, phone=self.phone, **network)
        finally:
            await switchboard.close()
            if left := asyncio.all_tasks() - {asyncio.current_task()}:
                assert "slow" in self.twilio.fails or self.twilio._takes_s > 1, left
                _, left = await asyncio.wait(left, timeout=60)
            assert not left, left

    def _control(self, transport, details):
        self.control = CallControl(
            transport, details, rest=self._rest, settings=self._settings, transfers=self.transfers
        )
        return self.control

    def call_began(self, call):
        self.session = call.session
        for seconds, what in self._plan:
            asyncio.get_running_loop().call_later(seconds, self._do, what)

    def call_ended(self, details, ending):
        self.ending = ending

    def _do(self, what):
        work = what(self)
        if asyncio.iscoroutine(work):
            task = asyncio.ensure_future(work)
            task.add_done_callback(lambda done: self.results.append(done.result()))

    @property
    def told(self):
        """What the model was told as messages, in order."""
        items = self.brain.asked[-1].items if self.brain.asked else ()
        return [(i.role, i.content[0].text) for i in items if i.type == "message" and i.content and i.content[0].text]

    @property
    def history(self):
        return [(item.role, item.text, item.cut) for item in self.session.history if item.type == "message"]


def heard_hz(result: CallResult, start: float, end: float) -> set[int]:
    """Frequencies that stand out in what the caller heard between these seconds."""
    stereo = np.frombuffer(result.stereo, np.int16)[1::2]
    sound = stereo[round(start * 8000) : round(end * 8000)].astype(float)
    if not len(sound) or np.abs(sound).max() < 50:
        return set()
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound)), 8000))
    peaks = [
        hz
        for hz in range(100, 3900)
        if spectrum[hz] > 0.25 * spectrum.max() and spectrum[hz] == spectrum[hz - 25 : hz + 26].max()
    ]
    return set(peaks)


def loudest(result: CallResult, start: float, end: float) -> int:
    """The loudest sample that the caller heard between these seconds."""
    heard = np.frombuffer(result.stereo, np.int16)[1::2][round(start * 8000) : round(end * 8000)]
    return int(np.abs(heard.astype(int)).max(initial=0))
