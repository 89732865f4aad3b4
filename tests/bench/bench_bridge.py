"""What a call costs: CPU of the bridge, and the delay it adds in each direction, beside a bare relay in the same run.

    python tests/bench/bench_bridge.py
    python tests/bench/bench_bridge.py --calls 20 50 100 --rounds 5 --rows relay session/pcmu session/pcm

The kinds of bridge (see `load/bridges.py`) are each pinned to one core; a process of phones and a synthetic model have
another one. The rows take turns, round by round, and figures are medians over the rounds, since other programs on the
machine slow all of them: trust the ratio to the relay more than the milliseconds. One call is 50 frames a second in, and
every 5 s a caller's turn and a reply of 2 s. CPU is the bridge's own process, all threads, kernel included.

The row `sdk-js/pcmu` needs Node.js, and a directory with the SDK in AGENTS_SDK_JS:

    npm install --prefix DIRECTORY @openai/agents @openai/agents-extensions ws
    AGENTS_SDK_JS=DIRECTORY python tests/bench/bench_bridge.py --rows relay session/pcmu sdk-js/pcmu
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from statistics import median

from load import bridges, model, phones
from load.processes import Worker
from progress import progress

BRIDGE_CORE, LOAD_CORE = 1, 0
ROWS = [
    "relay", "relay-aiohttp", "relay-starlette", "bridge/pcmu", "session/pcmu", "recorded/pcmu", "server/pcmu",
    "bridge/pcm", "session/pcm", "recorded/pcm", "server/pcm", "sdk/pcmu", "sdk-js/pcmu",
]  # fmt: skip
BASELINE = "relay"
NODE_ROW = "sdk-js/pcmu"
WARM_UP_S = 5.0
SETTLED_S_MAX = 20.0
FRAMES_PER_S = 50


@dataclass(frozen=True)
class Run:
    """One row once: CPU milliseconds per call-second; delays in milliseconds, p50 and p99."""

    cpu_ms: float
    to_model_ms: tuple[float, float]
    to_phone_ms: tuple[float, float]
    late_ms: float  # p99 of how far the phones were behind their own schedule
    frames_share: float  # of the caller's frames that reached the model


def run(bridge: Worker, load: Worker, peer: Worker, calls: int, seconds: float) -> Run:
    load.ask("dial", bridge.ask("url"), calls)
    time.sleep(WARM_UP_S)
    peer.ask("begin")
    load.ask("begin")
    cpu, at = bridge.ask("clock")
    time.sleep(seconds)
    cpu_end, end = bridge.ask("clock")
    to_phone, late, lost = load.ask("end")
    to_model, appends, truncates = peer.ask("end")
    load.ask("hang_up")
    deadline = time.monotonic() + SETTLED_S_MAX
    while peer.ask("sessions") and time.monotonic() < deadline:
        time.sleep(0.1)
    if lost or truncates:
        raise RuntimeError(f"{lost} calls were lost, {truncates} items were truncated: the figures are worth nothing")
    took = end - at
    return Run(
        (cpu_end - cpu) * 1000 / took / calls,
        to_model,
        to_phone,
        late[1],
        appends / took / calls / FRAMES_PER_S,
    )


def measure(rows: list[str], calls: int, rounds: int, seconds: float) -> dict[str, list[Run]]:
    peer = Worker("model", model.main, core=LOAD_CORE)
    load = Worker("phones", phones.main, core=LOAD_CORE)
    port = peer.ask("listen")
    workers = {}
    for row in rows:
        kind, _, audio = row.partition("/")
        workers[row] = Worker(row, bridges.main, kind, audio or "pcmu", port, core=BRIDGE_CORE)
    runs: dict[str, list[Run]] = {row: [] for row in rows}
    try:
        for number in range(rounds):
            for row in rows if number % 2 == 0 else reversed(rows):
                progress(f"{calls} calls, round {number + 1} of {rounds}: {row}")
                runs[row].append(run(workers[row], load, peer, calls, seconds))
    finally:
        progress()
        for worker in (load, *workers.values(), peer):
            worker.stop()
    return runs


def figures(runs: dict[str, list[Run]], calls: int) -> list[dict[str, float | str | int]]:
    """One line per row: medians over the rounds; `ratio` is the median of each round's own."""
    lines = []
    for row, of_row in runs.items():
        line: dict[str, float | str | int] = {"row": row, "calls": calls}
        line["cpu_ms"] = round(median(r.cpu_ms for r in of_row), 3)
        if BASELINE in runs:
            pairs = zip(of_row, runs[BASELINE], strict=True)
            line["ratio"] = round(median(r.cpu_ms / base.cpu_ms for r, base in pairs), 2)
        for way in ("to_model", "to_phone"):
            for n, name in enumerate(("p50", "p99")):
                line[f"{way}_ms_{name}"] = round(median(getattr(r, f"{way}_ms")[n] for r in of_row), 2)
        line["phones_late_ms_p99"] = round(median(r.late_ms for r in of_row), 1)
        line["frames_heard_percent"] = round(100 * median(r.frames_share for r in of_row), 1)
        lines.append(line)
    return lines


def table(lines: list[dict[str, float | str | int]]) -> str:
    head = (
        f"{'':16}{'calls':>6}{'CPU ms per':>12}{'times the':>11}{'caller→model ms':>18}{'model→caller ms':>18}\n"
        f"{'':16}{'':>6}{'call-second':>12}{'relay':>11}{'p50 / p99':>18}{'p50 / p99':>18}\n"
    )
    for line in lines:
        delays = [f"{line[f'{way}_ms_p50']:.2f} / {line[f'{way}_ms_p99']:.2f}" for way in ("to_model", "to_phone")]
        ratio = f"{line['ratio']:.2f}" if "ratio" in line else ""
        head += f"{line['row']:16}{line['calls']:>6}{line['cpu_ms']:>12.2f}{ratio:>11}{delays[0]:>18}{delays[1]:>18}\n"
    return head


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--calls", type=int, nargs="+", default=[50], help="calls at once (default: 50)")
    options.add_argument("--rounds", type=int, default=3, help="how often each row is measured (default: 3)")
    options.add_argument("--seconds", type=float, default=10.0, help="per measurement, best a multiple of 5")
    options.add_argument("--rows", nargs="+", default=ROWS, metavar="KIND/AUDIO", choices=ROWS, help=", ".join(ROWS))
    options.add_argument("--json", action="store_true", help="one JSON array instead of a table")
    chosen = options.parse_args()
    if (os.cpu_count() or 1) < 2:
        options.error("two cores are needed: one for the bridge, one for the load")
    if NODE_ROW in chosen.rows and "AGENTS_SDK_JS" not in os.environ:
        if chosen.rows is not ROWS:
            options.error(
                f"{NODE_ROW} needs a directory with its packages in AGENTS_SDK_JS; --help says how to make it"
            )
        chosen.rows = [row for row in ROWS if row != NODE_ROW]
    lines = []
    for calls in chosen.calls:
        lines += figures(measure(chosen.rows, calls, chosen.rounds, chosen.seconds), calls)
    sys.stdout.write(json.dumps(lines, indent=2) + "\n" if chosen.json else table(lines))


if __name__ == "__main__":
    main()
