"""Scripted parts for tests of the offline model's server: what is heard, thought and said is given by the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator

import numpy as np

from realtime_bridge.localmodel.parts import Deed, Samples, Turn

WORD_MS = 250  # how long ToneVoice takes for a word


class LoudnessVad:
    """Loud is speech."""

    window_samples = 256

    def probability(self, window: Samples) -> float:
        return 1.0 if float(np.abs(window).max()) > 0.1 else 0.0

    def reset(self) -> None:
        pass


class ScriptedRecognizer:
    """Hears the given texts, one after the other; after the last, nothing. An exception among them is raised."""

    def __init__(self, *texts: str | Exception) -> None:
        self._texts = list(texts)
        self.heard: list[Samples] = []

    def transcribe(self, speech: Samples) -> str:
        self.heard.append(speech)
        text = self._texts.pop(0) if self._texts else ""
        if isinstance(text, Exception):
            raise text
        return text


class ToneVoice:
    """Says every word as 250 ms of a tone; a sentence ends at a full stop."""

    sample_rate = 24_000

    def speak(self, text: str) -> Iterator[tuple[str, Samples]]:
        for sentence in text.replace(". ", ".\n").split("\n"):
            if "mute" in sentence:
                raise RuntimeError("the voice has no words")
            size = len(sentence.split()) * WORD_MS * self.sample_rate // 1000
            tone = 0.5 * np.sin(2 * np.pi * 440 / self.sample_rate * np.arange(size))
            yield sentence, tone.astype(np.float32)


class ScriptedBrain:
    """Does the given deeds, one list a response; after the last, nothing. An exception among the deeds is raised."""

    def __init__(self, *responses: Iterable[Deed | Exception]) -> None:
        self._responses = [list(deeds) for deeds in responses]
        self.turns: list[Turn] = []

    async def respond(self, turn: Turn) -> AsyncIterator[Deed]:
        self.turns.append(turn)
        for deed in self._responses.pop(0) if self._responses else []:
            if isinstance(deed, Exception):
                raise deed
            yield deed


def tone(ms: int, *, rate: int = 24_000) -> bytes:
    """What LoudnessVad takes for speech, as PCM16."""
    return (16_000 * np.sin(2 * np.pi * 300 / rate * np.arange(ms * rate // 1000))).astype("<i2").tobytes()


def silence(ms: int, *, rate: int = 24_000) -> bytes:
    return bytes(2 * ms * rate // 1000)
