"""A replay reckons with the very floats that the call had."""

from hypothesis import example, given
from hypothesis import strategies as st

from telephony.records.recorder import tape_zero

WEEKS_S = 1e8


@given(st.floats(0, WEEKS_S), st.floats(0, WEEKS_S))
@example(33.3, 91.7)  # a machine that has just started: the difference has less room than it needs
def test_a_time_comes_back_from_the_tape_as_the_float_it_was(began, later_s):
    zero = tape_zero(began)
    now = began + later_s
    assert zero + (now - zero) == now


@given(st.floats(0, WEEKS_S))
def test_a_tape_begins_no_earlier_than_can_be_noticed(began):
    assert 0 <= began - tape_zero(began) < 1e-6
