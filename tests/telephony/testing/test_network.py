"""A link delays and never reorders."""

from random import Random

import pytest

from telephony.testing.network import Link


def test_every_frame_takes_the_delay():
    link = Link(one_way_ms=40)
    assert [link.arrival(at) for at in (1.0, 1.02, 1.04)] == pytest.approx([1.04, 1.06, 1.08])


def test_jitter_delays_within_its_bounds_and_never_reorders():
    link = Link(one_way_ms=40, jitter_ms=30, rng=Random(7))
    sent = [n / 100 for n in range(1000)]
    arrived = [link.arrival(at) for at in sent]
    assert arrived == sorted(arrived)
    delays = [b - a for a, b in zip(sent, arrived, strict=True)]
    assert min(delays) >= 0.040
    assert max(delays) <= 0.070 + 1e-9
    assert max(delays) - min(delays) > 0.020


def test_the_same_seed_gives_the_same_arrivals():
    runs = [[link.arrival(n / 50) for n in range(50)] for link in (Link(10, 30, Random(5)), Link(10, 30, Random(5)))]
    assert runs[0] == runs[1]


def test_a_stall_holds_everything_until_its_end():
    link = Link(one_way_ms=10)
    link.stall(1.0, 2.0)
    assert [link.arrival(at) for at in (0.5, 1.2, 1.5, 1.995)] == pytest.approx([0.51, 2.0, 2.0, 2.005])
