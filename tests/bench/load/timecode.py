"""The time, written into 20 ms of sound, so that a delay can be measured across processes and through a resampler.

Five steady levels of 4 ms hold 20 bits: microseconds of the machine's monotonic clock, modulo about a second. A level is
read well within its 4 ms, where the filters (3 ms long) have settled, and 1.5 ms late, as the sound is after them; without
them that is still the same level. None of the levels is near silence, so a frame without a time is told apart.
"""

import struct
import time
from collections.abc import Sequence
from math import nan

import numpy as np
import pybase64

from realtime_bridge.audio.g711 import mulaw_to_pcm16, pcm16_to_mulaw

LEVELS_PER_FRAME = 5
_BITS = 4
_WRAP_US = 1 << (_BITS * LEVELS_PER_FRAME)
_PCM_LEVELS = range(-30_000, 30_001, 4000)
_SHIFTS = range(0, _BITS * LEVELS_PER_FRAME, _BITS)

_MULAW_BLOCKS = [pcm16_to_mulaw(struct.pack("<h", level)) * 32 for level in _PCM_LEVELS]
_PCM_BLOCKS = [struct.pack("<h", level) * 96 for level in _PCM_LEVELS]
_read_pcm = struct.Struct("<168x" + "190x".join(["h"] * LEVELS_PER_FRAME)).unpack_from
_read_mulaw = struct.Struct("28x" + "31x".join(["B"] * LEVELS_PER_FRAME)).unpack_from


def _nearest(pcm: int) -> int | None:
    return round((pcm - _PCM_LEVELS[0]) / _PCM_LEVELS.step) if abs(pcm) > 1000 else None


_DIGIT_OF_CODE = [_nearest(pcm) for pcm in np.frombuffer(mulaw_to_pcm16(bytes(range(256))), "<i2").tolist()]

BASE64_OF_A_FRAME = 216  # characters that hold 160 bytes at least


def now_us() -> int:
    return time.monotonic_ns() // 1000


def stamp(audio: str) -> bytes:
    """20 ms of sound that tell the time now, in the format `pcmu` or `pcm` (24 kHz)."""
    us = now_us()
    blocks = _MULAW_BLOCKS if audio == "pcmu" else _PCM_BLOCKS
    return b"".join([blocks[us >> shift & 15] for shift in _SHIFTS])


def age_us(sound: bytes, audio: str) -> int | None:
    """How long ago the time in these 20 ms was written; None when there is none in it."""
    read, digit_of = (_read_mulaw, _DIGIT_OF_CODE.__getitem__) if audio == "pcmu" else (_read_pcm, _nearest)
    us = 0
    for shift, value in zip(_SHIFTS, read(sound), strict=True):
        digit = digit_of(value)
        if digit is None:
            return None
        us |= digit << shift
    return (now_us() - us) % _WRAP_US


def age_of_base64_us(payload: bytes) -> int | None:
    """The same for a media payload of mu-law in base64, of 20 ms or more."""
    return age_us(pybase64.b64decode(payload[:BASE64_OF_A_FRAME]), "pcmu")


def p50_p99_ms(us: Sequence[int]) -> tuple[float, float]:
    if not len(us):
        return nan, nan
    p50, p99 = np.percentile(us, [50, 99]) / 1000
    return float(p50), float(p99)
