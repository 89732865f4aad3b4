"""call.wav: a call's recording on disk, written while the call runs, playable at any moment of it.

A WAV file of two channels, 8 kHz, 16-bit PCM. Samples are written first and the header's lengths after them, so that a
process that dies leaves a file whose header is true. Parts that were never written are holes of the file, which read as
zeros: silence. With a key the whole is sealed (`realtime_bridge.tape.sealed`), and nothing else changes.
"""

from __future__ import annotations

import struct
import wave
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from io import RawIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from realtime_bridge.audio.g711 import mulaw_to_pcm16
from realtime_bridge.errors import MisuseError
from realtime_bridge.tape import BackgroundFile, SealedFile, TapeKey, TapeKeys, open_unsealed, write_whole
from telephony.records.recording import LENGTH_MS_MAX, SAMPLES_PER_MS, CallRecording, Placement

CHANNELS = 2
FRAME_BYTES = 2 * CHANNELS
SAMPLE_RATE = 1000 * SAMPLES_PER_MS
HEADER_BYTES = 44
FLUSH_BYTES = 64 * 1024  # of mu-law: about four seconds of both sides
STEP_SAMPLES = 10 * SAMPLE_RATE  # a placement may be minutes long; this much of it is decoded at a time
WAV_MS_MAX = (2**32 - HEADER_BYTES) // FRAME_BYTES // SAMPLES_PER_MS  # its lengths are 32-bit numbers


class RecordingFile:
    """Records one call into a new WAV file. Never waits for the disk; problems end the recording, not the call.

    Methods as of `CallRecording`. End with `close`.
    """

    def __init__(
        self,
        path: Path,
        disk: Executor,
        *,
        on_problem: Callable[[str], None],
        key: TapeKey | None = None,
        length_ms_max: int = LENGTH_MS_MAX,
    ) -> None:
        """`disk` and `on_problem` as for `BackgroundFile`. Raises MisuseError for a length that no WAV file can have."""
        if length_ms_max > WAV_MS_MAX:
            raise MisuseError(f"length_ms_max is {length_ms_max}; a WAV file holds {WAV_MS_MAX} at most")
        self._recording = CallRecording(length_ms_max=length_ms_max)
        wrap = None if key is None else partial(SealedFile.new, key=key)
        self._file = BackgroundFile(path, disk, on_problem=on_problem, wrap=wrap)
        self._on_problem = on_problem
        self._flush()  # an empty file at once

    @property
    def is_open(self) -> bool:
        """False once the recording is closed or has ended for a problem; audio is ignored then."""
        return self._file.is_open

    def caller_audio(self, timestamp_ms: int, mulaw: bytes) -> None:
        if self._file.is_open:
            self._recording.caller_audio(timestamp_ms, mulaw)
            self._flush_if_due()

    def agent_audio(self, mulaw: bytes) -> None:
        if self._file.is_open:
            self._recording.agent_audio(mulaw)

    def agent_played(self, wire_start: int, wire_end: int, at_ms: float) -> None:
        if self._file.is_open:
            self._recording.agent_played(wire_start, wire_end, at_ms)
            self._flush_if_due()

    def silence_from(self, at_ms: float) -> None:
        self._recording.silence_from(at_ms)

    def sound_from(self, at_ms: float) -> None:
        self._recording.sound_from(at_ms)

    def end(self) -> None:
        """Write no more: nobody is to hear it."""
        self._file.end()

    async def close(self) -> None:
        """Write what is left and close the file; bounded, idempotent."""
        if self._file.is_open:
            self._flush()
            if lost := self._recording.lost_bytes:
                self._on_problem(f"{lost} bytes of audio are not in the recording: it or its backlog grew too long")
        await self._file.close()

    def _flush_if_due(self) -> None:
        if self._recording.pending_bytes >= FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        size_bytes = self._recording.pending_bytes
        job = partial(_write, placements=self._recording.take(), length_samples=self._recording.length_samples)
        self._file.submit(job, size_bytes)


def wav_header(length_samples: int) -> bytes:
    """The 44 bytes before the samples (RIFF WAVE, format 1: PCM)."""
    data_bytes = length_samples * FRAME_BYTES
    fmt = struct.pack("<HHIIHH", 1, CHANNELS, SAMPLE_RATE, SAMPLE_RATE * FRAME_BYTES, FRAME_BYTES, 16)
    riff_bytes = data_bytes + HEADER_BYTES - 8
    return struct.pack("<4sI4s4sI16s4sI", b"RIFF", riff_bytes, b"WAVE", b"fmt ", 16, fmt, b"data", data_bytes)


def read_envelopes(
    path: Path, bucket_ms: int, keys: TapeKeys | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Caller's and agent's loudness for a picture: the peak of each `bucket_ms`, 0 to 1.

    Raises OSError, SealError, and wave.Error for a file that is no such recording.
    """
    bucket_samples = bucket_ms * SAMPLES_PER_MS
    peaks = []
    with open_unsealed(path, keys or TapeKeys()) as file, wave.open(file) as f:
        if (f.getnchannels(), f.getsampwidth(), f.getframerate()) != (CHANNELS, 2, SAMPLE_RATE):
            raise wave.Error(f"{path.name} is not stereo PCM16 at 8 kHz")
        while data := f.readframes(bucket_samples * 1000):
            samples = np.abs(np.frombuffer(data, "<i2").reshape(-1, CHANNELS).astype(np.int32))
            starts = np.arange(0, len(samples), bucket_samples)
            peaks.append(np.maximum.reduceat(samples, starts) / 32768)
    both = np.concatenate([np.zeros((0, CHANNELS)), *peaks])
    return both[:, 0], both[:, 1]


def _write(file: RawIOBase, placements: list[Placement], length_samples: int) -> None:
    for placement in placements:
        for first in range(0, len(placement.mulaw), STEP_SAMPLES):
            step = placement.mulaw[first : first + STEP_SAMPLES]
            _write_channel(file, placement.channel, placement.start + first, step)
    file.seek(0)
    write_whole(file, wav_header(length_samples))
    file.flush()


def _write_channel(file: RawIOBase, channel: int, start: int, mulaw: bytearray) -> None:
    """Put the samples into their channel; the other one keeps what it has."""
    at, size = HEADER_BYTES + start * FRAME_BYTES, len(mulaw) * FRAME_BYTES
    file.seek(at)
    frames = np.frombuffer(file.read(size).ljust(size, b"\0"), "<i2").reshape(-1, CHANNELS).copy()
    frames[:, channel] = np.frombuffer(mulaw_to_pcm16(bytes(mulaw)), "<i2")
    file.seek(at)
    write_whole(file, frames.tobytes())
