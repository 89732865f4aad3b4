"""Recorded callers who meet agents: the same one again, others, and other tools."""

from dataclasses import replace

import pytest
from support.hummed_call import INTERRUPTS_AFTER_MS, SCRIPT, SPEECH, Shop, desk, recorded_call

from realtime_bridge.errors import MisuseError
from telephony.expectations import HandedOff, NotSaid, Said, ToolCalled
from telephony.replay.verify import verify_tape
from telephony.testing import AfterTurn, HangUp, IntoUtterance
from telephony.tools import hang_up
from telephony.trials.recorded_caller import RecordedCaller
from telephony.trials.trial import try_agent


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("script") / "desk.yaml"
    path.write_text(SCRIPT)
    return path


@pytest.fixture(scope="module")
def call(tmp_path_factory, script):
    return recorded_call(tmp_path_factory.mktemp("data"), script)


@pytest.fixture(scope="module")
def caller(call):
    return RecordedCaller.from_tape(call.folder.tape)


@pytest.fixture
def attempt(caller, script):
    """One trial of the recorded caller; the agent is the recorded one unless another is given."""

    def attempt(agent=None, *, script=script, caller=caller, **options):
        return try_agent(caller, agent or desk(Shop()), script=script, speech=SPEECH, **options)

    return attempt


def changed(script, tmp_path, old, new):
    """The same script, with other words."""
    text = script.read_text()
    assert old in text
    path = tmp_path / "changed.yaml"
    path.write_text(text.replace(old, new))
    return path


def said(record):
    return [(line.role, line.text) for line in record.transcript]


def test_the_recorded_call_is_one_worth_recording(call):
    assert call.failures == ()
    assert [(tool.name, tool.arguments, tool.approved) for tool in call.record.tools] == [
        ("find_order", {"number": "47"}, None),
        ("cancel_order", {"number": "47"}, True),
    ]
    assert [(handoff.from_agent, handoff.to_agent) for handoff in call.record.handoffs] == [("Desk", "Care")]
    assert len(call.record.barge_ins) == 1


def test_the_caller_s_turns_are_found_with_their_words_and_how_each_began(caller):
    assert [turn.text for turn in caller.turns] == ["Order 47.", "Cancel it.", "A person, please.", "Goodbye."]
    begins = [turn.begins for turn in caller.turns]
    assert [type(b) for b in begins] == [AfterTurn, IntoUtterance, AfterTurn, AfterTurn]
    assert begins[1].heard_ms == pytest.approx(INTERRUPTS_AFTER_MS - 200, abs=20)  # her sound, and quiet before it
    assert isinstance(caller.hangs_up, AfterTurn)


def test_to_the_same_agent_it_is_the_same_call(attempt, call, caller, tmp_path):
    shop = Shop()
    [run] = attempt(desk(shop), keep=tmp_path).runs
    assert run.failures == ()
    assert run.changes == ()
    assert shop.asked == []  # the tools answered from the tape
    assert said(run.record) == said(call.record)
    [then], [now] = call.record.barge_ins, run.record.barge_ins
    assert now.audio_end_ms == pytest.approx(then.audio_end_ms, abs=20)
    [approval] = run.record.approvals
    assert approval.decision == "approved"
    assert verify_tape(run.folder.tape).identical
    again = RecordedCaller.from_tape(run.folder.tape)
    assert [turn.text for turn in again.turns] == [turn.text for turn in caller.turns]


def test_an_interruption_falls_at_the_same_place_of_other_words(attempt, call, script, tmp_path):
    other = changed(script, tmp_path, "It left on Monday, and", "Your parcel has gone already, on Sunday morning, and")
    [run] = attempt(script=other).runs
    [then], [now] = call.record.barge_ins, run.record.barge_ins
    assert now.audio_end_ms == pytest.approx(then.audio_end_ms, abs=20)
    assert run.passed
    assert [change.what for change in run.changes] == ["words"]
    assert "Your parcel" in run.changes[0].now


def test_an_answer_too_short_to_be_interrupted_is_followed_at_once(attempt, script, tmp_path):
    brief = changed(script, tmp_path, "It left on Monday, and it will be with you on Friday.", "It left.")
    [run] = attempt(script=brief).runs
    assert run.passed
    assert run.record.barge_ins == ()
    answer = next(line for line in run.record.transcript if line.text == "It left.")
    cancel = next(line for line in run.record.transcript if line.text == "Cancel it.")
    assert 0 < cancel.start_ms - answer.end_ms < 500


def test_an_agent_that_calls_another_tool_is_told_apart(attempt, script, tmp_path):
    other = changed(script, tmp_path, "call: transfer_to_care", "say: Nobody is here.")
    trial = attempt(script=other)
    assert trial.pass_rate == 0
    [failure] = trial.runs[0].failures
    assert failure == "hand-off: Desk -> Care on the tape, now nothing"
    assert "Nobody is here." in trial.runs[0].transcript


def test_a_changed_prompt_is_told_apart(attempt):
    agent = desk(Shop())
    agent.handoffs[0].instructions = "You are the complaints desk."
    trial = attempt(agent, expectations=[Said("care here")])
    assert trial.pass_rate == 0
    [run] = trial.runs
    assert "care here" in run.failures[0]
    assert [change.what for change in run.changes] == ["words"]
    assert "Care here." in run.changes[0].taped


def test_a_call_that_the_tape_does_not_know_ends_the_run_and_says_so(attempt, script, tmp_path):
    other = changed(script, tmp_path, 'with: {number: "{number}"}', 'with: {number: "48"}')
    [run] = attempt(script=other).runs
    assert run.failures[0] == (
        'find_order({"number":"48"}) was called, and no recorded answer fits: in the recorded call there was '
        'find_order({"number":"47"}). Mock find_order, or let tools be live.'
    )
    assert run.record.tools[-1].outcome == "failed"
    assert not any(line.text == "Goodbye." for line in run.record.transcript)


def test_a_tool_of_which_the_tape_knows_nothing_is_named(attempt, script, tmp_path):
    other = changed(script, tmp_path, "find_order", "search")
    [run] = attempt(desk(Shop(), look_up="search"), script=other).runs
    assert "in the recorded call search was never called" in run.failures[0]


def test_tools_may_be_mocked(attempt):
    asked = []

    async def find(number):
        asked.append(number)
        return {"state": "lost"}

    [run] = attempt(tools={"find_order": find, "cancel_order": {"cancelled": "no"}}).runs
    assert asked == ["47"]
    texts = [line.text for line in run.record.transcript]
    assert "I cannot find it." in texts
    assert "That was refused." in texts


def test_live_tools_do_what_they_do(attempt):
    shop = Shop(state="lost")
    [run] = attempt(desk(shop), tools="live").runs
    assert shop.asked == ["47", "cancel 47"]
    assert any(line.text == "I cannot find it." for line in run.record.transcript)


def test_what_was_refused_is_refused_again(tmp_path, script):
    refused = recorded_call(tmp_path, script, approves=False)
    caller = RecordedCaller.from_tape(refused.folder.tape)
    [run] = try_agent(caller, desk(Shop()), script=script, speech=SPEECH).runs
    assert run.failures == ()
    assert [approval.decision for approval in run.record.approvals] == ["rejected"]


def test_a_request_on_which_nobody_decided_in_the_recorded_call_fails_the_run(attempt):
    agent = desk(Shop())
    agent.tools[0] = replace(agent.tools[0], needs_approval=True)
    [run] = attempt(agent).runs
    assert run.failures[0] == (
        'find_order({"number":"47"}) asked for approval, and in the recorded call nobody decided on find_order'
    )
    assert run.record.approvals[0].decision == "rejected"


def test_expectations_decide_where_there_are_some(attempt, script, tmp_path):
    met = [ToolCalled("find_order", {"number": "47"}), Said("it left on monday"), HandedOff("Care")]
    other = changed(script, tmp_path, "say: Cancelled.", "say: Done.")
    trial = attempt(script=other, expectations=[*met, NotSaid("care here")])
    [failure] = trial.runs[0].failures
    assert "Care here." in failure
    assert trial.pass_rate == 0


def test_runs_are_counted_and_differ_in_their_networks(attempt):
    told = []
    trial = attempt(runs=2, on_run=told.append)
    assert trial.pass_rate == 1
    assert [run.number for run in told] == [1, 2]
    first, second = trial.runs
    assert first.record.barge_ins != second.record.barge_ins
    assert first.folder is second.folder is None


def test_an_agent_who_hangs_up_early_fails_the_run(attempt, script, tmp_path):
    agent = desk(Shop())
    agent.tools.append(hang_up)
    other = changed(
        script, tmp_path, 'call: cancel_order\n    with: {number: "47"}', "call: hang_up\n    with: {reason: done}"
    )
    [run] = attempt(agent, script=other).runs
    assert run.failures[0].startswith(
        "the caller could not go on: step 5 of 10, AfterTurn: the server closed the stream"
    )


def test_a_trial_of_nothing_is_refused(attempt, caller):
    with pytest.raises(MisuseError, match="one run at least"):
        attempt(runs=0)
    with pytest.raises(MisuseError, match="offline model's"):
        attempt(model="openai")
    with pytest.raises(MisuseError, match="not 'gpt'"):
        try_agent(caller, desk(Shop()), model="gpt")


def test_a_scripted_caller_may_try_an_agent_too(script):
    [run] = try_agent([AfterTurn(300), HangUp()], desk(Shop()), script=script, speech=SPEECH).runs
    assert run.failures == ()
    assert [line.text for line in run.record.transcript] == ["Desk here."]
