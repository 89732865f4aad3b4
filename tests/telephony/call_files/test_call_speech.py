"""How callers of tests speak: in real speech, or in text-level speech where no speech model is installed."""

import pytest

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.formats import for_recognizer
from telephony.call_files import installed_speech
from telephony.call_files.call_speech import RealSpeech, TextSpeech, speech_for
from telephony.expectations.phrases import likeness
from telephony.testing import AfterTurn, Press, Recorded
from telephony.testing.hum import HumRecognizer, hum, silence
from telephony.trials.caller_turns import CallerTurn
from telephony.trials.models import offline_speech
from telephony.trials.recorded_caller import RecordedCaller


def hummed(mulaw):
    return HumRecognizer().transcribe(for_recognizer(mulaw, "audio/pcmu"))


def recorded_caller(*turns):
    begins = AfterTurn(500)
    return RecordedCaller(turns=tuple(CallerTurn(begins=begins, at_ms=1500, **turn) for turn in turns), hangs_up=begins)


def test_real_speech_is_what_is_spoken_where_it_is_installed(monkeypatch):
    assert isinstance(speech_for("auto", "local"), RealSpeech)
    assert isinstance(speech_for("text", "local"), TextSpeech)
    monkeypatch.setattr(installed_speech, "PARTS", ("no_such_package",))
    assert isinstance(speech_for("auto", "local"), TextSpeech)


def test_openais_model_is_not_hummed_to():
    assert speech_for("auto", "openai").kind == "real"
    with pytest.raises(MisuseError, match="only the offline model understands text-level speech"):
        speech_for("text", "openai")


def test_text_becomes_sound_that_is_understood():
    assert hummed(TextSpeech().say("Order A1042.")) == "Order A1042."
    spoken = RealSpeech(None).say("I would like to cancel my order, please.")
    heard = offline_speech().recognizer.transcribe(for_recognizer(spoken, "audio/pcmu"))
    assert likeness(heard, "I would like to cancel my order, please.") > 80


def test_a_recording_is_played_or_hummed_by_its_words():
    recorded = Recorded(b"\1\2\3", "Hello.")
    assert RealSpeech(None).play(recorded) == b"\1\2\3"
    assert hummed(TextSpeech().play(recorded)) == "Hello."
    with pytest.raises(MisuseError, match="say with `text` what is said in it"):
        TextSpeech().play(Recorded(b"\1"))


def test_a_recorded_callers_words_are_hummed_at_the_same_place():
    humming = silence(200) + hum("Yes.") + silence(300)
    caller = TextSpeech().adapt(
        recorded_caller({"mulaw": b"\1" * 4000, "text": "Hello."}, {"key": "1"}, {"mulaw": humming, "text": "Yes!"})
    )
    first, key, last = caller.turns
    assert hummed(first.mulaw) == "Hello."
    assert first.mulaw.startswith(silence(200))  # a turn begins with a little quiet
    assert key.key == "1"
    assert last.mulaw == humming
    assert [type(step) for step in caller.steps()][3] is Press


def test_a_recorded_caller_whose_words_nobody_knows_cannot_be_hummed():
    with pytest.raises(MisuseError, match=r"said at 1\.5 s is not known in words"):
        TextSpeech().adapt(recorded_caller({"mulaw": b"\1" * 4000}))
