from __future__ import annotations

import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from support.speech import Samples, librivox, to_mulaw, tones

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.formats import for_recognizer
from realtime_bridge.localmodel.moonshine import MoonshineRecognizer


def heard(telephone: Samples) -> Samples:
    return for_recognizer(to_mulaw(telephone), "audio/pcmu")


@pytest.fixture(scope="module")
def clips():
    return {clip.name: heard(clip.samples) for clip in librivox()}


def test_speech_becomes_text(recognizer, clips):
    assert recognizer.transcribe(clips["0930"]) == "He might even have been made amiable himself."


def test_several_threads_hear_the_same_as_one(recognizer, clips):
    alone = [recognizer.transcribe(clip) for clip in clips.values()]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(recognizer.transcribe, clips.values())) == alone


def test_speech_beyond_half_a_minute_is_heard_to_its_end(recognizer, clips):
    story = np.concatenate([clips[name] for name in ("0870", "0920", "0890", "0920", "0870", "0930")])
    assert story.size > 33 * 16_000
    text = recognizer.transcribe(story)
    assert text.startswith("And Mr. John Dashwood")
    assert text.endswith("amiable himself.")
    assert text.count("leisure to consider") == 2


@pytest.mark.parametrize("samples", [0, 1, 100, 1600])
def test_next_to_nothing_is_no_error(recognizer, samples):
    assert len(recognizer.transcribe(np.full(samples, 0.1, np.float32))) < 20


def test_a_stuck_record_does_not_send_it_round_in_circles(recognizer):
    syllable = next(clip for clip in librivox() if clip.name == "0880").samples[9000:12_000]
    text = recognizer.transcribe(heard(np.tile(syllable, 50)))
    assert 0 < len(text.split()) < 12


def test_a_tone_has_no_words(recognizer):
    assert recognizer.transcribe(heard(tones(440, 480, seconds=20, on_ms=500, off_ms=500))) == ""


def test_the_wheel_with_the_weights_is_never_imported(recognizer):
    assert "moonshine_voice" not in sys.modules


def test_without_the_optional_packages_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MisuseError, match=r"realtime-bridge\[local\]"):
        MoonshineRecognizer()
    monkeypatch.setitem(sys.modules, "moonshine_voice", None)
    with pytest.raises(MisuseError, match=r"realtime-bridge\[local\]"):
        MoonshineRecognizer()


def test_a_wheel_without_weights_is_named(monkeypatch, tmp_path):
    spec = SimpleNamespace(origin=str(tmp_path / "moonshine_voice" / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    with pytest.raises(MisuseError, match="no tiny-en weights"):
        MoonshineRecognizer()
