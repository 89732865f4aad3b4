"""Answering calls: what a switchboard needs, and what it keeps of a call."""

import asyncio

import pytest
from support.small_call import ANSWER, GREETING, small_call

from realtime_bridge import Agent
from realtime_bridge.errors import MisuseError, TransportError
from realtime_bridge.tape import InlineDisk
from telephony.calls.answering import Switchboard
from telephony.records.folder import CallFolder
from telephony.testing import HangUp, Pause, place_virtual_call, run_virtual
from telephony.transport import TwilioTransport


def test_a_switchboard_without_a_model_is_refused():
    with pytest.raises(MisuseError, match="`openai` or `open_model`"):
        Switchboard(Agent(name="Desk"), model="any", disk=InlineDisk())


def test_a_call_leaves_its_record_on_the_call_s_own_clock(tmp_path):
    call = small_call(tmp_path)
    assert [(line.role, line.text) for line in call.record.transcript if not line.cut] == [
        ("user", "Stop, please."),
        ("assistant", ANSWER),
    ]
    [cut] = [line for line in call.record.transcript if line.cut]
    assert GREETING.startswith(cut.text)
    seconds = (call.record.ended_at - call.record.started_at).total_seconds()
    assert seconds == pytest.approx(call.result.seconds, abs=0.001)
    assert call.folder.read_record() == call.record
    assert call.record.problems == ()


def test_what_is_wanted_of_a_call_that_is_over_is_no_part_of_it():
    """A tape holds what the bridge was given, and a bridge whose call has ended is given nothing."""

    class Tap:
        def __init__(self):
            self.inputs = []

        def bridge_made(self, bridge):
            pass

        def phone_message(self, message, frame, now):
            self.inputs.append(message)

        def model_frame(self, frame, now):
            self.inputs.append(frame)

        def program_input(self, event, now):
            self.inputs.append(event)

        def command(self, command, now):
            pass

        def played(self, spans, round_trip_ms):
            pass

    async def no_model(*, on_frame, on_lost):
        raise TransportError("there is none")

    async def call():
        tap = Tap()
        calls = []

        def answer(start, line):
            calls.append(TwilioTransport(start, line, open_model=no_model, tap=tap))
            return calls[0]

        await place_virtual_call(answer, [Pause(100), HangUp()])
        inputs = list(tap.inputs)
        calls[0].interrupt()
        calls[0].set_muted(True)
        await asyncio.sleep(60)
        return inputs, tap.inputs

    before, after = run_virtual(call())
    assert before
    assert after == before


def test_a_call_that_comes_back_in_another_stream_keeps_the_records_of_both(tmp_path):
    first, second = small_call(tmp_path), small_call(tmp_path)
    own = CallFolder(tmp_path, first.record.call_sid)
    assert second.record.call_sid == first.record.call_sid
    assert own.read_record().problems == ()
    again = CallFolder.of_next_stream(tmp_path, first.record.call_sid)
    assert again.path == own.path / "3"
    assert {path.name for path in own.path.iterdir()} == {"2", "call.json", "call.tape", "call.wav", "timeline.svg"}
    assert {path.name for path in (own.path / "2").iterdir()} == {"call.json", "call.tape", "call.wav", "timeline.svg"}
