"""What a frame of sound costs, in microseconds, beside other resamplers in the same run.

    python tests/bench/bench_audio.py

Candidates take turns, so that a busy machine slows all of them; the best of many rounds counts. The ratio is to ours.
soxr is compared if it is installed. Speed is one half: `audioop.ratecv` folds and images the voice, soxr delays it.
"""

import importlib.util
import random
import sys
import timeit
from collections.abc import Callable

import numpy as np

from realtime_bridge.audio import Downsampler, Upsampler, transcoder
from realtime_bridge.audio.g711 import audioop

ROUNDS = 100
CALLS_PER_ROUND = 200


def ratecv(rate: int, new_rate: int) -> Callable[[bytes], bytes]:
    state = None

    def process(pcm16: bytes) -> bytes:
        nonlocal state
        out, state = audioop.ratecv(pcm16, 2, 1, rate, new_rate, state)
        return out

    return process


def soxr_stream(rate: int, new_rate: int) -> Callable[[bytes], bytes]:
    import soxr

    stream = soxr.ResampleStream(rate, new_rate, 1, dtype="int16", quality="HQ")
    return lambda pcm16: stream.resample_chunk(np.frombuffer(pcm16, "<i2")).tobytes()


def best_us(candidates: dict[str, Callable[[bytes], bytes]], audio: bytes) -> dict[str, float]:
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(ROUNDS):
        for name, process in candidates.items():
            seconds = timeit.timeit(lambda process=process: process(audio), number=CALLS_PER_ROUND)
            best[name] = min(best[name], seconds / CALLS_PER_ROUND * 1e6)
    return best


def report(title: str, candidates: dict[str, Callable[[bytes], bytes]], audio: bytes) -> None:
    best = best_us(candidates, audio)
    ours = next(iter(best.values()))
    for name, us in best.items():
        sys.stdout.write(f"{title:26}{name:20}{us:8.1f} us {us / ours:8.2f}\n")
        title = ""


def main() -> None:
    noise = random.Random(0).randbytes
    rivals = {"audioop.ratecv": ratecv}
    if importlib.util.find_spec("soxr"):
        rivals["soxr HQ"] = soxr_stream
    for direction, ours, rate, new_rate, frames_ms in [
        ("8 -> 24 kHz", Upsampler, 8000, 24_000, [20]),
        ("24 -> 8 kHz", Downsampler, 24_000, 8000, [20, 200]),
    ]:
        for frame_ms in frames_ms:
            candidates = {"ours": ours().process} | {name: make(rate, new_rate) for name, make in rivals.items()}
            report(f"{direction}, {frame_ms} ms", candidates, noise(2 * frame_ms * rate // 1000))
    pcm, pcmu = transcoder("pcm"), transcoder("pcmu")
    report("phone to model, 20 ms", {"pcm": pcm.to_model, "pcmu": pcmu.to_model}, noise(160))
    report("model to phone, 20 ms", {"pcm": pcm.to_phone}, noise(960))
    report("model to phone, 200 ms", {"pcm": pcm.to_phone}, noise(9600))


if __name__ == "__main__":
    main()
