"""When a model session is left for a fresh one."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.session.lifetime import Lifetime, lifetime

SECONDS = st.floats(0, 1e6)


@pytest.mark.parametrize(("life_s", "prepare_s"), [(3600, 3300), (20, 15), (3, 2.25), (7200, 3300)])
def test_a_session_is_left_in_the_last_quarter_of_its_life_and_by_default_after_55_minutes(life_s, prepare_s):
    life = lifetime(100.0, 100.0 + life_s, 55 * 60.0)
    assert life.prepare_at == 100.0 + prepare_s
    assert life.prepare_at < life.playing_from < life.last_at < 100.0 + life_s


def test_twenty_seconds_are_left_at_fifteen_on_a_quiet_line_and_half_a_second_before_the_end_at_the_latest():
    assert lifetime(0.0, 20.0, 3300.0) == Lifetime(prepare_at=15.0, playing_from=17.5, last_at=19.5, retry_s=2.5)


@pytest.mark.parametrize("ends", [None, 50.0, 100.0, 100.0 + 1e6])
def test_a_server_that_says_nothing_or_what_cannot_be_leaves_it_to_us(ends):
    assert lifetime(100.0, ends, 60.0) == Lifetime(prepare_at=160.0)


def test_whoever_wants_no_change_gets_none():
    assert lifetime(100.0, 120.0, None) == Lifetime(prepare_at=inf)


@given(born=SECONDS, ends=st.none() | SECONDS, rotate_after_s=SECONDS)
def test_its_moments_come_in_order_and_before_the_end(born, ends, rotate_after_s):
    life = lifetime(born, ends, rotate_after_s)
    assert born <= life.prepare_at <= life.playing_from <= life.last_at
    assert life.retry_s > 0
    if life.last_at < inf:
        assert life.last_at <= ends
