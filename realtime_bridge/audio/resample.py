"""Resampling between the phone's 8 kHz and the model's 24 kHz, one chunk at a time, as fast as numpy allows.

Why our own: a stream must come out with its chunks, sample for sample, and without seams. soxr's streaming mode holds
back 73 ms and more and gives it in bursts; `audioop.ratecv` folds the upper half of a voice into the lower; a resampler
without memory ticks at every edge.

How. One symmetric low-pass filter of 73 taps at 24 kHz, a windowed sinc, delays by 36 of them: 1.5 ms. Upwards it is
split into three filters of 25 taps, one for each output between two inputs; downwards only every third output is made.
A stream keeps its last samples and computes many positions of the filter as one row of a matrix product: the row is a
stretch of the input, the matrix holds the filter once for each position, one step further down each time.

Bit for bit. The filter's coefficients are whole multiples of 2**-20, so every product with a 16-bit sample is a whole
multiple of 2**-20 below 2**16, and every sum of 73 of them fits the 53 bits of a float64 with room to spare. Nothing is
rounded before the end, so the order of summation (chunk lengths, BLAS, processor) cannot change the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from realtime_bridge.audio.pcm16 import BYTES_PER_SAMPLE, require_whole_samples

PHONE_RATE = 8_000
MODEL_RATE = 24_000
RATIO = MODEL_RATE // PHONE_RATE

TAPS = 73
KAISER_BETA = 6.0  # side lobes 65 dB down

# Where the filters lose 6 dB. Upwards, what is left above 4 kHz is an image of the voice, and heard: lower. Downwards it
# folds to just below 4 kHz, where phones play little: higher, for 1 dB more at 3400 Hz.
UP_CUTOFF_HZ = 3600
DOWN_CUTOFF_HZ = 3700

# Filter positions in one row of the product: with fewer, more input is copied; with more, more zeros are multiplied.
POSITIONS_PER_ROW = 16

PIECE_MS = 200  # longer chunks go piece by piece, which bounds a stream's memory

COEFFICIENT_UNIT = 2.0**-20

_PCM16 = np.dtype("<i2")
# 0-d arrays: a Python float would be converted at each call.
_PCM16_MIN = np.array(-32768.0)
_PCM16_MAX = np.array(32767.0)

Matrix = NDArray[np.float64]


def _low_pass(cutoff_hz: int) -> Matrix:
    """The filter's taps at 24 kHz, to no scale yet."""
    n = np.arange(TAPS) - TAPS // 2
    taps: Matrix = np.sinc(2 * cutoff_hz / MODEL_RATE * n) * np.kaiser(TAPS, KAISER_BETA)
    return taps


def _quantized(taps: Matrix) -> Matrix:
    """`taps` in whole multiples of `COEFFICIENT_UNIT` that sum to exactly 1, so that a constant stays what it is."""
    units = np.rint(taps / (taps.sum() * COEFFICIENT_UNIT))
    units[units.argmax()] += 1 / COEFFICIENT_UNIT - units.sum()
    quantized: Matrix = units * COEFFICIENT_UNIT
    return quantized


def _up_filters() -> Matrix:
    """Column p makes output 3n + p out of the 25 inputs up to n, oldest first."""
    taps = np.zeros(RATIO * -(-TAPS // RATIO))
    taps[:TAPS] = _low_pass(UP_CUTOFF_HZ)
    return np.column_stack([_quantized(taps[phase::RATIO])[::-1] for phase in range(RATIO)])


def _down_filter() -> Matrix:
    """One column: output n out of the 73 inputs up to 3n, oldest first."""
    return _quantized(_low_pass(DOWN_CUTOFF_HZ))[::-1, np.newaxis]


@dataclass(frozen=True, slots=True, eq=False)
class _Fir:
    """A filter laid out for one matrix product over rows of input: one for all streams."""

    step: int  # from one position to the next, in input samples
    window: int  # input samples seen at a position
    outputs: int  # output samples made at a position
    matrix: Matrix  # `POSITIONS_PER_ROW` positions of the filter, side by side
    piece_samples: int

    @classmethod
    def of(cls, filters: Matrix, *, step: int, rate: int) -> _Fir:
        """`filters`: one column for each output at a position, oldest tap first. `rate`: of the input."""
        window, outputs = filters.shape
        matrix = np.zeros((window + step * (POSITIONS_PER_ROW - 1), outputs * POSITIONS_PER_ROW))
        for position in range(POSITIONS_PER_ROW):
            top, left = step * position, outputs * position
            matrix[top : top + window, left : left + outputs] = filters
        return cls(step, window, outputs, matrix, PIECE_MS * rate // 1000)


_UP = _Fir.of(_up_filters(), step=1, rate=PHONE_RATE)
_DOWN = _Fir.of(_down_filter(), step=RATIO, rate=MODEL_RATE)


class _Stream:
    """One stream on its way through a filter."""

    def __init__(self, fir: _Fir) -> None:
        self._fir = fir
        rows_max = -(-fir.piece_samples // (fir.step * POSITIONS_PER_ROW))
        row_samples, row_advance = len(fir.matrix), fir.step * POSITIONS_PER_ROW
        # What is still needed of the past, then the new piece, then old samples that only ever fill up the last row.
        self._samples = np.zeros(row_samples + row_advance * rows_max)
        self._rows = sliding_window_view(self._samples, row_samples)[::row_advance]
        self.reset()

    def __reduce__(self) -> tuple[Any, ...]:
        """For copies: they need rows of their own, and share the filter."""
        return _restored, (type(self), self._samples[: self._held].copy(), self._begun)

    def process(self, pcm16: bytes) -> bytes:
        """Resample the next chunk, of any length, as PCM16. Raises `ProtocolError` if a sample is cut in half."""
        if not pcm16:
            return b""
        require_whole_samples(pcm16)
        samples = np.frombuffer(pcm16, _PCM16)
        piece = self._fir.piece_samples
        if len(samples) <= piece:
            return self._filtered(samples)
        return b"".join(self._filtered(samples[at : at + piece]) for at in range(0, len(samples), piece))

    def flush(self) -> bytes:
        """The 3 ms in which the filter fades out after the last sample; the next one starts in silence.

        Empty if nothing was processed since the start, the last flush or the last reset.
        """
        tail = self._filtered(np.zeros(self._fir.window - 1)) if self._begun else b""
        self.reset()
        return tail

    def reset(self) -> None:
        """Forget the stream: the next chunk is the first of a new one."""
        self._held = self._fir.window - 1
        self._samples[: self._held] = 0.0
        self._begun = False

    def _filtered(self, new: NDArray[Any]) -> bytes:
        fir, samples = self._fir, self._samples
        end = self._held + len(new)
        samples[self._held : end] = new
        positions = (end - fir.window) // fir.step + 1
        out: Matrix = self._rows[: -(-positions // POSITIONS_PER_ROW)].copy().dot(fir.matrix)
        np.rint(out, out=out)  # half to even
        np.maximum(out, _PCM16_MIN, out=out)
        np.minimum(out, _PCM16_MAX, out=out)
        used = positions * fir.step
        self._held = end - used
        samples[: self._held] = samples[used:end]
        self._begun = True
        return out.astype(_PCM16).tobytes()[: positions * fir.outputs * BYTES_PER_SAMPLE]


class Upsampler(_Stream):
    """8 kHz to 24 kHz: three samples out for each one in, 1.5 ms late. One per stream."""

    def __init__(self) -> None:
        super().__init__(_UP)


class Downsampler(_Stream):
    """24 kHz to 8 kHz: one sample out for every three in, counted over the whole stream, 1.5 ms late. One per stream.

    The first sample of a stream gives the first one out, the fourth the second, and so on.
    """

    def __init__(self) -> None:
        super().__init__(_DOWN)


def _restored(kind: type[Upsampler | Downsampler], held: Matrix, begun: bool) -> _Stream:
    stream = kind()
    stream._samples[: len(held)] = held  # noqa: SLF001 - made here
    stream._held, stream._begun = len(held), begun  # noqa: SLF001 - as above
    return stream
