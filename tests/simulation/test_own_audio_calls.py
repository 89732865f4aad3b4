"""Our own audio in whole calls: it is heard to its end whatever the caller interrupts, and costs the items no exactness."""

from random import Random

import pytest
from simulation.bridge_machine import BridgeMachine
from simulation.scenarios import FAST, SLOW, random_scenario
from simulation.world import Network, World

from realtime_bridge.audio.transcode import transcoder
from telephony.bridge_inputs import EndHold, Hold, Mute, MuteAgent, Play
from telephony.testing.phone import Faults

SEEDS = range(4)
FEW = range(2)
FAR = Network(one_way_ms=40)
OWN, HELD = 0x10, 0x20  # mu-law codes, in the half that no item uses
LOOP = bytes([HELD]) * 16_000


def own_audio(rng: Random, seconds: float) -> list:
    """Pieces of some hundred milliseconds at random moments."""
    times = sorted(rng.uniform(0.3, seconds - 12) for _ in range(8))
    return [(at, Play(f"own {n}", bytes([OWN]) * (160 * rng.randrange(5, 60)))) for n, at in enumerate(times)]


def holds(rng: Random, seconds: float) -> list:
    """The caller is put on hold now and then, or one way is muted; all of it ends in time."""
    program, at = [], 0.5
    while at < seconds - 15:
        begin, end = rng.choice(
            [(Hold(LOOP), EndHold()), (Hold(b""), EndHold()), (Mute(muted=True), Mute(muted=False))]
        )
        program += [(at, begin), (at := at + rng.uniform(0.1, 3.0), end)]
        at += rng.uniform(0.1, 4.0)
    return program


def run(seed, make, *, speeds=FAST + SLOW, audio="pcmu", hears_all=True, **options):
    scenario = random_scenario(seed, audio=audio, speeds=speeds)
    program = sorted(make(Random(f"{seed} program"), scenario.seconds), key=lambda entry: entry[0])
    machine = BridgeMachine(transcoder(audio), program=program)
    outcome = World(machine, scenario, seed=seed, hears_all=hears_all, **options).run()
    return machine, program, outcome


def ms(outcome, code):
    return outcome.heard.count(code) / 8


@pytest.mark.parametrize("audio", ["pcmu", "pcm"])
@pytest.mark.parametrize("seed", SEEDS)
def test_own_audio_is_heard_to_its_end_and_items_stay_exact(seed, audio):
    machine, program, outcome = run(seed, own_audio, audio=audio, network=FAR)
    outcome.check(tolerance_ms=6)
    assert list(machine.played) == [f"own {n}" for n in range(8)]
    assert all(echoed for _, echoed in machine.played.values())
    sent_ms = sum(len(play.mulaw) for _, play in program) / 8
    clears = len(outcome.world.phone.playback.clears)
    assert sent_ms - 2 * clears <= ms(outcome, OWN) <= sent_ms + 25 * clears


@pytest.mark.parametrize("seed", SEEDS)
def test_a_caller_on_hold_or_unheard_costs_no_exactness(seed):
    _, program, outcome = run(seed, holds, network=FAR, hears_all=False)
    outcome.check(tolerance_ms=6)
    assert (ms(outcome, HELD) > 0) == any(isinstance(what, Hold) and what.loop for _, what in program)


def test_jitter_and_a_phone_without_marks_are_survived():
    for seed in FEW:
        jittery = Network(one_way_ms=40, jitter_ms=30)
        run(seed, own_audio, speeds=FAST, network=jittery)[2].check(tolerance_ms=jittery.jitter_ms)
        machine, program, outcome = run(seed, own_audio, network=FAR, faults=Faults(marks_lost=1.0))
        outcome.check(tolerance_ms=6)
        assert [echoed for _, echoed in machine.played.values()] == [False] * len(program)


def test_marks_that_come_again_end_no_piece_before_its_time():
    for seed in FEW:
        faults = Faults(marks_repeated=0.3, marks_stale=0.3)
        machine, program, outcome = run(seed, own_audio, network=FAR, faults=faults)
        outcome.check(tolerance_ms=6)
        began = outcome.world.phone.started_at
        lengths_s = {play.audio_id: len(play.mulaw) / 8000 for _, play in program}
        sent_at = {play.audio_id: at for at, play in program}
        assert set(machine.played) == set(lengths_s)
        assert all(at - began >= sent_at[name] + lengths_s[name] for name, (at, _) in machine.played.items())


def test_a_muted_agent_is_not_heard_and_the_model_knows():
    for seed in FEW:
        _, _, outcome = run(seed, lambda *_: [(0.1, MuteAgent(muted=True))], network=FAR)
        outcome.check(tolerance_ms=6)
        assert [truth.heard_ms for truth in outcome.items] == [0] * len(outcome.items)
        assert {truth.item.truncated_ms for truth in outcome.items if truth.sent_ms} <= {0, None}


def test_the_same_seed_gives_the_same_call():
    logs = [run(3, own_audio, network=FAR)[2].world.log for _ in range(2)]
    assert logs[0] == logs[1]
