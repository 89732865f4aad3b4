"""Text-level speech: hums that are understood from their sound."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.speech import librivox

from realtime_bridge.audio import Upsampler
from realtime_bridge.audio.g711 import mulaw_to_pcm16
from realtime_bridge.localmodel.formats import for_recognizer, from_voice
from realtime_bridge.localmodel.turns import SpeechStarted, SpeechStopped, TurnDetector, TurnSettings
from telephony.testing.hum import HumRecognizer, HumVad, HumVoice, hum, silence

SENTENCE = "Where is my order, A1042? It's 10:30!"


def understood(mulaw, audio_format="audio/pcmu"):
    return HumRecognizer().transcribe(for_recognizer(mulaw, audio_format))


@settings(max_examples=20, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_categories=["Z", "C"]) | st.just(" "), max_size=30))
def test_what_is_hummed_is_understood_over_the_phone(text):
    assert understood(silence(300) + hum(text) + silence(500)) == text.strip()


def test_a_hum_lasts_about_as_long_as_its_words_take_to_say():
    assert len(hum(SENTENCE)) / 8000 == pytest.approx(len(SENTENCE) / 15.4, rel=0.01)
    assert hum("") == b""


def test_a_hum_survives_the_way_to_a_model_at_24_khz():
    upsampled = Upsampler().process(mulaw_to_pcm16(silence(300) + hum(SENTENCE) + silence(500)))
    assert understood(upsampled, "audio/pcm") == SENTENCE


def test_two_hums_in_one_turn_are_understood_both():
    assert understood(silence(100) + hum("Hello.") + silence(150) + hum("It is me.") + silence(100)) == (
        "Hello. It is me."
    )


def test_a_hum_whose_beginning_was_lost_is_understood_from_there_on():
    assert understood(hum("Where is it?")[900:] + silence(300)) in ("ere is it?", "here is it?")


@pytest.mark.parametrize("audio_format", ["audio/pcm", "audio/pcmu", "audio/pcma"])
def test_the_voice_of_an_agent_can_be_understood_as_well(audio_format):
    said = list(HumVoice().speak("Good morning. How can I help you?"))
    assert [sentence for sentence, _ in said] == ["Good morning.", "How can I help you?"]
    heard = [understood(from_voice(audio, HumVoice.sample_rate, audio_format), audio_format) for _, audio in said]
    assert heard == ["Good morning.", "How can I help you?"]


def test_recorded_speech_and_noise_are_not_understood():
    speech = librivox()[0].samples
    noise = np.random.default_rng(1).normal(0, 0.2, 16_000).astype(np.float32)
    assert HumRecognizer().transcribe(np.repeat(speech, 2)) == ""
    assert HumRecognizer().transcribe(noise) == ""
    assert HumRecognizer().transcribe(np.zeros(16_000, np.float32)) == ""


def test_the_turn_detection_finds_a_hum_whole():
    detector = TurnDetector(HumVad(), TurnSettings())
    line = silence(1000) + hum(SENTENCE) + silence(1000)
    events = detector.feed(np.frombuffer(mulaw_to_pcm16(line), "<i2").astype(np.float32) / 32768)
    (start, stop) = events
    assert isinstance(start, SpeechStarted)
    assert isinstance(stop, SpeechStopped)
    assert understood(line[start.audio_start_ms * 8 : stop.audio_end_ms * 8]) == SENTENCE
