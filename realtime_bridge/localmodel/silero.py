"""Voice activity by Silero VAD v6, its 8 kHz branch, in plain numpy.

A telephone server must tell speech from ringback, DTMF and hold music, which energy and GMM detectors cannot. Silero's
own package needs torch for a network this small; as a handful of matrix products it takes some 50 µs a step, without
onnxruntime's call overhead, and its weights (MIT, see weights/LICENSE-silero-vad.txt) are 430 kB of package data.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.parts import Samples

SAMPLE_RATE = 8000
WINDOW_SAMPLES = 256  # new samples a step: 32 ms

_CONTEXT_SAMPLES = 32  # of the window before, put in front of each new one
_REFLECT_SAMPLES = 32  # mirrored at the end, so that the last transform is whole
_STFT_SIZE, _STFT_HOP, _STFT_BINS = 128, 64, 65
_CONV_WIDTH = 3
_CONV_STRIDES = (1, 2, 2, 1)
_HIDDEN = 128

Matrix: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Weights:
    stft: Matrix  # (128, 130): cosine parts, then sine parts
    convolutions: tuple[tuple[Matrix, Matrix, int], ...]  # (3 * channels in, channels out), bias, stride
    lstm: Matrix  # (256, 512): input rows, then hidden rows; columns: input, forget, cell, output gate
    lstm_bias: Matrix
    output: Matrix
    output_bias: float


@cache
def _weights() -> _Weights:
    packed = files("realtime_bridge.localmodel") / "weights" / "silero_vad_v6_8k.npz"
    with np.load(io.BytesIO(packed.read_bytes())) as stored:
        raw = {name: stored[name].astype(np.float32) for name in stored.files}
    convolutions = tuple(
        (
            # (out, in, width) laid out so that three neighbouring frames, flattened, multiply it at once
            np.ascontiguousarray(raw[f"conv{i}_weight"].transpose(2, 1, 0).reshape(-1, raw[f"conv{i}_bias"].size)),
            raw[f"conv{i}_bias"],
            stride,
        )
        for i, stride in enumerate(_CONV_STRIDES)
    )
    return _Weights(
        stft=np.ascontiguousarray(raw["stft_basis"].T),
        convolutions=convolutions,
        lstm=np.ascontiguousarray(np.hstack([raw["lstm_input"], raw["lstm_hidden"]]).T),
        lstm_bias=raw["lstm_bias"],
        output=raw["output_weight"],
        output_bias=float(raw["output_bias"].item()),
    )


def _sigmoid(x: Matrix) -> Matrix:
    y: Matrix = 0.5 * np.tanh(0.5 * x) + 0.5  # the exponential form overflows on a strongly negative x
    return y


class _Frames:
    """Rows of one buffer, seen as overlapping windows. Laid out once: making such a view costs more than using it."""

    __slots__ = ("_packed", "_windows", "rows")

    def __init__(self, rows: int, row_width: int, *, window_rows: int, stride: int) -> None:
        self.rows: Matrix = np.zeros((rows, row_width), np.float32)
        every = sliding_window_view(self.rows.reshape(-1), window_rows * row_width)
        self._windows = every[:: stride * row_width]
        self._packed: Matrix = np.empty(self._windows.shape, np.float32)

    def windows(self) -> Matrix:
        np.copyto(self._packed, self._windows)  # overlapping rows would keep numpy from its fast matrix product
        return self._packed


class SileroVad:
    """A `Vad`. Holds the state of one conversation; the weights are shared by the process."""

    window_samples = WINDOW_SAMPLES

    def __init__(self) -> None:
        self._weights = _weights()
        padded_samples = _CONTEXT_SAMPLES + WINDOW_SAMPLES + _REFLECT_SAMPLES
        self._audio = _Frames(padded_samples, 1, window_rows=_STFT_SIZE, stride=_STFT_HOP)
        self._layers: list[_Frames] = []
        count = (padded_samples - _STFT_SIZE) // _STFT_HOP + 1
        for kernel, _, stride in self._weights.convolutions:
            # A row of zeros stays at either end: the convolution's padding.
            self._layers.append(_Frames(count + 2, len(kernel) // _CONV_WIDTH, window_rows=_CONV_WIDTH, stride=stride))
            count = (count - 1) // stride + 1
        self.reset()

    def reset(self) -> None:
        """Forget all audio heard so far."""
        self._audio.rows[:] = 0.0
        self._input_and_hidden: Matrix = np.zeros(2 * _HIDDEN, np.float32)
        self._cell: Matrix = np.zeros(_HIDDEN, np.float32)

    def probability(self, window: Samples) -> float:
        """Chance (0 to 1) that this window holds speech, given all windows before it.

        `window`: exactly 256 samples at 8 kHz, -1.0 to 1.0; anything else is a `MisuseError`.
        """
        if window.shape != (WINDOW_SAMPLES,):
            raise MisuseError(f"window must hold {WINDOW_SAMPLES} mono samples at 8 kHz, got shape {window.shape}")
        samples = self._audio.rows.reshape(-1)
        end = _CONTEXT_SAMPLES + WINDOW_SAMPLES
        samples[:_CONTEXT_SAMPLES] = samples[WINDOW_SAMPLES:end]
        samples[_CONTEXT_SAMPLES:end] = window
        samples[end:] = samples[end - 2 : end - 2 - _REFLECT_SAMPLES : -1]
        return self._decide(self._features())

    def _features(self) -> Matrix:
        spectrum = self._audio.windows() @ self._weights.stft
        frames: Matrix = np.hypot(spectrum[:, :_STFT_BINS], spectrum[:, _STFT_BINS:])
        for layer, (kernel, bias, _) in zip(self._layers, self._weights.convolutions, strict=True):
            layer.rows[1:-1] = frames
            frames = np.maximum(layer.windows() @ kernel + bias, 0.0)
        features: Matrix = frames[0]
        return features

    def _decide(self, features: Matrix) -> float:
        weights = self._weights
        joined = self._input_and_hidden
        joined[:_HIDDEN] = features
        gates = joined @ weights.lstm + weights.lstm_bias
        open_by = _sigmoid(gates)
        candidate = np.tanh(gates[2 * _HIDDEN : 3 * _HIDDEN])
        self._cell = open_by[_HIDDEN : 2 * _HIDDEN] * self._cell + open_by[:_HIDDEN] * candidate
        hidden = open_by[3 * _HIDDEN :] * np.tanh(self._cell)
        joined[_HIDDEN:] = hidden
        logit = float(np.maximum(hidden, 0.0) @ weights.output) + weights.output_bias
        return float(0.5 * math.tanh(0.5 * logit) + 0.5)
