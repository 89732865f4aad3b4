import pytest

from realtime_bridge.approvals import ApprovalSettings
from realtime_bridge.errors import MisuseError
from realtime_bridge.session.specs import ToolSpec
from realtime_bridge.session.tool_calls import Call, ToolCalls


def call(call_id="c", arguments="{}", name="f", **fields) -> Call:
    return Call(call_id, name, arguments, "desk", "r", spec=ToolSpec(name=name, **fields))


def calls(**settings) -> ToolCalls:
    return ToolCalls(ApprovalSettings(**settings))


@pytest.mark.parametrize(
    ("second", "verdict"),
    [
        (call(arguments='{"a":1,"b":2}'), "repeated"),
        (call(arguments='{ "b": 2, "a": 1 }'), "repeated"),
        (call(arguments='{"a":1,"b":3}'), "reused"),
        (call(arguments='{"a":1,"b":2}', name="g"), "reused"),
        (call(arguments="not json"), "reused"),
        (call("d", arguments='{"a":1,"b":2}'), "new"),
    ],
)
def test_a_call_is_known_by_its_id_and_its_exact_arguments(second, verdict):
    known = calls()
    assert known.admit(call(arguments='{"a":1,"b":2}')) == "new"
    assert known.admit(second) == verdict


@pytest.mark.parametrize("arguments", ["[" * 100_000, "[" * 900 + "]" * 900, "[" * 100_000 + "]" * 100_000])
def test_arguments_that_nobody_can_read_are_known_again_as_well(arguments):
    known = calls()
    assert known.admit(call(arguments=arguments)) == "new"
    assert known.admit(call(arguments=arguments)) == "repeated"
    assert known.admit(call(arguments=f"[1,{arguments}]")) == "reused"


def test_a_call_is_known_again_after_it_was_answered():
    known = calls()
    known.admit(one := call())
    known.answer(one)
    assert known.admit(call()) == "repeated"
    assert known.open() == []


def test_an_approval_expires_after_its_time():
    known = calls(timeout_s=5.0)
    known.admit(one := call())
    request = known.wait(one, now=100.0)
    assert request.expires_in_s == 5.0
    assert known.next_deadline(100.0) == 105.0
    assert known.expired(104.9) == []
    assert known.expired(105.0) == [one]


def test_without_a_limit_an_approval_waits_for_ever():
    known = calls(timeout_s=None)
    known.admit(one := call())
    known.wait(one, now=100.0)
    assert known.next_deadline(100.0) is None


def test_always_counts_for_this_agents_tool_only():
    known = calls()
    known.admit(one := call())
    known.decide(one, approved=True, always=True, message=None)
    assert known.decided_before(call("d")) == (True, None)
    assert known.decided_before(call("d", name="g")) is None
    elsewhere = call("d")
    elsewhere.agent = "billing"
    assert known.decided_before(elsewhere) is None


@pytest.mark.parametrize(
    ("policy", "cancelled", "speak"),
    [("finish", False, "no"), ("speak_later", False, "when_idle"), ("cancel", True, "now")],
)
def test_a_barge_in_changes_what_becomes_of_running_calls(policy, cancelled, speak):
    known = calls()
    known.admit(one := call(on_barge_in=policy))
    assert known.cut_short() == [], "it does not run yet"
    known.run(one, now=0.0)
    assert known.cut_short() == ([one] if cancelled else [])
    assert one.speak == speak


def test_a_filler_is_due_while_the_call_runs():
    known = calls()
    known.admit(one := call(filler="One moment", filler_after_s=2.0))
    known.run(one, now=10.0)
    assert known.fillers_due(11.9) == []
    assert known.fillers_due(12.0) == [one]
    known.answer(one)
    assert known.fillers_due(12.0) == []


def test_what_is_remembered_has_a_limit():
    known = calls()
    for n in range(4200):
        known.admit(one := call(str(n)))
        known.answer(one)
    assert known.get("0", "answered") is None
    assert known.get("4199", "answered") is not None


def test_an_impossible_time_limit_is_refused():
    with pytest.raises(MisuseError, match="timeout_s"):
        ApprovalSettings(timeout_s=0)
