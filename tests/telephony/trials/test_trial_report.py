"""What is told of agents that recorded callers have tried."""

import json
from datetime import UTC, datetime
from pathlib import Path

from telephony.records.record import CallRecord, Handoff, Line, ToolUse
from telephony.trials.changes import Change, changes
from telephony.trials.report import TriedTape, summary
from telephony.trials.taped_call import NOTHING_TAPED, TapedDeeds, TapedTool
from telephony.trials.trial import Trial, TrialRun

RECORD = CallRecord(
    call_sid="CA" + "0" * 32,
    direction="inbound",
    from_number="",
    to_number="",
    started_at=datetime(2026, 1, 1, tzinfo=UTC),
    agent="Desk",
    duration_ms=4000,
    transcript=(Line(role="assistant", text="Good day.", start_ms=100, end_ms=900),),
    tools=(ToolUse(call_id="c1", name="find", arguments={"b": 2, "a": 1}, start_ms=2000),),
    handoffs=(Handoff(from_agent="Desk", to_agent="Care", at_ms=3000),),
)
PASSED = TrialRun(number=1, failures=(), record=RECORD)
FAILED = TrialRun(number=2, failures=("the price was wrong\n  it was 3",), record=RECORD)


def tape(*runs, pass_rate_min=1.0, **more):
    trial = Trial(caller="call.tape", agent="Desk", runs=runs) if runs else None
    return TriedTape(path=Path("call.tape"), took_s=1.5, pass_rate_min=pass_rate_min, trial=trial, **more)


def test_a_tape_passes_when_enough_of_its_calls_do():
    assert tape(PASSED, FAILED, pass_rate_min=0.5).ok
    assert not tape(PASSED, FAILED, pass_rate_min=0.6).ok
    assert tape(PASSED, FAILED).cells == ("call.tape", "1 of 2", "50%", "the price was wrong")


def test_a_failed_call_is_told_with_its_transcript():
    lines = tape(PASSED, FAILED).lines()
    assert lines[:2] == ["run 2: the price was wrong", "    it was 3"]
    assert any("Good day." in line for line in lines)


def test_what_has_changed_without_harm_is_told_in_short():
    run = TrialRun(number=1, failures=(), changes=tuple(Change("words", f"old {n}", "new") for n in range(7)))
    told = tape(run)
    assert told.result == "changed: 7 x words"
    assert told.lines()[0] == "words: old 0 on the tape, now new"
    assert told.lines()[-1] == "and 2 more"
    assert tape(PASSED).result == "the same"


def test_a_tape_that_cannot_be_read_is_an_error_not_a_failure():
    told = tape(error="not a tape")
    assert not told.ok
    assert told.cells == ("call.tape", "-", "-", "failed: not a tape")
    assert told.lines() == []
    assert (told.case().failure, told.case().error) == (None, "not a tape")


def test_machines_are_told_all_of_it():
    told = json.loads(json.dumps(tape(PASSED, FAILED).to_json()))
    assert (told["ok"], told["pass_rate"]) == (False, 0.5)
    assert told["runs"][1]["failures"] == ["the price was wrong\n  it was 3"]
    assert told["runs"][0]["tools"] == [{"name": "find", "arguments": {"b": 2, "a": 1}}]
    assert "1 of 2 runs passed" in tape(PASSED, FAILED).case().failure
    assert tape(PASSED, FAILED, pass_rate_min=0.5).case().failure is None


def test_all_tapes_are_summed_up_in_a_line():
    assert summary([tape(PASSED, FAILED), tape(PASSED)]) == "2 of 3 calls passed; 1 of 2 callers; 3.0 s"


def test_calls_of_other_arguments_and_hand_offs_are_changes():
    deeds = TapedDeeds(
        tools=(TapedTool(name="find", arguments={"a": 1, "b": 3}, output=""),),
        handoffs=(("Desk", "Care"),),
        said=("Hello.", "Good day."),
    )
    assert [str(change) for change in changes(deeds, RECORD)] == [
        'tool: find({"a":1,"b":3}) on the tape, now find({"a":1,"b":2})',
        'words: "Hello." on the tape, now nothing',
    ]
    empty = TapedDeeds()
    assert str(changes(empty, RECORD)[0]) == 'tool: now find({"a":1,"b":2}), which the recorded call does not have'
    assert changes(NOTHING_TAPED, RECORD) == []
