"""Whole calls through the product's bridge: every item is heard, or truncated where the caller stopped hearing it."""

import numpy as np
import pytest
from simulation.bridge_machine import BridgeMachine
from simulation.scenarios import FAST, SLOW, random_scenario
from simulation.world import Network, World

from realtime_bridge.audio.transcode import transcoder
from telephony.testing.phone import Faults

SEEDS = range(4)
NEAR = Network()
FAR = Network(one_way_ms=40)
JITTERY = Network(one_way_ms=40, jitter_ms=30)


def calls(audio, speeds, **options):
    for seed in SEEDS:
        scenario = random_scenario(seed, audio=audio, speeds=speeds)
        yield World(BridgeMachine(transcoder(audio)), scenario, seed=seed, **options).run()


@pytest.mark.parametrize("audio", ["pcmu", "pcm"])
@pytest.mark.parametrize("network", [NEAR, FAR], ids=["near", "far"])
def test_on_a_steady_network_truncates_are_exact(network, audio):
    cut = 0
    for outcome in calls(audio, FAST, network=network):
        outcome.check(tolerance_ms=6)
        cut += len(outcome.truncation_errors_ms)
    assert cut > len(SEEDS)


def test_a_model_slower_than_real_time_costs_no_exactness():
    for outcome in calls("pcmu", FAST + SLOW, network=FAR):
        outcome.check(tolerance_ms=6)


def test_jitter_moves_truncates_by_no_more_than_itself():
    errors = []
    for outcome in calls("pcmu", FAST, network=JITTERY):
        outcome.check(tolerance_ms=JITTERY.jitter_ms)
        errors += [abs(error) for error in outcome.truncation_errors_ms]
    assert np.percentile(errors, 90) <= 20


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(Faults(marks_lost=1.0), id="marks never come"),
        pytest.param(Faults(marks_repeated=0.3, marks_stale=0.3), id="marks come again"),
        pytest.param(Faults(media_lost=0.05), id="caller audio is lost"),
    ],
)
def test_a_faulty_line_costs_no_exactness(faults):
    for outcome in calls("pcmu", FAST, network=FAR, faults=faults):
        outcome.check(tolerance_ms=6)


def test_a_drifting_phone_costs_no_exactness():
    for outcome in calls("pcmu", FAST, network=FAR, drift_ppm=200):
        outcome.check(tolerance_ms=6)
