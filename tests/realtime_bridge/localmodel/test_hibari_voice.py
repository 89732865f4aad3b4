from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.hibari_voice import HibariVoice

TEXT = "Hello, this is the front desk. How can I help you?"


def test_sentences_come_one_by_one_with_their_text(voice):
    spoken = list(voice.speak(TEXT))
    assert [sentence for sentence, _ in spoken] == ["Hello, this is the front desk.", "How can I help you?"]
    for _, audio in spoken:
        assert audio.dtype == np.float32
        assert audio.ndim == 1
        assert 0.5 < audio.size / voice.sample_rate < 4.0


def test_the_same_text_is_the_same_audio(voice):
    first, second = (np.concatenate([audio for _, audio in voice.speak(TEXT)]) for _ in range(2))
    assert np.array_equal(first, second)


def test_threads_do_not_disturb_each_other(voice):
    texts = [f"This is sentence number {number}, zorkulating." for number in range(8)]
    alone = [audio for text in texts for _, audio in voice.speak(text)]
    with ThreadPoolExecutor(4) as pool:
        together = [audio for spoken in pool.map(lambda text: list(voice.speak(text)), texts) for _, audio in spoken]
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


@pytest.mark.parametrize("text", ["", "  \n ", "...", "!?", "😀", "你好。", "\x00", "()[]"])
def test_what_cannot_be_spoken_yields_nothing(voice, text):
    assert list(voice.speak(text)) == []


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=30) | st.text(alphabet="0123456789/:.,-$%aA \u00b2\u2777\u0663\u00bd", max_size=30))
def test_no_text_is_an_error(voice, text):
    for sentence, audio in voice.speak(text):
        assert "".join(sentence.split()) in "".join(text.split())
        assert audio.size


def test_what_cannot_be_spoken_does_not_silence_its_neighbours(voice):
    assert [sentence for sentence, _ in voice.speak("Hello. 你好. Goodbye.")] == ["Hello.", "Goodbye."]


def test_it_is_as_loud_as_a_caller_and_does_not_clip(voice):
    (_, audio), *_ = voice.speak(TEXT)
    level_dbfs = 10 * np.log10(np.mean(audio**2))
    assert -26 < level_dbfs < -17
    assert np.abs(audio).max() < 1.0


def test_speech_begins_within_50_ms_and_pauses_after_the_sentence(voice):
    for _, audio in voice.speak(TEXT):
        loud = np.flatnonzero(np.abs(audio) > 0.02)
        assert loud[0] / voice.sample_rate < 0.1
        assert 0.1 < (audio.size - loud[-1]) / voice.sample_rate < 0.4


def test_an_endless_sentence_comes_in_pieces(voice):
    pieces = list(voice.speak("one two three four five six seven, " * 20))
    assert len(pieces) > 2
    assert all(audio.size / voice.sample_rate < 30 for _, audio in pieces)


def test_without_the_optional_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "hibari", None)
    with pytest.raises(MisuseError, match=r"realtime-bridge\[local\]"):
        HibariVoice()
