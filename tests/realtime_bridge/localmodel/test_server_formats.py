"""Audio formats of the API: nothing is lost on the way in and out but what the format cannot hold."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted_model import tone
from support.speech import plain_words

from realtime_bridge.localmodel.formats import DetectorFeed, bytes_per_ms, for_recognizer, from_voice

FORMATS = ["audio/pcm", "audio/pcmu", "audio/pcma"]
SENTENCE = "Your order arrives on Tuesday morning."


@pytest.mark.parametrize("audio_format", FORMATS)
def test_a_spoken_sentence_is_understood_in_every_format(audio_format, voice, recognizer):
    [(_, samples)] = voice.speak(SENTENCE)

    audio = from_voice(samples, voice.sample_rate, audio_format)

    assert len(audio) / bytes_per_ms(audio_format) == pytest.approx(samples.size / 24, abs=1)
    assert plain_words(recognizer.transcribe(for_recognizer(audio, audio_format))) == plain_words(SENTENCE)


@pytest.mark.parametrize("audio_format", FORMATS)
@pytest.mark.parametrize("sample_rate", [8000, 16_000, 22_050, 24_000])
def test_voices_of_any_rate_keep_their_pitch_and_loudness(audio_format, sample_rate):
    time = np.arange(sample_rate) / sample_rate
    hum = (0.5 * np.sin(2 * np.pi * 1000 * time)).astype(np.float32)

    samples = for_recognizer(from_voice(hum, sample_rate, audio_format), audio_format)

    spectrum = np.abs(np.fft.rfft(samples)) / samples.size * 2
    assert samples.size == 16_000
    assert spectrum.argmax() == 1000
    assert spectrum[1000] == pytest.approx(0.5, rel=0.02)


def test_what_is_too_loud_is_clipped_and_does_not_wrap_around():
    loud = np.full(2400, 1.7, np.float32)

    assert set(np.frombuffer(from_voice(loud, 24_000, "audio/pcm"), "<i2")) == {32767}


@pytest.mark.parametrize("audio_format", FORMATS)
@given(cuts=st.lists(st.integers(0, 300), max_size=8))
def test_a_detector_hears_the_same_however_the_audio_is_cut(audio_format, cuts):
    whole = tone(200, rate=bytes_per_ms(audio_format) * 1000 // (2 if audio_format == "audio/pcm" else 1))
    size = 2 if audio_format == "audio/pcm" else 1
    pieces, at = [], 0
    for cut in cuts:
        pieces.append(whole[at : at + cut * size])
        at += cut * size
    feed = DetectorFeed(audio_format)
    heard = np.concatenate([feed.samples(piece) for piece in [*pieces, whole[at:]]])

    assert np.array_equal(heard, DetectorFeed(audio_format).samples(whole))
