"""What is in a WAV file of telephone sound: mono or stereo, 8 or 16 kHz, 16-bit PCM, mu-law or A-law.

Why our own: the standard library's `wave` knows PCM alone, and telephone systems write G.711. A library that reads
everything brings a decoder for everything, to be fed with files from strangers; what telephones write takes a page.

Sources: "Multimedia Programming Interface and Data Specifications 1.0" (RIFF, WAVE, `fmt ` and `data` chunks), Microsoft
1991; `WAVEFORMATEXTENSIBLE` and the format tags 1, 6 and 7 in mmreg.h. Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from realtime_bridge.audio.g711 import alaw_to_pcm16, mulaw_to_pcm16, pcm16_to_mulaw
from realtime_bridge.errors import ProtocolError
from realtime_bridge.localmodel.formats import from_voice

RATES: Final = (8_000, 16_000)
SECONDS_MAX: Final = 3600
BYTES_MAX: Final = SECONDS_MAX * RATES[-1] * 2 * 2 + 65_536  # an hour of the largest kind, and what stands around it
CHUNKS_MAX: Final = 1000
_PCM, _ALAW, _MULAW, _EXTENSIBLE = 1, 6, 7, 0xFFFE
_BITS: Final = {_PCM: 16, _ALAW: 8, _MULAW: 8}
_NAMES: Final = {2: "ADPCM", 3: "floating-point", 17: "IMA ADPCM", 49: "GSM 6.10", 85: "MP3"}
_GUID_TAIL: Final = bytes.fromhex("000000001000800000aa00389b71")  # of a sub-format that is an old tag
_NOT_SAID: Final = (0, 0xFFFFFFFF)  # lengths of files that were written to a pipe
_HELP: Final = "convert it first, as with: sox IN.wav -r 8000 -e mu-law OUT.wav"


class WavError(ProtocolError):
    """A WAV file that cannot be used; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class WavSound:
    """`channels`: mu-law at 8 kHz each, of one length: one of a mono file, left and right of a stereo one."""

    channels: tuple[bytes, ...]

    @property
    def seconds(self) -> float:
        return len(self.channels[0]) / 8000


@dataclass(frozen=True, slots=True)
class _Format:
    tag: int
    channels: int
    rate: int
    bits: int

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.bits // 8


def decode_wav(data: bytes) -> WavSound:
    """Raises WavError for what is no WAV file, one of another kind, one that is damaged, too short or too long."""
    if len(data) > BYTES_MAX:
        raise WavError(f"too large: {SECONDS_MAX // 60} minutes of stereo at most")
    form: _Format | None = None
    for name, size, at in _chunks(data):
        if name == b"fmt ":
            form = _format(data[at : at + size])
        elif name == b"data":
            if form is None:
                raise WavError("damaged: the sound comes before what says of which kind it is ('fmt ')")
            return _sound(data, at, size, form)
    raise WavError("damaged: there is no sound in it (no 'data')" if form else "damaged: there is no 'fmt ' in it")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, what it says of its size, where its content begins)."""
    if data[:4] in (b"RIFX", b"RF64", b"FORM"):
        raise WavError(f"a {data[:4].decode()} file, not a usual WAV file; {_HELP}")
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise WavError("not a WAV file")
    at = 12
    for _ in range(CHUNKS_MAX):
        if at + 8 > len(data):
            return
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        yield name, size, at + 8
        at += 8 + size + size % 2
    raise WavError(f"damaged: more than {CHUNKS_MAX} parts")


def _format(raw: bytes) -> _Format:
    if len(raw) < 16:
        raise WavError(f"damaged: its 'fmt ' has {len(raw)} bytes, 16 at least are needed")
    tag, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", raw)
    if tag == _EXTENSIBLE:
        if len(raw) < 40 or raw[26:40] != _GUID_TAIL:
            raise WavError(f"sound of a kind that is not known here; {_HELP}")
        tag = int.from_bytes(raw[24:26], "little")
    if tag not in _BITS:
        raise WavError(f"{_NAMES.get(tag, f'format {tag}')}: 16-bit PCM, mu-law or A-law is needed; {_HELP}")
    if bits != _BITS[tag]:
        raise WavError(f"{bits}-bit samples: {_BITS[tag]}-bit ones are needed; {_HELP}")
    if channels not in (1, 2):
        raise WavError(f"{channels} channels: one (the caller), or two (caller left, agent right) are needed; {_HELP}")
    if rate not in RATES:
        raise WavError(f"{rate} Hz: 8000 or 16000 Hz are needed; {_HELP}")
    form = _Format(tag, channels, rate, bits)
    if align != form.frame_bytes:
        raise WavError(f"damaged: {align} bytes to a frame of {channels} channels of {bits} bits")
    return form


def _sound(data: bytes, at: int, size: int, form: _Format) -> WavSound:
    there = len(data) - at
    if size in _NOT_SAID and there:
        size = there
    per_second = form.frame_bytes * form.rate
    if size > there:
        raise WavError(f"cut off: {there / per_second:.1f} s of the {size / per_second:.1f} s that it says it holds")
    size -= size % form.frame_bytes
    if size == 0:
        raise WavError("empty: there is no sound in it")
    if size > SECONDS_MAX * per_second:
        raise WavError(f"too long: {size / per_second / 60:.0f} minutes; {SECONDS_MAX // 60} at most")
    width = form.bits // 8
    frames = np.frombuffer(data, f"V{width}", size // width, at).reshape(-1, form.channels)
    return WavSound(tuple(_mulaw(frames[:, i].tobytes(), form) for i in range(form.channels)))


def _mulaw(samples: bytes, form: _Format) -> bytes:
    if form.tag == _MULAW and form.rate == RATES[0]:
        return samples
    decode: dict[int, Callable[[bytes], bytes]] = {_MULAW: mulaw_to_pcm16, _ALAW: alaw_to_pcm16}
    pcm16 = decode[form.tag](samples) if form.tag in decode else samples
    if form.rate == RATES[0]:
        return pcm16_to_mulaw(pcm16)
    return from_voice(np.frombuffer(pcm16, "<i2").astype(np.float32) / np.float32(32768), form.rate, "audio/pcmu")
