"""Rates and repeated problems, in virtual time."""

from telephony.limits import PROBLEM_KINDS_MAX, MessageRate, ProblemGate


def test_a_burst_passes_and_a_sustained_flood_does_not():
    rate = MessageRate(per_second=100, burst=500, now=0.0)
    assert not rate.exceeded(500, now=0.0)
    assert rate.exceeded(1, now=0.0)
    assert not rate.exceeded(1, now=0.1)
    steady = MessageRate(per_second=100, burst=500, now=0.0)
    assert not any(steady.exceeded(100, now=float(second)) for second in range(1, 1000))
    assert any(steady.exceeded(110, now=float(second)) for second in range(1000, 1100))


def test_rest_does_not_save_up_more_than_a_burst():
    rate = MessageRate(per_second=100, burst=500, now=0.0)
    assert rate.exceeded(501, now=10_000.0)


def test_the_first_problems_of_a_kind_pass_and_the_others_are_counted():
    gate = ProblemGate(passes=2, window_seconds=10)
    assert [gate.let_pass("a", now=0.0) for _ in range(5)] == [(True, 0), (True, 0), (False, 0), (False, 0), (False, 0)]
    assert gate.let_pass("b", now=1.0) == (True, 0)
    assert gate.let_pass("a", now=10.0) == (True, 3)
    assert gate.let_pass("a", now=10.0) == (True, 0)
    assert gate.let_pass("a", now=10.0) == (False, 0)


def test_kinds_are_forgotten_beyond_a_limit():
    gate = ProblemGate(passes=1)
    assert gate.let_pass("a", now=0.0)[0]
    for number in range(PROBLEM_KINDS_MAX):
        assert gate.let_pass(str(number), now=0.0)[0]
    assert gate.let_pass("a", now=0.0)[0]
