"""What the agent of one call was told to say, word for word, and what became of it."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Protocol

from realtime_bridge.realtime import RealtimeSession
from realtime_bridge.session import events
from telephony.steering.utterance import Outcome, Utterance, say_exactly

AT_ONCE_MAX = 16
TRIES = 3  # to say what matters to a caller who talks into it


class Steering(Protocol):
    """What words ask of the call's steering."""

    @property
    def on_hold(self) -> bool: ...

    async def all_heard(self) -> bool: ...

    def rearm(self) -> None: ...


class SpeechDesk:
    def __init__(self, steering: Steering) -> None:
        self._steering = steering
        self._loop = asyncio.get_running_loop()
        self._session: RealtimeSession | None = None
        self._waiting: dict[str, tuple[Utterance, asyncio.Future[Outcome]]] = {}
        self._count = 0

    @property
    def waits(self) -> bool:
        """Something is being said, or is to be."""
        return bool(self._waiting)

    def begin(self, session: RealtimeSession) -> None:
        """This session can be asked to speak now."""
        self._session = session

    def end(self) -> None:
        """Nothing will be said any more."""
        self._session = None
        for _, done in self._waiting.values():
            _settle(done, "cut")

    async def say(self, text: str, *, interrupt: bool = False, hear: bool = False) -> Outcome:
        """Have the agent say this; done when it has been made, or (`hear`) when the caller has heard it."""
        session = self._session
        if session is None or len(self._waiting) >= AT_ONCE_MAX:
            return "failed"
        self._count += 1
        token = f"say_{self._count}"
        utterance = Utterance(token, self._loop.time())
        done: asyncio.Future[Outcome] = self._loop.create_future()
        self._waiting[token] = utterance, done
        try:
            if interrupt:
                await session.interrupt()
            await session.create_response(say_exactly(text, token))
            self._steering.rearm()
            outcome = await done
            if outcome == "said" and hear and (self._steering.on_hold or not await self._steering.all_heard()):
                return "failed"  # on hold it is heard later, if at all
            return "cut" if utterance.cut else outcome
        finally:
            self._waiting.pop(token, None)
            self._steering.rearm()

    async def say_surely(self, text: str, *, tries: int = TRIES) -> None:
        """Once more, where the caller talks into it."""
        for _ in range(tries):
            if await self.say(text, hear=True) != "cut" or self._session is None:
                return

    def happened(self, event: events.SessionEvent, now: float) -> None:
        """Any event of the session."""
        for utterance, _ in self._waiting.values():
            utterance.handle(event, now)

    def due(self, now: float) -> None:
        for utterance, done in self._waiting.values():
            utterance.due(now)
            if utterance.outcome is not None:
                _settle(done, utterance.outcome)

    def next_deadline(self) -> float:
        return min((utterance.next_deadline() for utterance, _ in self._waiting.values()), default=inf)


def _settle(done: asyncio.Future[Outcome], outcome: Outcome) -> None:
    if not done.done():
        done.set_result(outcome)
