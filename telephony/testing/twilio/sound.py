"""Sounds of a telephone network as 8 kHz mu-law: voices, beeps, ring-back, keys.

Pure. `murmur` is speech for those who do not listen to words: a hum of the right length, with the rhythm of syllables;
`telephony.testing.twilio.voices` has a real voice. Tones: ITU-T E.180 (ring-back of North America), Q.23 (keys), T.30 (fax).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from realtime_bridge.audio.g711 import MULAW_SILENCE, mulaw_to_pcm16, pcm16_to_mulaw
from realtime_bridge.errors import MisuseError

Voice: TypeAlias = Callable[[str], bytes]

RATE: Final = 8000
FRAME_BYTES: Final = 160
FRAME_S: Final = 0.020
SILENT_FRAME: Final = MULAW_SILENCE * FRAME_BYTES
KEY_MS: Final = 120
KEY_GAP_MS: Final = 80
SECONDS_PER_CHARACTER: Final = 0.06  # some 160 words a minute
MURMUR_S_MIN: Final = 0.3

_ROWS: Final = (697, 770, 852, 941)
_COLUMNS: Final = (1209, 1336, 1477, 1633)
KEYS: Final = {
    key: (_ROWS[row], _COLUMNS[column])
    for row, line in enumerate(("123A", "456B", "789C", "*0#D"))
    for column, key in enumerate(line)
}
_HEARD_SHARE: Final = 0.35  # of a frame's energy in each of a key's two tones


def tone(*frequencies: float, ms: float, level: float = 0.2) -> bytes:
    """All of them at once; `level` of full scale each."""
    time = np.arange(int(ms * RATE / 1000)) / RATE
    wave = sum((level * np.sin(2 * np.pi * frequency * time) for frequency in frequencies), np.zeros(time.size))
    return _mulaw(wave)


def silence(ms: float) -> bytes:
    return MULAW_SILENCE * int(ms * RATE / 1000)


@cache
def murmur(text: str) -> bytes:
    """A hum as long as the text takes to say, with its words apart."""
    samples = int(max(MURMUR_S_MIN, len(text) * SECONDS_PER_CHARACTER) * RATE)
    time = np.arange(samples) / RATE
    syllables = 0.6 - 0.4 * np.cos(2 * np.pi * 4 * time)
    return _mulaw(0.25 * syllables * np.sin(2 * np.pi * 180 * time))


def beep() -> bytes:
    """Of an answering machine, and before a recording."""
    return tone(1000, ms=500, level=0.4)


def fax() -> bytes:
    """A fax machine that answers: 2100 Hz for 3 s (T.30, CED)."""
    return tone(2100, ms=3000, level=0.4)


@cache
def ringback(ms: float) -> bytes:
    """2 s of ringing, 4 s of silence, over and over."""
    cycle = tone(440, 480, ms=2000, level=0.1) + silence(4000)
    return (cycle * (int(ms / 6000) + 1))[: int(ms * RATE / 1000)]


@cache
def hold_music(ms: float) -> bytes:
    """Notes, one every half second."""
    notes = b"".join(tone(note, ms=500, level=0.15) for note in (262, 330, 392, 523, 392, 330))
    return (notes * (int(ms / 3000) + 1))[: int(ms * RATE / 1000)]


def keys(digits: str) -> bytes:
    """The tones of these keys; `w` waits half a second, `W` a second. Raises MisuseError for what is no key."""
    parts = []
    for digit in digits:
        if digit in "wW":
            parts.append(silence(500 if digit == "w" else 1000))
        elif digit in KEYS:
            parts += [tone(*KEYS[digit], ms=KEY_MS), silence(KEY_GAP_MS)]
        else:
            raise MisuseError(f"{digit!r} is no key of a telephone: 0-9, *, #, A-D, w, W")
    return b"".join(parts)


def digits_in(mulaw: bytes) -> str:
    """The keys whose tones are heard in this sound, in order: a tone of at least 40 ms, with a pause before the next."""
    found: list[str] = []
    last, count = "", 0
    for start in range(0, len(mulaw) - FRAME_BYTES + 1, FRAME_BYTES):
        key = _key_of(mulaw[start : start + FRAME_BYTES])
        count = count + 1 if key == last else 1
        last = key
        if key and count == 2:
            found.append(key)
    return "".join(found)


def mix(parts: list[bytes]) -> bytes:
    """Several sounds at once; mu-law of equal length."""
    if len(parts) == 1:
        return parts[0]
    total = sum((np.frombuffer(mulaw_to_pcm16(part), "<i2").astype(np.int32) for part in parts), np.int32(0))
    return pcm16_to_mulaw(np.clip(total, -32768, 32767).astype("<i2").tobytes())


def _key_of(frame: bytes) -> str:
    if frame == SILENT_FRAME:
        return ""
    sound = np.frombuffer(mulaw_to_pcm16(frame), "<i2").astype(np.float64)
    energy = float(np.square(sound).sum())
    if energy / sound.size < 100.0**2:
        return ""
    time = np.arange(sound.size) / RATE
    shares = {
        frequency: 2 * abs(np.dot(sound, np.exp(-2j * np.pi * frequency * time))) ** 2 / (sound.size * energy)
        for frequency in (*_ROWS, *_COLUMNS)
    }
    row, column = max(_ROWS, key=lambda f: shares[f]), max(_COLUMNS, key=lambda f: shares[f])
    if min(shares[row], shares[column]) < _HEARD_SHARE:
        return ""
    return next(key for key, pair in KEYS.items() if pair == (row, column))


def _mulaw(wave: NDArray[Any]) -> bytes:
    return pcm16_to_mulaw((np.clip(wave, -1.0, 1.0) * 32767).astype("<i2").tobytes())
