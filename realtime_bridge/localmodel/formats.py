"""The API's audio formats: how long audio is, and the way from bytes to samples and back.

Source: openai/types/realtime/realtime_audio_formats.py. PCM is 16-bit little-endian mono at 24 kHz; G.711 is one byte a
sample at 8 kHz.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from realtime_bridge.audio import Downsampler, g711
from realtime_bridge.localmodel.parts import Samples

FormatName: TypeAlias = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]

RECOGNIZER_RATE = 16_000
_RATES: dict[FormatName, int] = {"audio/pcm": 24_000, "audio/pcmu": 8_000, "audio/pcma": 8_000}
_SAMPLE_BYTES: dict[FormatName, int] = {"audio/pcm": 2, "audio/pcmu": 1, "audio/pcma": 1}


def bytes_per_ms(audio_format: FormatName) -> int:
    return _RATES[audio_format] * _SAMPLE_BYTES[audio_format] // 1000


def is_whole(audio: bytes, audio_format: FormatName) -> bool:
    """Whether no sample is cut in half."""
    return len(audio) % _SAMPLE_BYTES[audio_format] == 0


def for_recognizer(audio: bytes, audio_format: FormatName) -> Samples:
    """One whole utterance as a `Recognizer` wants it, at 16 kHz."""
    return _resampled(_floats(_pcm16(audio, audio_format)), _RATES[audio_format], RECOGNIZER_RATE)


def from_voice(speech: Samples, sample_rate: int, audio_format: FormatName) -> bytes:
    """A whole sentence of a `Synthesizer` as bytes in the API's format."""
    samples = _resampled(speech, sample_rate, _RATES[audio_format])
    pcm16 = (np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2").tobytes()
    match audio_format:
        case "audio/pcm":
            return pcm16
        case "audio/pcmu":
            return g711.pcm16_to_mulaw(pcm16)
        case "audio/pcma":
            return g711.pcm16_to_alaw(pcm16)


class DetectorFeed:
    """The caller's audio, piece by piece, as a `TurnDetector` wants it: 8 kHz samples, no gap between pieces."""

    def __init__(self, audio_format: FormatName) -> None:
        self._format = audio_format
        self._downsampler = Downsampler() if audio_format == "audio/pcm" else None

    def samples(self, audio: bytes) -> Samples:
        pcm16 = _pcm16(audio, self._format)
        return _floats(self._downsampler.process(pcm16) if self._downsampler else pcm16)


def _pcm16(audio: bytes, audio_format: FormatName) -> bytes:
    match audio_format:
        case "audio/pcm":
            return audio
        case "audio/pcmu":
            return g711.mulaw_to_pcm16(audio)
        case "audio/pcma":
            return g711.alaw_to_pcm16(audio)


def _floats(pcm16: bytes) -> Samples:
    return np.frombuffer(pcm16, "<i2").astype(np.float32) / np.float32(32768)


def _resampled(samples: Samples, rate: int, wanted_rate: int) -> Samples:
    """Change the rate of a whole piece of audio that begins and ends in silence.

    Its spectrum is cut or padded: exact below the lower rate's Nyquist frequency, for any pair of rates. The price is
    that the piece's ends meet, which silence does not mind.
    """
    if rate == wanted_rate or not samples.size:
        return samples
    size = round(samples.size * wanted_rate / rate)
    spectrum = np.fft.rfft(samples)[: size // 2 + 1]
    resampled: Samples = (np.fft.irfft(spectrum, size) * (size / samples.size)).astype(np.float32)
    return resampled
