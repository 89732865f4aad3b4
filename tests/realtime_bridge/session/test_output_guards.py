from realtime_bridge.session.guards import Guards
from realtime_bridge.session.ids import Ids

KEY = ("item", 0)


def guards(every_chars=10, *, eager=False) -> Guards:
    return Guards(Ids(), every_chars=every_chars, eager=eager)


def grow(g, length, *, response="r", key=KEY):
    run = g.grew(key, response, "desk", "x" * length)
    return None if run is None else len(run.text)


def test_words_are_checked_whenever_they_have_grown_enough():
    g = guards()
    assert [grow(g, length) for length in (5, 9, 12, 15, 19, 20, 45, 49)] == [None, None, 12, None, None, 20, 45, None]


def test_the_whole_is_checked_unless_it_was_already():
    g = guards()
    grow(g, 12)
    assert len(g.ended(KEY, "r", "desk", "x" * 17).text) == 17
    other = guards()
    grow(other, 12)
    assert other.ended(KEY, "r", "desk", "x" * 12) is None
    assert other.ended(("empty", 0), "r", "desk", "") is None


def test_growing_words_can_be_left_alone():
    g = guards(every_chars=0)
    assert grow(g, 1000) is None
    assert g.ended(KEY, "r", "desk", "x") is not None


def test_the_first_trip_of_a_response_counts():
    g = guards()
    runs = [g.grew(KEY, "r", "desk", "x" * n) for n in (10, 20)]
    assert [g.verdict(run.run_id, tripped=True)[1] for run in runs] == [True, False]
    assert grow(g, 30) is None, "it is over"
    assert grow(g, 10, response="s", key=("other", 0)) == 10


def test_a_verdict_nobody_asked_for_is_nothing():
    assert guards().verdict("unknown", tripped=True) is None


def test_while_audio_waits_checks_follow_each_other_without_pause():
    g = guards(eager=True)
    first = g.grew(KEY, "r", "desk", "ab")
    assert g.grew(KEY, "r", "desk", "abc") is None, "one at a time"
    _, _, second = g.verdict(first.run_id, tripped=False)
    assert (first.text, second.text) == ("ab", "abc")
    assert g.passed(KEY) == (2, False)
    assert g.ended(KEY, "r", "desk", "abc") is None, "the whole is being checked"
    g.verdict(second.run_id, tripped=False)
    assert g.passed(KEY) == (3, True)


def test_what_is_over_is_forgotten_once_its_verdicts_are_in():
    g = guards()
    run = g.grew(KEY, "r", "desk", "x" * 10)
    g.forget("r")
    assert g.verdict(run.run_id, tripped=True)[1], "a late trip still counts"
    g.forget("r")
    assert g.passed(KEY) == (0, False)
