"""Recorded speech out of a WAV file, as a caller says it."""

from __future__ import annotations

from pathlib import Path

from realtime_bridge.errors import MisuseError
from telephony.testing.wav_sound import decode_wav

SECONDS_MAX = 60
BYTES_MAX = SECONDS_MAX * 16_000 * 2 * 2 + 65_536  # a minute of the largest kind, and what stands around it


def read_speech(path: Path) -> bytes:
    """Mu-law at 8 kHz of a mono file, 8 or 16 kHz, PCM or G.711. Raises OSError, and BridgeError for any other file."""
    with path.open("rb") as file:
        data = file.read(BYTES_MAX + 1)
    if len(data) > BYTES_MAX or (sound := decode_wav(data)).seconds > SECONDS_MAX:
        raise MisuseError(f"{path.name} is too long: something said takes {SECONDS_MAX} s at most")
    if len(sound.channels) != 1:
        raise MisuseError(f"{path.name} has two channels: a recording of one who speaks has one")
    return sound.channels[0]
