"""How far `audio_end_ms` is from what the phone had really played, over many simulated calls.

    python tests/bench/bench_truncation.py
    python tests/bench/bench_truncation.py --seeds 500 --json

Whole calls in virtual time through the product's bridge (`tests/simulation`): the phone keeps every byte that it played,
so the truth is known. Callers interrupt at random moments; deltas hold 20 to 400 ms. An item that was cut before anything
of it was heard counts only where the truncate says otherwise. `refused`: truncates that the model did not take.
"""

import argparse
import functools
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from progress import progress

sys.path.insert(0, str(Path(__file__).parent.parent))  # for `simulation`, when run as a program
from simulation.bridge_machine import BridgeMachine
from simulation.model import Scenario
from simulation.scenarios import FAST, SLOW, random_scenario
from simulation.world import Network, World

from realtime_bridge.audio.transcode import transcoder

RANKS = (50, 95, 99)
NEAR = Network()
FAR = Network(one_way_ms=40)
JITTERY = Network(one_way_ms=40, jitter_ms=30)


@dataclass(frozen=True)
class Row:
    name: str
    scenario: Callable[[int], Scenario]
    network: Network = NEAR
    drift_ppm: float = 0.0


def calls(**options) -> Callable[[int], Scenario]:
    return functools.partial(random_scenario, **options)


ROWS = [
    Row("no delay", calls(speeds=FAST)),
    Row("40 ms one way", calls(speeds=FAST), FAR),
    Row("40 ms, 30 ms jitter", calls(speeds=FAST), JITTERY),
    Row("40 ms, PCM 24 kHz", calls(speeds=FAST, audio="pcm"), FAR),
    Row("40 ms, slow model", calls(speeds=SLOW), FAR),
    Row("40 ms, slow model, 30 ms jitter", calls(speeds=SLOW), JITTERY),
    Row("40 ms, three items queued", calls(speeds=FAST, items=(3,)), FAR),
    Row("40 ms, phone 200 ppm fast", calls(speeds=FAST), FAR, drift_ppm=200),
]


def measure(row: Row, seeds: int) -> dict[str, str | int | float]:
    errors, refused = [], 0
    for seed in range(seeds):
        scenario = row.scenario(seed)
        machine = BridgeMachine(transcoder(scenario.audio))
        outcome = World(machine, scenario, seed=seed, network=row.network, drift_ppm=row.drift_ppm).run()
        refused += sum(error.code != "response_cancel_not_active" for _, error in outcome.world.model.errors)
        errors += [
            abs(truth.truncation_error_ms)
            for truth in outcome.items
            if truth.item.truncated_ms is not None and (truth.heard_ms or truth.item.truncated_ms)
        ]
    percentiles = {f"error_ms_p{rank}": round(float(np.percentile(errors, rank)), 1) for rank in RANKS}
    return {"row": row.name, "calls": seeds, "truncates": len(errors), **percentiles, "refused": refused}


def table(lines: list[dict[str, str | int | float]]) -> str:
    text = f"{'':34}{'truncates':>10}{'p50':>8}{'p95':>8}{'p99 ms':>8}{'refused':>9}\n"
    for line in lines:
        errors = "".join(f"{line[f'error_ms_p{rank}']:>8}" for rank in RANKS)
        text += f"{line['row']:34}{line['truncates']:>10}{errors}{line['refused']:>9}\n"
    return text


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=100, help="calls per row (default: 100)")
    options.add_argument("--json", action="store_true", help="one JSON array instead of a table")
    chosen = options.parse_args()
    lines = []
    for row in ROWS:
        progress(row.name)
        lines.append(measure(row, chosen.seeds))
    progress()
    sys.stdout.write(json.dumps(lines, indent=2) + "\n" if chosen.json else table(lines))


if __name__ == "__main__":
    main()
