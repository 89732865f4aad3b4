"""A short recorded call in virtual time, without the speech models: tones for speech, understood and answered by script."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from support.scripted_model import LoudnessVad, ScriptedBrain, ScriptedRecognizer, ToneVoice, tone

from realtime_bridge import Agent
from realtime_bridge.audio.g711 import pcm16_to_mulaw
from realtime_bridge.localmodel.parts import Say as SayThis
from realtime_bridge.tape import InlineDisk
from realtime_bridge.transport.inline_socket import InlineModels
from telephony.calls.answering import Switchboard
from telephony.records.folder import CallFolder
from telephony.records.record import CallRecord
from telephony.testing import (
    CallResult,
    HangUp,
    InterruptAfter,
    Link,
    Say,
    SimulatedPhone,
    WaitForAgent,
    place_virtual_call,
    run_virtual,
)

GREETING = "Good morning. This is the desk and I have a great deal to tell you today."
ANSWER = "All right."


@dataclass(frozen=True)
class SmallCall:
    result: CallResult
    record: CallRecord
    folder: CallFolder


class Records:
    """Listens to a switchboard's calls, and keeps what was written of each."""

    def __init__(self):
        self.records: list[CallRecord] = []

    def call_began(self, call):
        pass

    def call_ended(self, _details, ending):
        if ending.record is not None:
            self.records.append(ending.record)


def small_call(data_dir: Path, *, to_server: Link | None = None, to_phone: Link | None = None) -> SmallCall:
    """The agent greets, the caller interrupts after 1.5 s of it, the agent answers, the caller hangs up."""
    phone = SimulatedPhone()
    records = Records()

    async def call() -> CallResult:
        switchboard = Switchboard(
            Agent(name="Desk", instructions="Help."),
            model="scripted",
            open_model=InlineModels(
                brain_factory=lambda: ScriptedBrain([SayThis(GREETING)], [SayThis(ANSWER)]),
                recognizer=ScriptedRecognizer("Stop, please."),
                voice=ToneVoice(),
                vad_factory=LoudnessVad,
            ),
            data_dir=data_dir,
            disk=InlineDisk(),
        )
        switchboard.live.add_listener(records)
        speech = Say(pcm16_to_mulaw(tone(800, rate=8000)), "stop")
        steps = [InterruptAfter(1500), speech, WaitForAgent(), HangUp()]
        result = await place_virtual_call(
            switchboard.answer, steps, phone=phone, to_server=to_server, to_phone=to_phone
        )
        await switchboard.close()
        return result

    result = run_virtual(call())
    return SmallCall(result, records.records[0], CallFolder(data_dir, phone.ids.call_sid))
