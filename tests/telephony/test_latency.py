"""Percentiles over a call of any length."""

import random

import numpy as np
import pytest

from telephony.latency import SAMPLES_MAX, Latencies


def test_nothing_collected_gives_no_figures():
    assert Latencies().summary("x") == {}
    assert Latencies().percentile(50) is None


def test_few_times_give_exact_percentiles():
    latencies = Latencies()
    for ms in range(101):
        latencies.add(float(ms))
    assert latencies.summary("barge_in") == {"barge_in_p50": 50.0, "barge_in_p99": 99.0, "barge_in_max": 100.0}
    assert latencies.percentile(25) == 25.0
    assert len(latencies) == 101


@pytest.mark.parametrize("count", [SAMPLES_MAX, SAMPLES_MAX + 1, 180_000])
def test_a_long_call_is_sampled_evenly_in_bounded_memory(count):
    """Latency grows over the call: figures from one part of it alone would be far off."""
    latencies = Latencies()
    noise = random.Random(1)
    times = [i / count * 100 + noise.random() for i in range(count)]
    for ms in times:
        latencies.add(ms)
    assert len(latencies._kept_ms) <= SAMPLES_MAX
    assert latencies.percentile(50) == pytest.approx(np.percentile(times, 50), abs=0.5)
    assert latencies.percentile(99) == pytest.approx(np.percentile(times, 99), abs=0.5)
    assert latencies.summary("x")["x_max"] == round(max(times), 3)
    assert len(latencies) == count
