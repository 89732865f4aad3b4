"""Recorded speech and other sounds at telephone rate, for tests and benches of what listens to them.

All audio here is float32, 8 kHz, -1.0 to 1.0.
"""

from __future__ import annotations

import re
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realtime_bridge.audio.g711 import mulaw_to_pcm16, pcm16_to_mulaw

Samples = NDArray[np.float32]

RATE = 8000
_LIBRIVOX = Path(__file__).parent.parent / "data" / "librivox"
_DIGITS = "zero one two three four five six seven eight nine".split()  # noqa: SIM905 - shorter


@dataclass(frozen=True, slots=True)
class Utterance:
    name: str
    words: str
    samples: Samples


def librivox() -> list[Utterance]:
    """Five read sentences; see tests/data/librivox/ATTRIBUTION.md."""
    lines = (_LIBRIVOX / "transcripts.txt").read_text().splitlines()
    named = [line.split(" ", 1) for line in lines]
    return [Utterance(name, words, read_wav(_LIBRIVOX / f"{name}.wav")) for name, words in named]


def read_wav(path: Path) -> Samples:
    """A mono 16-bit file at 8 kHz."""
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (RATE, 1, 2), path
        return from_pcm16(file.readframes(file.getnframes()))


def from_pcm16(pcm16: bytes) -> Samples:
    return np.frombuffer(pcm16, "<i2").astype(np.float32) / 32768


def to_pcm16(samples: Samples) -> bytes:
    return (np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()


def to_mulaw(samples: Samples) -> bytes:
    return pcm16_to_mulaw(to_pcm16(samples))


def over_the_phone(samples: Samples) -> Samples:
    """As mu-law leaves it."""
    return from_pcm16(mulaw_to_pcm16(to_mulaw(samples)))


def in_quiet(samples: Samples, *, before_ms: int = 600, after_ms: int = 1200) -> Samples:
    """Put the hiss of a quiet line before and after."""
    line = np.random.default_rng(0).normal(0.0, 0.0005, samples.size + (before_ms + after_ms) * 8)
    line[before_ms * 8 : before_ms * 8 + samples.size] += samples
    return line.astype(np.float32)


def tones(*frequencies: float, seconds: float, on_ms: int = 1, off_ms: int = 0, level: float = 0.2) -> Samples:
    """A chord that comes and goes."""
    time = np.arange(int(seconds * RATE)) / RATE
    chord = sum(np.sin(2 * np.pi * frequency * time) for frequency in frequencies)
    gate = (time * 1000) % (on_ms + off_ms) < on_ms
    return (level * chord * gate).astype(np.float32)


def plain_words(text: str) -> str:
    """Lower case, no punctuation, lone digits as words: what a comparison of transcripts looks at."""
    text = text.lower().replace("\u2019", "'").replace("-", " ")
    text = re.sub(r"\bmr\b\.?", "mister", text)
    text = re.sub(r"(?<![\d.,$])\d(?![\d.,]\d|\d)", lambda digit: _DIGITS[int(digit.group())], text)
    return " ".join(re.findall(r"[\w']+", text))
