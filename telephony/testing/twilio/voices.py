"""How the simulated Twilio and its people speak, and what they understand: real words, with the [local] extra."""

from __future__ import annotations

import importlib.util
import threading
from functools import cache

from realtime_bridge.localmodel.formats import for_recognizer, from_voice
from realtime_bridge.localmodel.hibari_voice import HibariVoice
from realtime_bridge.localmodel.moonshine import MoonshineRecognizer
from realtime_bridge.localmodel.parts import Recognizer, Synthesizer
from telephony.testing.twilio.sound import Voice, murmur


@cache
def voice() -> Voice:
    """Real speech where the [local] extra is installed, else `murmur`. Speaks slowly at first: the voice is loaded then."""
    return RealVoice() if importlib.util.find_spec("hibari") is not None else murmur


class RealVoice:
    """A `Voice` by a synthesizer: the offline model's, loaded when first needed. Safe to call from any thread."""

    def __init__(self, engine: Synthesizer | None = None) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, bytes] = {}
        self._engine = engine

    def __call__(self, text: str) -> bytes:
        if text not in self._known:  # what is known waits for nobody
            with self._lock:
                if text not in self._known:
                    self._known[text] = self._say(text)
        return self._known[text]

    def _say(self, text: str) -> bytes:
        if self._engine is None:
            self._engine = HibariVoice()  # loads in a second
        rate = self._engine.sample_rate
        parts = [from_voice(audio, rate, "audio/pcmu") for _, audio in self._engine.speak(text)]
        return b"".join(parts) or murmur(text)


def words_of(mulaw: bytes, recognizer: Recognizer | None = None) -> str:
    """What somebody who hears this (8 kHz mu-law, speech only) understands. Raises MisuseError without the [local] extra.

    Safe to call from any thread; half a second for a long sentence.
    """
    return (recognizer or _recognizer()).transcribe(for_recognizer(mulaw, "audio/pcmu"))


@cache
def _recognizer() -> MoonshineRecognizer:
    return MoonshineRecognizer()
