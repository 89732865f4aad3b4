"""The machine that ends a call: whatever happens in whatever order, one end, in time, and none that was withdrawn."""

from hypothesis import given
from hypothesis import strategies as st

from telephony.steering.ending import END_S_MAX, Do, Ending, HangUp, SayWords

LIMITS = {"seconds_max": 20.0, "wait_s": 5.0, "rest_s_max": 8.0}
ENDS = [Do.END_CALL, Do.CLOSE_STREAM]


def ending():
    return Ending(goodbye="Goodbye!", **LIMITS)


def begin(machine, *, now=0.0, talks=False, has_answered=True, **request):
    return machine.begin(HangUp(**{"reason": "done", **request}), now, talks=talks, has_answered=has_answered)


def test_what_the_agent_is_saying_is_the_goodbye():
    machine = ending()
    assert begin(machine, talks=True) == []
    assert machine.fell_silent(has_answered=True) == [Do.MARK]
    assert machine.heard(3.0) == [Do.END_CALL]
    assert machine.ended(3.1, by_twilio=True) == []
    assert machine.due(3.1, 3.1 + END_S_MAX) == [Do.CLOSE_STREAM]


def test_words_given_along_are_said():
    machine = ending()
    assert begin(machine, words="Bye.") == [SayWords("Bye.")]
    assert machine.said() == [Do.MARK]


def test_an_agent_without_words_is_given_some():
    machine = ending()
    assert begin(machine, has_answered=False) == [SayWords("Goodbye!")]
    machine = ending()
    assert begin(machine, talks=True, has_answered=False) == []
    assert machine.fell_silent(has_answered=False) == [SayWords("Goodbye!")]


def test_an_end_without_goodbye_is_at_once_also_on_second_thought():
    assert begin(ending(), after_goodbye=False, talks=True) == [Do.END_CALL]
    machine = ending()
    begin(machine, talks=True)
    assert begin(machine, after_goodbye=False, reason="now") == [Do.END_CALL]
    assert machine.request.reason == "now"


def test_a_caller_withdraws_an_ordinary_end_and_not_a_final_one():
    machine = ending()
    begin(machine, talks=True)
    assert machine.caller_spoke_into_it() == [Do.WITHDRAW]
    assert not machine.in_progress
    assert begin(machine, words="Bye.") == [SayWords("Bye.")]
    assert begin(machine, words="Time is up.", final=True) == [Do.STOP_LISTENING, SayWords("Time is up.")]
    assert machine.caller_spoke_into_it() == []
    assert machine.request.words == "Time is up."


def test_when_twilio_cannot_end_it_the_stream_is_closed():
    machine = ending()
    begin(machine, after_goodbye=False)
    assert machine.ended(1.0, by_twilio=False) == [Do.CLOSE_STREAM]
    machine = ending()
    begin(machine, after_goodbye=False)
    assert machine.due(0.0, 7.9) == []
    assert machine.due(0.0, 8.0) == [Do.CLOSE_STREAM]


EVENTS = st.sampled_from(
    ["hang_up", "hang_up_now", "final", "silent", "said", "heard", "speaks", "by_twilio", "not_by_twilio", "nothing"]
)


@given(st.lists(st.tuples(st.floats(0.01, 6.0), EVENTS, st.booleans()), max_size=40))
def test_there_is_one_end_within_its_time_whatever_happens(story):
    machine, now, done = ending(), 0.0, []
    wanted_since = silent_since = None
    for pause_s, what, talks in story:
        silent_since = now if silent_since is None else silent_since
        while (at := machine.next_deadline(silent_since)) <= now + pause_s:
            done += machine.due(silent_since, max(at, now))
        now += pause_s
        silent_since = now if talks else silent_since
        withdrawn = what == "speaks" and machine.in_progress and not machine.certain
        done += _happens(machine, what, now, talks)
        if withdrawn:
            assert done.pop() is Do.WITHDRAW
            wanted_since = None
        elif machine.in_progress and wanted_since is None:
            wanted_since = now
        assert machine.in_progress == (wanted_since is not None)
    if wanted_since is not None:
        for _ in range(10):
            if (at := machine.next_deadline(now)) < float("inf"):
                now = max(now, at)
                done += machine.due(now, now)
        limit = LIMITS["seconds_max"] + LIMITS["rest_s_max"] + END_S_MAX
        assert now <= max(wanted_since + limit, sum(pause_s for pause_s, *_ in story)) + 1e-6
        assert machine.next_deadline(now) == float("inf")
    ends = [command for command in done if command in ENDS]
    assert ends in ([], [Do.END_CALL], ENDS)
    assert bool(ends) == (wanted_since is not None)
    assert ends in ([], ENDS)  # nobody said that the line was closed


def _happens(machine, what, now, talks):
    match what:
        case "hang_up":
            return begin(machine, now=now, talks=talks)
        case "hang_up_now":
            return begin(machine, now=now, after_goodbye=False)
        case "final":
            return begin(machine, now=now, talks=talks, words="Bye.", final=True)
        case "silent":
            return machine.fell_silent(has_answered=talks)
        case "said":
            return machine.said()
        case "heard":
            return machine.heard(now)
        case "speaks":
            return machine.caller_spoke_into_it()
        case "by_twilio":
            return machine.ended(now, by_twilio=True)
        case "not_by_twilio":
            return machine.ended(now, by_twilio=False)
    return []


def test_a_line_that_closes_ends_everything():
    machine = ending()
    begin(machine, talks=True)
    machine.line_closed()
    assert machine.next_deadline(0.0) == float("inf")
    assert begin(machine, after_goodbye=False) == []
    assert machine.heard(1.0) == machine.said() == machine.fell_silent(has_answered=True) == []
