"""Audio kept back until its words have been checked, so that what trips a guardrail is never heard.

Each piece waits until it is released or its budget is spent, whichever comes first; the order never changes, so a piece
that waits keeps those behind it waiting too.

Pure: the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import inf

from telephony.playout import ItemKey


@dataclass(slots=True)
class Held:
    """A piece of an item's audio, in the model's format; `audio` None: the item's end."""

    key: ItemKey
    audio: bytes | None
    end_ms: int  # place of its end in the item
    due_at: float


class Holdback:
    def __init__(self, budget_ms: int) -> None:
        self._budget_s = budget_ms / 1000
        self._held: deque[Held] = deque()
        self._released: dict[tuple[str, int], float] = {}  # item and part -> released up to here, in ms

    def __bool__(self) -> bool:
        return bool(self._held)

    def hold(self, key: ItemKey, audio: bytes | None, end_ms: int, now: float) -> None:
        """Audio of an item has come, or its end (None)."""
        self._held.append(Held(key, audio, end_ms, now + self._budget_s))

    def release(self, item_id: str, content_index: int, audio_ms: int | None) -> None:
        """This item may be heard up to `audio_ms`; None: all of it, and what still comes."""
        place = (item_id, content_index)
        until = inf if audio_ms is None else float(audio_ms)
        self._released[place] = max(self._released.get(place, 0.0), until)

    def take(self, now: float) -> list[Held]:
        """What may go now, in order."""
        gone = []
        while self._held and (self._is_released(self._held[0]) or self._held[0].due_at <= now):
            piece = self._held.popleft()
            if piece.audio is None:
                self._released.pop((piece.key.item_id, piece.key.content_index), None)
            gone.append(piece)
        return gone

    def drop(self, response_id: str | None = None) -> None:
        """Forget what is held: of one response, or everything."""
        self._held = deque(p for p in self._held if response_id is not None and p.key.response_id != response_id)
        if not self._held:
            self._released.clear()

    @property
    def due_at(self) -> float:
        """When `take` should be called, released or not; infinite when nothing is held."""
        return self._held[0].due_at if self._held else inf

    def _is_released(self, piece: Held) -> bool:
        place = (piece.key.item_id, piece.key.content_index)
        return piece.audio is None or piece.end_ms <= self._released.get(place, 0.0)
