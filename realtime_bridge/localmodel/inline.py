"""The offline model without sockets, threads or clock: for simulation, replay and tests in virtual time.

The conversation is the server's own (`ModelSession`). Work is done on the spot and its result delivered after a delay
that the caller chooses, so the same events at the same times give the same answers.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from math import inf
from typing import TypeVar, assert_never

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.formats import FormatName
from realtime_bridge.localmodel.model_session import Limits, ModelSession
from realtime_bridge.localmodel.parts import Brain, Deed, Recognizer, Synthesizer, Vad
from realtime_bridge.localmodel.reply import Pace
from realtime_bridge.localmodel.silero import SileroVad
from realtime_bridge.localmodel.speech_work import recognised, spoken
from realtime_bridge.localmodel.work import (
    Ask,
    Close,
    Command,
    Concluded,
    Decided,
    Faltered,
    Recognise,
    Recognised,
    RecognitionFailed,
    Result,
    Send,
    Speak,
    Spoken,
    SpokenToTheEnd,
    Stop,
)
from realtime_bridge.wire import ClientEvent, ServerEvent

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Delays:
    """How long work takes, in seconds: an utterance to be recognised, a deed to be decided, a sentence to be spoken."""

    recognise: float = 0.05
    decide: float = 0.0
    speak: float = 0.02


@dataclass(frozen=True, slots=True)
class _Deciding:
    """The brain is to decide on its next deed."""

    response_id: str


class InlineModel:
    """One session. Every method takes `now` (seconds, never going back) and returns the server events that come of it,
    in order. Call `tick` at `next_deadline()`. `closed` says how the server closed the session, once it has.

    The brain must not wait for anything (a dialogue script does not); MisuseError otherwise.
    """

    def __init__(
        self,
        *,
        brain: Brain,
        recognizer: Recognizer,
        voice: Synthesizer,
        now: float,
        vad_factory: Callable[[], Vad] = SileroVad,
        model: str = "local",
        delays: Delays | None = None,
        pace: Pace | None = None,
        limits: Limits | None = None,
        new_id: Callable[[str], str] | None = None,
        expires_at: int = 0,
    ) -> None:
        """`new_id` makes an id of a prefix (`item`, `resp`, …); by default they are counted. `expires_at`: when the
        session ends, Unix seconds, as told to the client; 0 where nobody knows the date."""
        self.closed: Close | None = None
        self._brain = brain
        self._recognizer = recognizer
        self._voice = voice
        self._vad_factory = vad_factory
        self._delays = delays or Delays()
        self._numbers = itertools.count(1)
        self._session = ModelSession(
            model=model,
            vad=vad_factory(),
            new_id=new_id or self._counted,
            now=now,
            expires_at=expires_at,
            pace=pace,
            limits=limits,
        )
        self._agenda: list[tuple[float, int, Result | _Deciding]] = []
        self._deeds: dict[str, AsyncIterator[Deed]] = {}
        self._voice_free_at = now

    def open(self, now: float) -> list[ServerEvent]:
        return self._do(self._session.open(now), now)

    def receive(self, frame: ClientEvent | str | bytes, now: float) -> list[ServerEvent]:
        """Take a client's event, or a frame as it came."""
        if isinstance(frame, str | bytes):
            return self._do(self._session.receive(frame, now), now)
        return self._do(self._session.receive_event(frame, now), now)

    def next_deadline(self) -> float:
        if self.closed is not None:
            return inf
        return min(self._session.next_deadline(), self._agenda[0][0] if self._agenda else inf)

    def tick(self, now: float) -> list[ServerEvent]:
        events: list[ServerEvent] = []
        while self._agenda and self._agenda[0][0] <= now:
            due = heapq.heappop(self._agenda)[2]
            result = self._decide(due.response_id, now) if isinstance(due, _Deciding) else due
            if result is not None:
                events += self._do(self._session.take(result, now), now)
        return events + self._do(self._session.tick(now), now)

    def _do(self, commands: list[Command], now: float) -> list[ServerEvent]:
        events: list[ServerEvent] = []
        for command in commands:
            match command:
                case Send(event):
                    events.append(event)
                case Recognise():
                    self._at(now + self._delays.recognise, self._recognise(command))
                case Ask(response_id, turn):
                    self._deeds[response_id] = self._brain.respond(turn)
                    self._at(now + self._delays.decide, _Deciding(response_id))
                case Speak(response_id, text, audio_format):
                    self._speak(response_id, text, audio_format, now)
                case Stop(response_id):
                    self._give_up(response_id)
                case Close():
                    self.closed = command
                case _:
                    assert_never(command)
        return events

    def _recognise(self, job: Recognise) -> Result:
        try:
            return Recognised(job.key, recognised(job, self._recognizer, self._vad_factory))
        except Exception as e:  # noqa: BLE001 - told to the client, as the server does
            return RecognitionFailed(job.key, str(e))

    def _decide(self, response_id: str, now: float) -> Result | None:
        deeds = self._deeds.get(response_id)
        if deeds is None:
            return None
        try:
            deed = _without_waiting(anext(deeds))
        except StopAsyncIteration:
            return Concluded(response_id)
        except MisuseError:
            raise
        except Exception as e:  # noqa: BLE001 - as above
            return Faltered(response_id, str(e))
        self._at(now + self._delays.decide, _Deciding(response_id))
        return Decided(response_id, deed)

    def _speak(self, response_id: str, text: str, audio_format: FormatName, now: float) -> None:
        self._voice_free_at = max(self._voice_free_at, now)
        try:
            for sentence, audio in spoken(text, self._voice, audio_format):
                self._voice_free_at += self._delays.speak
                self._at(self._voice_free_at, Spoken(response_id, sentence, audio))
        except Exception as e:  # noqa: BLE001 - as above
            self._at(self._voice_free_at, Faltered(response_id, str(e)))
        else:
            self._at(self._voice_free_at, SpokenToTheEnd(response_id))

    def _give_up(self, response_id: str) -> None:
        deeds = self._deeds.pop(response_id, None)
        if isinstance(deeds, AsyncGenerator):
            _without_waiting(deeds.aclose())

    def _at(self, time: float, what: Result | _Deciding) -> None:
        heapq.heappush(self._agenda, (time, next(self._numbers), what))

    def _counted(self, prefix: str) -> str:
        return f"{prefix}_{next(self._numbers)}"


def _without_waiting(awaitable: Awaitable[_Value]) -> _Value:
    """Run what never really waits."""
    steps = awaitable.__await__()
    try:
        next(steps)
    except StopIteration as done:
        value: _Value = done.value
        return value
    raise MisuseError("a brain that waits for something needs a server: this one runs in virtual time")
