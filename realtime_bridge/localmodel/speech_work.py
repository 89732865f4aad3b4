"""Recognising and speaking, away from the event loop: both keep a processor busy for tens of milliseconds and more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from realtime_bridge.localmodel.formats import DetectorFeed, FormatName, for_recognizer, from_voice
from realtime_bridge.localmodel.parts import Recognizer, Synthesizer, Vad
from realtime_bridge.localmodel.turns import SpeechStarted, TurnDetector, TurnSettings
from realtime_bridge.localmodel.work import Recognise

SECONDS_MAX = 60.0  # for one utterance or one sentence, waiting for a thread included

_Value = TypeVar("_Value")


class SpeechWork:
    """What a server's sessions share: one recogniser, one voice, and a few threads to run them in."""

    def __init__(
        self, recognizer: Recognizer, voice: Synthesizer, vad_factory: Callable[[], Vad], *, threads: int = 2
    ) -> None:
        self._recognizer = recognizer
        self._voice = voice
        self._vad_factory = vad_factory
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="speech")

    async def recognise(self, job: Recognise) -> str:
        """The words, "" where nobody speaks. Raises what the recogniser raises, and TimeoutError."""
        return await self._in_thread(lambda: recognised(job, self._recognizer, self._vad_factory))

    async def speak(self, text: str, audio_format: FormatName) -> AsyncIterator[tuple[str, bytes]]:
        """Sentence by sentence, with its audio. Raises what the voice raises, and TimeoutError."""
        sentences = spoken(text, self._voice, audio_format)
        while (sentence := await self._in_thread(lambda: next(sentences, None))) is not None:
            yield sentence

    def close(self) -> None:
        """Let go of the threads; what they are doing is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_thread(self, work: Callable[[], _Value]) -> _Value:
        async with asyncio.timeout(SECONDS_MAX):
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def recognised(job: Recognise, recognizer: Recognizer, vad_factory: Callable[[], Vad]) -> str:
    """Do the job, here and now."""
    if not (job.is_speech or _holds_speech(job, vad_factory())):
        return ""
    return recognizer.transcribe(for_recognizer(job.audio, job.format))


def spoken(text: str, voice: Synthesizer, audio_format: FormatName) -> Iterator[tuple[str, bytes]]:
    """Sentence by sentence, as a `Synthesizer` makes them, with its audio in the API's format."""
    for sentence, samples in voice.speak(text):
        yield sentence, from_voice(samples, voice.sample_rate, audio_format)


def _holds_speech(job: Recognise, vad: Vad) -> bool:
    detector = TurnDetector(vad, TurnSettings())
    return any(isinstance(event, SpeechStarted) for event in detector.feed(DetectorFeed(job.format).samples(job.audio)))
