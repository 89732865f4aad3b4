"""What becomes of a call that a machine answers: every answer of Twilio's with every policy."""

import msgspec
import pytest

from realtime_bridge.errors import MisuseError
from telephony.outbound.machine import (
    GREETING_SECONDS,
    HangUp,
    LeaveMessage,
    MachinePlan,
    Talk,
    decide,
    plan_from_details,
    plan_of,
)

TALK, HANG_UP, MESSAGE = plan_of("talk"), plan_of("hang_up"), plan_of("Please call us back.")
FAX, MACHINE = HangUp("a fax machine answered"), HangUp("an answering machine answered")
LEFT, LATER = LeaveMessage("Please call us back."), LeaveMessage("Please call us back.", GREETING_SECONDS)


@pytest.mark.parametrize(
    ("answered_by", "talk", "hang_up", "message"),
    [
        (None, Talk(), Talk(), Talk()),
        ("human", Talk(), Talk(), Talk()),
        ("fax", FAX, FAX, FAX),
        ("unknown", Talk(), Talk(), Talk()),
        ("machine_start", Talk(), MACHINE, LATER),
        ("machine_end_beep", Talk(), MACHINE, LEFT),
        ("machine_end_silence", Talk(), MACHINE, LEFT),
        ("machine_end_other", Talk(), MACHINE, LEFT),
    ],
)
def test_each_answer_has_its_consequence(answered_by, talk, hang_up, message):
    assert [decide(plan, answered_by) for plan in (TALK, HANG_UP, MESSAGE)] == [talk, hang_up, message]


def test_who_cannot_be_told_may_be_hung_up_on():
    plan = MachinePlan(on_unknown="hang_up")
    assert decide(plan, "unknown") == HangUp("nobody could tell who answered")
    assert decide(plan, "human") == Talk()


def test_detection_is_paid_for_only_where_something_depends_on_it():
    assert TALK.detection is None
    assert HANG_UP.detection == "Enable"
    assert MESSAGE.detection == "DetectMessageEnd"
    assert MachinePlan(on_unknown="hang_up").detection == "Enable"


@pytest.mark.parametrize(
    "wrong", [{"on_machine": "leave_message"}, {"message": "x"}, {"on_machine": "leave_message", "message": "x" * 1501}]
)
def test_a_policy_that_contradicts_itself_is_refused(wrong):
    with pytest.raises(MisuseError):
        MachinePlan(**wrong)


@pytest.mark.parametrize("plan", [TALK, HANG_UP, MESSAGE, MachinePlan(on_unknown="hang_up", wait=True)])
def test_a_policy_is_stored_and_read_back(plan):
    stored = msgspec.json.decode(msgspec.json.encode({"ring_seconds": 30, **plan.to_details()}))
    assert plan_from_details(stored) == plan


def test_a_call_stored_without_a_policy_talks_and_a_broken_one_is_told():
    assert plan_from_details({}) == MachinePlan()
    with pytest.raises(MisuseError, match="on_machine"):
        plan_from_details({"machine": {"on_machine": "sing"}})
