from __future__ import annotations

import numpy as np
import pytest
from support.speech import Samples, librivox

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.silero import SileroVad

# What onnxruntime makes of the first windows of clip 0880 with `silero_vad.onnx` of the silero-vad 6.2.3 wheel,
# sr=8000: silence, the first word, a pause between words.
# fmt: off
_ORIGINAL = [
    0.0269, 0.0207, 0.0120, 0.0094, 0.0071, 0.0071, 0.0043, 0.0159, 0.5037, 0.9188, 0.9844, 0.9911, 0.9956, 0.9985,
    0.9992, 0.9998, 0.9990, 0.9983, 0.9993, 0.9996, 0.9993, 0.9997, 0.9988, 0.9984, 0.9982, 0.9983, 0.9978, 0.9969,
    0.9990, 0.9988, 0.9920, 0.9761, 0.8722, 0.4266, 0.1453, 0.3844, 0.8828, 0.9135, 0.9693, 0.9953, 0.9968, 0.9981,
]
# fmt: on


def _windows(samples: Samples, count: int) -> list[Samples]:
    return list(samples[: count * 256].reshape(count, 256))


def _clip() -> list[Samples]:
    return _windows(next(clip for clip in librivox() if clip.name == "0880").samples, len(_ORIGINAL))


def test_it_agrees_with_the_original_network():
    vad = SileroVad()
    assert [vad.probability(window) for window in _clip()] == pytest.approx(_ORIGINAL, abs=2e-3)


def test_after_a_reset_it_hears_as_if_for_the_first_time():
    vad = SileroVad()
    first = [vad.probability(window) for window in _clip()]
    vad.reset()
    assert [vad.probability(window) for window in _clip()] == first


def test_conversations_do_not_disturb_each_other():
    alone = SileroVad()
    expected = [alone.probability(window) for window in _clip()]
    mine, other = SileroVad(), SileroVad()
    noise = np.random.default_rng(1).normal(0.0, 0.3, 256).astype(np.float32)
    heard = []
    for window in _clip():
        other.probability(noise)
        heard.append(mine.probability(window))
    assert heard == expected


def test_full_scale_noise_and_silence_are_bounded_and_not_speech():
    vad = SileroVad()
    square = np.where(np.arange(256) % 2, 1.0, -1.0).astype(np.float32)
    for window in [square] * 20 + [np.zeros(256, np.float32)] * 20:
        assert 0.0 <= vad.probability(window) < 0.5


@pytest.mark.parametrize("shape", [(0,), (160,), (512,), (1, 256)])
def test_a_window_of_another_size_is_refused(shape):
    with pytest.raises(MisuseError, match="256"):
        SileroVad().probability(np.zeros(shape, np.float32))
