"""Recorded speech out of a WAV file, as a caller says it."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.formats import from_voice

SECONDS_MAX = 60.0
RATES = range(8_000, 48_001)


def read_speech(path: Path) -> bytes:
    """Mu-law at 8 kHz of a 16-bit mono file. Raises OSError, and MisuseError for any other file."""
    try:
        with wave.open(str(path)) as file:
            rate, channels, width, frames = (
                file.getframerate(),
                file.getnchannels(),
                file.getsampwidth(),
                file.getnframes(),
            )
            if width != 2 or channels != 1 or rate not in RATES:
                raise MisuseError(
                    f"{path.name} must be 16-bit mono at 8 to 48 kHz, not {8 * width}-bit with {channels} channels at {rate} Hz"
                )
            if not 0 < frames <= SECONDS_MAX * rate:
                raise MisuseError(
                    f"{path.name} holds {frames / rate:.1f} s; something said takes {SECONDS_MAX:g} at most"
                )
            pcm16 = file.readframes(frames)
    except (wave.Error, EOFError) as e:
        raise MisuseError(f"{path.name} is no WAV file of PCM: {e}") from e
    samples = np.frombuffer(pcm16[: len(pcm16) // 2 * 2], "<i2").astype(np.float32) / np.float32(32768)
    return from_voice(samples, rate, "audio/pcmu")
