"""Speech for callers and agents where no speech model is installed: each character is hummed as a tone of its own.

A hum lasts about as long as its words would take to say, is heard and interrupted like speech, passes through mu-law,
resampling and the turn detection as speech does, and is understood from its sound alone: nobody has to be told beside
the line what was said. So a call in text-level speech is a whole call, but for pronunciation and mishearing.

`HumVoice`, `HumRecognizer` and `HumVad` are the three speech parts of an offline model (`localmodel/parts.py`); `hum` is
what a caller says. Pure; everything but the recogniser is at 8 kHz.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray

from realtime_bridge.audio.g711 import MULAW_SILENCE, pcm16_to_mulaw
from realtime_bridge.localmodel.parts import Samples
from realtime_bridge.localmodel.spoken_text import sentences
from telephony.playout import BYTES_PER_MS

RATE = 8000
CHARACTER_MS = 65  # 15 characters a second, as people speak

_FIRST_HZ, _STEP_HZ = 300.0, 32.0  # 96 tones within the telephone's band, and within our resampler's
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F))
_ESCAPE = len(_PRINTABLE)  # before and after the hexadecimal digits of any other character
_CHARACTER_SAMPLES = RATE * CHARACTER_MS // 1000
_LEVEL = 0.25
_LOUD = 0.05
_LEAD_MS, _TAIL_MS = 40, 240  # silence around a sentence, as the offline model's voice leaves it

_RECOGNIZER_RATE = 16_000
_GAP_SAMPLES = _RECOGNIZER_RATE * 30 // 1000  # more silence than this lies between two hums
_SYMBOL_SAMPLES = _RECOGNIZER_RATE * CHARACTER_MS // 1000
_EDGE_SAMPLES = _RECOGNIZER_RATE * 8 // 1000  # of each tone: its neighbour may reach into it
_PURE_MIN = 0.6  # share of its energy that one tone must have; speech and noise have less


def hum(text: str) -> bytes:
    """What a caller says: mu-law at 8 kHz. Nothing for no text."""
    return pcm16_to_mulaw((_tones(text.strip()) * 32767).astype("<i2").tobytes())


def silence(ms: float) -> bytes:
    """Mu-law at 8 kHz."""
    return MULAW_SILENCE * round(ms * BYTES_PER_MS)


class HumVoice:
    """A `Synthesizer`."""

    sample_rate = RATE

    def speak(self, text: str) -> Iterator[tuple[str, Samples]]:
        lead, tail = (np.zeros(RATE * ms // 1000, np.float32) for ms in (_LEAD_MS, _TAIL_MS))
        for sentence in sentences(text):
            yield sentence, np.concatenate([lead, _tones(sentence), tail])


class HumVad:
    """A `Vad`: sound is speech."""

    window_samples = 256

    def probability(self, window: Samples) -> float:
        return 1.0 if float(np.sqrt(np.square(window).mean())) > _LOUD else 0.0

    def reset(self) -> None:
        """It remembers nothing."""


class HumRecognizer:
    """A `Recognizer`. What is no hum, such as recorded speech, is not understood: ""."""

    def transcribe(self, speech: Samples) -> str:
        return " ".join(text for begin, end in _sounds(speech) if (text := _read(speech[begin:end])))


def _tones(text: str) -> Samples:
    table = _table()
    tones = [table[symbol] for symbol in _symbols(text)]
    return np.concatenate(tones) if tones else np.empty(0, np.float32)


def _symbols(text: str) -> Iterator[int]:
    for character in text:
        at = _PRINTABLE.find(character)
        if at >= 0:
            yield at
        else:
            yield _ESCAPE
            yield from (_PRINTABLE.index(digit) for digit in f"{ord(character):x}")
            yield _ESCAPE


def _text(symbols: list[int]) -> str:
    text, code = "", None
    for symbol in symbols:
        if symbol == _ESCAPE:
            if code is not None:
                text += _character(code)
            code = "" if code is None else None
        elif code is None:
            text += _PRINTABLE[symbol]
        else:
            code += _PRINTABLE[symbol]
    return text


def _character(code: str) -> str:
    try:
        return chr(int(code, 16))
    except (ValueError, OverflowError):
        return ""


@cache
def _table() -> NDArray[np.float32]:
    """Each symbol's tone."""
    seconds = np.arange(_CHARACTER_SAMPLES) / RATE
    hertz = _FIRST_HZ + _STEP_HZ * np.arange(_ESCAPE + 1)
    tones: NDArray[np.float32] = (_LEVEL * np.sin(2 * math.pi * hertz[:, None] * seconds)).astype(np.float32)
    return tones


@cache
def _probes() -> NDArray[np.complex64]:
    """What a symbol's middle is compared with: one row per tone."""
    seconds = np.arange(_SYMBOL_SAMPLES - 2 * _EDGE_SAMPLES) / _RECOGNIZER_RATE
    hertz = _FIRST_HZ + _STEP_HZ * np.arange(_ESCAPE + 1)
    probes: NDArray[np.complex64] = np.exp(-2j * math.pi * hertz[:, None] * seconds).astype(np.complex64)
    return probes


def _sounds(speech: Samples) -> Iterator[tuple[int, int]]:
    """Where there is sound without a gap."""
    loud = np.flatnonzero(np.abs(speech) > _LOUD)
    if not loud.size:
        return
    breaks = np.flatnonzero(np.diff(loud) > _GAP_SAMPLES)
    begins, ends = [0, *(breaks + 1)], [*breaks, loud.size - 1]
    for begin, end in zip(begins, ends, strict=True):
        yield int(loud[begin]), int(loud[end]) + 1


def _read(sound: Samples) -> str:
    """One hum, told from its end: what a turn loses is its beginning."""
    symbols = []
    for number in range(round(sound.size / _SYMBOL_SAMPLES)):
        end = sound.size - number * _SYMBOL_SAMPLES - _EDGE_SAMPLES
        middle = sound[max(0, end - _SYMBOL_SAMPLES + 2 * _EDGE_SAMPLES) : end]
        powers = (
            np.abs(np.einsum("ij,j->i", _probes()[:, : middle.size], middle)) ** 2
        )  # BLAS would start threads for it
        tone = int(powers.argmax())
        # A tone of amplitude a has a²/2 of energy a sample, and its probe sums to a/2 a sample.
        energy = float(np.square(middle).sum())
        if energy <= 0 or 2 * float(powers[tone]) / (middle.size * energy) < _PURE_MIN:
            return ""
        symbols.append(tone)
    return _text(symbols[::-1])
