"""WAV files to telephone sound and back: what `<Play>` fetches, and what recordings are downloaded as. Pure."""

from __future__ import annotations

import io
import wave

import numpy as np

from realtime_bridge.audio.g711 import mulaw_to_pcm16, pcm16_to_mulaw
from telephony.testing.twilio.sound import RATE


def mulaw_of_wav(data: bytes) -> bytes:
    """8 kHz mu-law of a 16-bit PCM file, its channels mixed; b"" when it is something else.

    Rates are changed by picking samples: good enough to tell sounds apart.
    """
    try:
        with wave.open(io.BytesIO(data)) as file:
            rate, channels, width = file.getframerate(), file.getnchannels(), file.getsampwidth()
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError):
        return b""
    if width != 2 or not frames:
        return b""
    mono = np.frombuffer(frames, "<i2").reshape(-1, channels).mean(axis=1)
    picked = mono[(np.arange(int(mono.size * RATE / rate)) * rate / RATE).astype(np.int64)]
    return pcm16_to_mulaw(picked.astype("<i2").tobytes())


def wav_of_mulaw(*channels: bytes) -> bytes:
    """A 16-bit PCM file at 8 kHz."""
    sides = [np.frombuffer(mulaw_to_pcm16(channel), "<i2") for channel in channels]
    length = min((side.size for side in sides), default=0)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(max(len(sides), 1))
        out.setsampwidth(2)
        out.setframerate(RATE)
        if sides:
            out.writeframes(np.stack([side[:length] for side in sides], axis=1).astype("<i2").tobytes())
    return file.getvalue()
