"""The simulation itself: its checker must see what a machine does wrong, and nothing else."""

import time

import pytest
from simulation.model import CallerSpeaks, Reply, Scenario
from simulation.relay import Relay
from simulation.world import Network, World

from telephony.testing.phone import Faults

CALM = Scenario(events=((1.0, Reply((1000,))), (4.0, Reply((600, 800)))), seconds=8)
BARGE_IN = Scenario(events=((1.0, Reply((5000,))), (2.5, CallerSpeaks())), seconds=8)


def run(scenario, machine=None, **options):
    return World(machine or Relay(), scenario, **options).run()


def test_a_call_without_interruptions_is_heard_in_full():
    outcome = run(CALM, network=Network(one_way_ms=40, jitter_ms=30), seed=3)
    outcome.check()
    assert [(truth.sent_ms, truth.heard_ms) for truth in outcome.items] == [(1000, 1000), (600, 600), (800, 800)]
    assert outcome.truncation_errors_ms == []


def test_a_barge_in_is_measured_against_what_the_phone_played():
    outcome = run(BARGE_IN)
    outcome.check()
    [truth] = outcome.items
    # Since the first delta: the model's latency and the way from it are no part of what was heard.
    assert truth.heard_ms == pytest.approx(1500 - 300, abs=1)
    assert truth.item.truncated_ms == pytest.approx(1200, abs=1)


def test_a_clock_that_ignores_gaps_is_caught():
    scenario = Scenario(events=((1.0, Reply((5000,), speed=3, hiccup_ms=2000)), (4.8, CallerSpeaks())), seconds=9)
    with pytest.raises(AssertionError, match=r"seed 11, .*\n- item_\d+ .* was truncated at \d+ ms, off by \+\d+"):
        run(scenario, seed=11).check()


def test_a_truncate_longer_than_what_was_sent_is_refused_and_caught():
    scenario = Scenario(events=((1.0, Reply((5000,), speed=0.3)), (2.2, CallerSpeaks())), seconds=8)
    assert any("already shorter than" in problem for problem in run(scenario).problems())


def test_unheard_audio_that_is_not_truncated_is_caught():
    assert any("not truncated" in problem for problem in run(BARGE_IN, Relay(truncates=False)).problems())


def test_late_audio_that_reaches_the_caller_is_caught():
    scenario = Scenario(events=((1.0, Reply((5000,), speed=1.2)), (3.0, CallerSpeaks())), seconds=8)
    run(scenario).check(tolerance_ms=250)
    problems = run(scenario, Relay(drops_late_audio=False)).problems(tolerance_ms=250)
    assert any("off by -" in problem for problem in problems)


def test_lost_caller_audio_is_caught():
    outcome = run(CALM, faults=Faults(media_lost=0.2), seed=1)
    assert any("the model heard" in problem for problem in outcome.problems())


def test_the_same_seed_gives_the_same_call():
    options = {"network": Network(40, 30, 20, 10), "faults": Faults(media_lost=0.01), "drift_ppm": 50}
    logs = [run(BARGE_IN, seed=seed, **options).world.log for seed in (5, 5, 6)]
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]


def test_a_machine_whose_deadline_stands_still_is_caught():
    class Stuck(Relay):
        def next_deadline(self):
            return 1001.0

    with pytest.raises(AssertionError, match="time stands still"):
        run(CALM, Stuck())


def test_a_simulated_call_runs_far_faster_than_real_time():
    scenario = Scenario(events=tuple((float(n), Reply((2000,))) for n in range(1, 60, 4)), seconds=60)
    began = time.process_time()
    run(scenario).check()
    assert time.process_time() - began < scenario.seconds / 50
