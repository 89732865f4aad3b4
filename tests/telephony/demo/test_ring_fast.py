"""The demo's call in virtual time: real speech, recognised and spoken; the same call each time."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from realtime_bridge.tape import read_tape
from telephony.demo.agent import SCRIPT, front_desk
from telephony.demo.ring import ring_fast
from telephony.records.folder import CallFolder
from telephony.records.record import CallRecord
from telephony.replay.verify import verify_tape
from telephony.settings import Settings
from telephony.testing.speech import LINES
from telephony.trials.models import Speech
from telephony.trials.recorded_caller import RecordedCaller
from telephony.trials.trial import try_agent


@dataclass(frozen=True)
class Demo:
    result: dict
    record: CallRecord
    events: list
    data_dir: Path


@pytest.fixture(scope="module")
def demos(tmp_path_factory, recognizer, voice):
    """Two of them."""

    def ring():
        data_dir = tmp_path_factory.mktemp("data")
        settings = Settings(_env_file=None, data_dir=data_dir, twilio_auth_token=None, public_url=None)
        events = []
        result, record = ring_fast(settings=settings, on_event=events.append, recognizer=recognizer, voice=voice)
        return Demo(result, record, events, data_dir)

    return ring(), ring()


@pytest.fixture(scope="module")
def demo(demos):
    return demos[0]


def test_the_call_goes_as_the_demo_promises(demo):
    result = demo.result
    assert result["failures"] == []
    assert result["ok"] is True
    assert result["turns"] == len(LINES)
    number, visit = result["tools"]
    assert number == {"name": "find_customer", "arguments": {"number": "4729"}, "approved": None}
    assert (visit["name"], visit["approved"]) == ("book_visit", True)
    assert visit["arguments"]["day"].lower() == "tomorrow"
    assert result["handoffs"] == [["Front desk", "Customer care"]]


def test_the_caller_is_understood_and_the_agent_answers_her(demo):
    lines = demo.result["transcript"]
    heard = [line["text"] for line in lines if line["role"] == "user"]
    assert all(text in line.recognised for text, line in zip(heard, LINES.values(), strict=True))
    spoken = [line["text"] for line in lines if line["role"] == "assistant"]
    assert spoken[0] == "Wren Street Telephones, front desk. How can I help?"
    assert spoken[-1] == "Goodbye, and good luck with the monkeys."


def test_what_was_cut_is_what_the_caller_did_not_hear(demo):
    [barge_in] = demo.result["barge_ins"]
    assert barge_in["audio_end_ms"] == pytest.approx(barge_in["heard_ms_true"], abs=20)
    assert barge_in["audio_end_ms"] > 2500
    [cut] = [line for line in demo.record.transcript if line.cut]
    assert cut.text.startswith("I found your account. Please keep the weasels inside")
    assert cut.unheard.endswith("and keep them away from the fuse box, the printer and the kitchen.")


def test_the_operator_approves_after_a_second_of_the_call(demo):
    [approval] = demo.record.approvals
    assert approval.decision == "approved"
    assert approval.end_ms - approval.start_ms == pytest.approx(1000, abs=2)


def test_delays_are_the_call_s_not_the_machine_s(demo):
    latency = demo.result["latency_ms"]
    for name in ("caller_to_model", "model_to_caller", "barge_in_to_clear"):
        assert latency[f"{name}_p99"] == 0
    assert 300 < latency["answer_p50"] < 700  # an end-point of 300 ms, and the model's work
    seconds = (demo.record.ended_at - demo.record.started_at).total_seconds()
    assert seconds == pytest.approx(demo.record.duration_ms / 1000, abs=0.1)
    assert seconds > 30


def test_the_result_is_json_and_its_files_are_there(demo):
    json.dumps(demo.result)
    folder = CallFolder(demo.data_dir, demo.result["call_sid"])
    for name in ("recording", "tape", "timeline"):
        assert Path(demo.result[name]) == getattr(folder, name)
        assert getattr(folder, name).stat().st_size > 1000
    assert folder.read_record() == demo.record


def test_whoever_watches_is_told_of_the_call(demo):
    assert {"tool_approval_requested", "agent_handoff", "audio_interrupted", "session_end"} <= {
        event.type for event in demo.events
    }


def test_the_second_call_is_the_first(demos):
    first, second = (
        msgspec.structs.replace(demo.record, call_sid="", started_at=None, ended_at=None) for demo in demos
    )
    assert first == second
    assert first.barge_ins == second.barge_ins


def test_its_tape_and_recording_are_the_same_to_the_last_byte(demos):
    def taped(demo):
        accidents = demo.result["call_sid"].encode() + rb'|"unix_s":[\d.]+'  # the wall clock: what day it is
        tape = read_tape(Path(demo.result["tape"]).read_bytes())
        head = {**tape.header.metadata, "call_sid": ""}
        return head, [(r.time, r.source, re.sub(accidents, b"", r.payload)) for r in tape]

    first, second = demos
    assert taped(first) == taped(second)
    recordings = [Path(demo.result["recording"]).read_bytes() for demo in demos]
    assert recordings[0] == recordings[1]


def test_the_bridge_replays_from_its_tape(demo):
    assert verify_tape(Path(demo.result["tape"])).identical


def test_its_caller_can_call_again_and_it_is_the_same_call(demo, recognizer, voice):
    caller = RecordedCaller.from_tape(Path(demo.result["tape"]))
    assert [turn.text for turn in caller.turns] == [
        line["text"] for line in demo.result["transcript"] if line["role"] == "user"
    ]
    speech = Speech(recognizer=recognizer, voice=voice)
    [run] = try_agent(caller, front_desk, script=SCRIPT, speech=speech).runs
    assert run.failures == ()
    assert run.changes == ()
    [then], [now] = demo.result["barge_ins"], run.record.barge_ins
    assert now.audio_end_ms == pytest.approx(then["audio_end_ms"], abs=20)
