"""The agent's audio, kept back until its words have passed the guardrails; for transports that hand audio to the program.

First in, first out: what waits makes what comes behind it wait. Nothing waits longer than the budget.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

from realtime_bridge.session.conversation import Key

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Kept(Generic[T]):
    key: Key
    response_id: str
    ends_ms: int
    until: float
    chunk: T


class AudioHold(Generic[T]):
    """`T`: whatever stands for a piece of audio. `budget_s` 0 lets everything through at once."""

    def __init__(self, budget_s: float) -> None:
        self._budget_s = budget_s
        self._kept: deque[_Kept[T]] = deque()
        self._released: dict[Key, int | None] = {}

    def push(self, key: Key, response_id: str, ends_ms: int, chunk: T, now: float) -> list[T]:
        """A piece of an item that ends at `ends_ms` of it. Returns what may be heard now."""
        self._kept.append(_Kept(key, response_id, ends_ms, now + self._budget_s, chunk))
        return self.due(now)

    def release(self, key: Key, audio_ms: int | None, now: float) -> list[T]:
        """This item may be heard up to `audio_ms`; None: all of it. Returns what may be heard now."""
        before = self._released.get(key, 0)
        self._released[key] = None if audio_ms is None or before is None else max(before, audio_ms)
        return self.due(now)

    def due(self, now: float) -> list[T]:
        """What may be heard now: released, or kept as long as the budget allows."""
        heard = []
        while self._kept and (now >= self._kept[0].until or self._may_pass(self._kept[0])):
            heard.append(self._kept.popleft().chunk)
        return heard

    def discard(self, response_id: str) -> None:
        """This response is not heard any more."""
        self._kept = deque(kept for kept in self._kept if kept.response_id != response_id)

    def clear(self) -> None:
        self._kept.clear()

    def next_deadline(self) -> float | None:
        return self._kept[0].until if self._kept else None

    def _may_pass(self, kept: _Kept[T]) -> bool:
        released = self._released.get(kept.key, 0)
        return released is None or kept.ends_ms <= released
