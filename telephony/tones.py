"""Sounds that a phone line needs and no model makes: keypad tones, and something pleasant to hear on hold.

Keypad tones are ITU-T Q.23: one of four low and one of four high frequencies together. Levels and timing follow ITU-T
Q.24 and ETSI ES 201 235-2: at least 40 ms of tone and 40 ms of pause are recognised everywhere; we send 100 and 80.
Each frequency is sent at -9 dBm0 (low) and -7 dBm0 (high): the high ones are 2 dB louder, as lines weaken them more.
0 dBm0 is 3.17 dB below a full-scale sine of mu-law (ITU-T G.711, table 5). Tones are sent in-band, as sound, because a
media stream carries no RFC 4733 events from us; G.711 brings them to the far end unharmed.

Pure. All audio is G.711 mu-law at 8 kHz.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from realtime_bridge.audio.g711 import MULAW_SILENCE, pcm16_to_mulaw
from realtime_bridge.errors import MisuseError

RATE = 8000
KEYS = "123A456B789C*0#D"  # rows of the keypad
LOW_HZ = (697, 770, 852, 941)  # of each row
HIGH_HZ = (1209, 1336, 1477, 1633)  # of each column
PAUSE_KEYS = {",": 500, "w": 500, "W": 1000}  # ms of silence, as dial strings write it
TONE_MS = 100
GAP_MS = 80
LOW_DBM0, HIGH_DBM0 = -9.0, -7.0
FULL_SCALE_DBM0 = 3.17
EDGE_MS = 2  # tones swell and fade this long, so that they do not click
DIGITS_MAX = 64

HOLD_NOTE_MS = 500  # as long as the pieces that `own_audio` sends, so that an end never cuts one
HOLD_DBM0 = -26.0  # soft: a caller shall be able to think
# A slow round of open chords, two notes at a time, in Hz (equal temperament; C, G, A minor, F).
HOLD_CHORDS = ((261.63, 392.00), (329.63, 523.25), (293.66, 392.00), (246.94, 493.88),
               (220.00, 329.63), (261.63, 440.00), (174.61, 349.23), (220.00, 349.23))  # fmt: skip

Samples = NDArray[np.float64]  # 1.0 is full scale


def keypad_tones(digits: str) -> bytes:
    """These keys, one after the other, each with its pause; `,` and `w` wait half a second, `W` a whole one.

    Raises MisuseError for other characters, and for more than `DIGITS_MAX`.
    """
    if not 0 < len(digits) <= DIGITS_MAX:
        raise MisuseError(f"digits: 1 to {DIGITS_MAX} keys can be pressed at once")
    if wrong := sorted(set(digits.upper()) - set(KEYS) - {",", "W"}):
        raise MisuseError(
            f"digits: no phone has the key {wrong[0]!r}; there are 0-9, *, #, A-D, and `,` or `w` to wait"
        )
    gap = MULAW_SILENCE * (GAP_MS * 8)
    return b"".join(
        MULAW_SILENCE * (PAUSE_KEYS[key] * 8) if key in PAUSE_KEYS else _key(key.upper()) + gap for key in digits
    )


@cache
def _key(key: str) -> bytes:
    row, column = divmod(KEYS.index(key), 4)
    time = np.arange(TONE_MS * 8) / RATE
    wave = _level(LOW_DBM0) * np.sin(2 * np.pi * LOW_HZ[row] * time)
    wave += _level(HIGH_DBM0) * np.sin(2 * np.pi * HIGH_HZ[column] * time)
    swell = np.minimum(1.0, (np.arange(wave.size) + 0.5) / (EDGE_MS * 8))
    return _mulaw(wave * swell * swell[::-1])


@cache
def hold_music() -> bytes:
    """A loop of some seconds: soft notes that swell and die away, each silent at its ends. Cut it at whole notes."""
    time = np.arange(HOLD_NOTE_MS * 8) / RATE
    seconds = HOLD_NOTE_MS / 1000
    shape = np.sin(np.pi * time / seconds) ** 2 * np.exp(-1.5 * time / seconds)
    notes = []
    for chord in HOLD_CHORDS:
        wave = sum(
            (np.sin(2 * np.pi * hz * time) + 0.2 * np.sin(4 * np.pi * hz * time) for hz in chord), np.zeros(time.size)
        )
        notes.append(_level(HOLD_DBM0) * 2 * shape * wave)
    return _mulaw(np.concatenate(notes))


def _level(dbm0: float) -> float:
    """Amplitude of a sine of this level."""
    return float(10 ** ((dbm0 - FULL_SCALE_DBM0) / 20))


def _mulaw(wave: Samples) -> bytes:
    return pcm16_to_mulaw((np.clip(wave, -1.0, 1.0) * 32767).astype("<i2").tobytes())
