"""How a test's caller speaks, and what the offline model hears and speaks with: real speech, or text-level speech.

Real speech needs the packages of the `[local]` extra; text-level speech (`telephony/testing/hum.py`) needs nothing, and is
quicker.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, TypeAlias

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.formats import for_recognizer, from_voice
from realtime_bridge.localmodel.parts import Synthesizer
from telephony.call_files.installed_speech import has_real_speech
from telephony.testing.caller_script import Recorded
from telephony.testing.hum import HumRecognizer, HumVad, HumVoice, hum, silence
from telephony.trials.caller_turns import LEAD_MS, CallerTurn
from telephony.trials.models import Speech, offline_speech
from telephony.trials.recorded_caller import RecordedCaller

SpeechKind: TypeAlias = Literal["real", "text"]


@dataclass(frozen=True, slots=True)
class RealSpeech:
    """`parts`: the offline model's, loaded when they are needed. A `CallerVoice`."""

    parts: Callable[[], Speech] | None
    kind: SpeechKind = "real"

    def say(self, text: str) -> bytes:
        return _spoken(text)

    def play(self, recorded: Recorded) -> bytes:
        return recorded.mulaw

    def adapt(self, caller: RecordedCaller) -> RecordedCaller:
        return caller


@dataclass(frozen=True, slots=True)
class TextSpeech:
    """Hums. A `CallerVoice`."""

    kind: SpeechKind = "text"

    def parts(self) -> Speech:
        return Speech(recognizer=HumRecognizer(), voice=HumVoice(), vad_factory=HumVad)

    def say(self, text: str) -> bytes:
        return hum(text)

    def play(self, recorded: Recorded) -> bytes:
        if not recorded.text:
            raise MisuseError(
                "a recording is not understood in text-level speech: say with `text` what is said in it, "
                "or pip install 'realtime-bridge[local]'"
            )
        return hum(recorded.text)

    def adapt(self, caller: RecordedCaller) -> RecordedCaller:
        """A recorded caller, whose words are hummed. Raises MisuseError where they are not known."""
        turns = tuple(turn if turn.key is not None else _hummed(turn) for turn in caller.turns)
        return replace(caller, turns=turns)


CallSpeech: TypeAlias = RealSpeech | TextSpeech


def _hummed(turn: CallerTurn) -> CallerTurn:
    if HumRecognizer().transcribe(for_recognizer(turn.mulaw, "audio/pcmu")):
        return turn  # was hummed when it was recorded
    if not turn.text:
        raise MisuseError(
            f"what the recorded caller said at {turn.at_ms / 1000:.1f} s is not known in words, and recorded speech is not "
            "understood here: pip install 'realtime-bridge[local]'"
        )
    return replace(turn, mulaw=silence(LEAD_MS) + hum(turn.text))


def speech_for(kind: Literal["auto", "real", "text"], model: str) -> CallSpeech:
    """Raises MisuseError for what cannot be spoken, or not to this model."""
    if model != "local":
        if kind == "text":
            raise MisuseError("only the offline model understands text-level speech: leave `speech` out")
        return RealSpeech(None)
    if kind == "text" or (kind == "auto" and not has_real_speech()):
        return TextSpeech()
    return RealSpeech(offline_speech)


@cache
def _voice() -> Synthesizer:
    if importlib.util.find_spec("hibari") is None:
        raise MisuseError("the caller has no voice for text: pip install 'realtime-bridge[local]', or give recordings")
    from realtime_bridge.localmodel.hibari_voice import HibariVoice  # noqa: PLC0415 - packages of an extra

    return HibariVoice()


@cache
def _spoken(text: str) -> bytes:
    voice = offline_speech().voice if has_real_speech() else _voice()
    mulaw = b"".join(from_voice(samples, voice.sample_rate, "audio/pcmu") for _, samples in voice.speak(text))
    if not mulaw:
        raise MisuseError(f"{text!r} cannot be spoken")
    return mulaw
