"""The machine of one transfer: whatever the two phones, the webhooks and Twilio do, nobody is left hanging."""

from hypothesis import given
from hypothesis import strategies as st

from telephony.steering.transfer import ANNOUNCED_S_MAX, Do, EndLeg, Finish, Transfer

CONSULT_S, MOVE_S = 30.0, 5.0


def transfer(*, warm=True):
    machine = Transfer(warm=warm, consult_s=CONSULT_S, move_s=MOVE_S, now=0.0)
    assert machine.begin() == [Do.MARK]
    return machine


def asking():
    machine = transfer()
    assert machine.announced(1.0) == [Do.HOLD, Do.PLACE]
    assert machine.placed("CA2") == []
    return machine


def outcome(commands):
    assert isinstance(commands[-1], Finish)
    return commands[-1].result.outcome


def test_a_person_who_presses_1_gets_the_caller():
    machine = asking()
    assert machine.answered("1", 5.0) == (True, [Do.JOIN])
    assert machine.answered("1", 5.1) == (True, [])  # the webhook again
    assert outcome(machine.moved()) == "connected"
    assert machine.answered("1", 5.2) == (False, [])


def test_a_person_may_answer_before_twilio_has_told_us_of_the_call():
    machine = transfer()
    machine.announced(1.0)
    assert machine.answered("1", 2.0) == (True, [Do.JOIN])
    machine.placed("CA2")
    assert outcome(machine.moved("refused")) == "failed"


def test_anything_else_brings_the_caller_back():
    for end, expected in (
        (lambda m: m.answered("5", 5.0)[1], "declined"),
        (lambda m: m.leg_status("no-answer"), "no_answer"),
        (lambda m: m.leg_status("busy"), "busy"),
        (lambda m: m.leg_status("completed"), "declined"),
    ):
        commands = end(machine := asking())
        assert commands[0] is Do.TAKE_BACK
        assert outcome(commands) == expected
        assert machine.over


def test_states_that_are_not_final_change_nothing():
    machine = asking()
    for status in ("queued", "initiated", "ringing", "in-progress", "answered", "", "nonsense"):
        assert machine.leg_status(status) == []


def test_time_ends_it_and_the_other_call():
    machine = asking()
    assert machine.due(1.0 + CONSULT_S - 0.1) == []
    commands = machine.due(1.0 + CONSULT_S)
    assert commands[:2] == [EndLeg("CA2"), Do.TAKE_BACK]
    assert outcome(commands) == "too_late"


def test_a_call_that_comes_about_too_late_is_ended():
    machine = transfer()
    machine.announced(1.0)
    machine.due(1.0 + CONSULT_S)
    assert machine.placed("CA2") == [EndLeg("CA2")]


def test_a_caller_who_was_not_moved_after_all_leaves_nobody_in_the_conference():
    machine = asking()
    machine.answered("1", 5.0)
    assert outcome(machine.caller_gone()) == "connected"  # so it looks, since moving the caller ends our stream
    assert machine.moved("the call is over") == [EndLeg("CA2")]
    assert machine.moved("the call is over") == []


def test_a_cold_transfer_goes_when_the_caller_has_heard_of_it_or_in_any_case():
    machine = transfer(warm=False)
    assert machine.announced(2.0) == [Do.DIAL]
    assert outcome(machine.moved()) == "connected"
    machine = transfer(warm=False)
    assert machine.due(ANNOUNCED_S_MAX) == [Do.DIAL]
    assert outcome(machine.due(ANNOUNCED_S_MAX + MOVE_S)) == "failed"


EVENTS = st.sampled_from(
    [
        "announced",
        "placed",
        "refused",
        "1",
        "2",
        "",
        "completed",
        "no-answer",
        "ringing",
        "moved",
        "not moved",
        "gone",
        "withdraw",
    ]
)


@given(st.booleans(), st.lists(st.tuples(st.floats(0.0, 20.0), EVENTS), max_size=30))
def test_it_ends_once_in_time_with_nobody_forgotten(warm, story):
    machine, now, done = transfer(warm=warm), 0.0, []
    placed = False
    for pause_s, what in story:
        if machine.next_deadline() <= now + pause_s:
            done += machine.due(max(now, machine.next_deadline()))
        now += pause_s
        if what == "placed":
            if Do.PLACE not in done or placed:
                continue  # Twilio answers what it was asked, once
            placed = True
        done += _happens(machine, what, now)
    for _ in range(4):
        if machine.next_deadline() < float("inf"):
            now = max(now, machine.next_deadline())
            done += machine.due(now)
    assert machine.over
    finishes = [command for command in done if isinstance(command, Finish)]
    assert len(finishes) == 1
    result = finishes[0].result
    assert now <= max(ANNOUNCED_S_MAX + CONSULT_S + MOVE_S, sum(pause_s for pause_s, _ in story)) + 1e-6
    held, taken_back = done.count(Do.HOLD), done.count(Do.TAKE_BACK)
    assert held <= 1
    # Who was put on hold is taken back, is moved to the person, or has hung up.
    assert taken_back == held or result.outcome in ("connected", "caller_gone", "declined")
    assert sum(isinstance(command, EndLeg) for command in done) <= 1


def _happens(machine, what, now):
    match what:
        case "announced":
            return machine.announced(now)
        case "placed":
            return machine.placed("CA2")
        case "refused":
            return machine.refused("no")
        case "1" | "2" | "":
            return machine.answered(what, now)[1]
        case "moved":
            return machine.moved()
        case "not moved":
            return machine.moved("no")
        case "gone":
            return machine.caller_gone()
        case "withdraw":
            return machine.withdraw()
    return machine.leg_status(what)
