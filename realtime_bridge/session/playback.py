"""What a caller heard where the program plays the audio itself: the transport cannot tell, so it is reckoned.

An item begins when its first audio is handed to the program and the items before it have been played; then it runs in
real time. A program that knows better says so (`RealtimeSession.audio_played`). On a phone line the transport reports
what was heard, and nothing of this is used.
"""

from __future__ import annotations

from dataclasses import dataclass

from realtime_bridge.session.conversation import Key
from realtime_bridge.transport.base import ItemCut


@dataclass(slots=True)
class _Item:
    response_id: str
    starts_at: float
    audio_ms: int = 0
    reported_ms: int | None = None

    def ends_at(self) -> float:
        return self.starts_at + self.audio_ms / 1000

    def heard_ms(self, now: float) -> int:
        if self.reported_ms is not None:
            return min(self.reported_ms, self.audio_ms)
        return max(0, min(self.audio_ms, round((now - self.starts_at) * 1000)))


class ProgramPlayback:
    """Items that are being played or will be, in order."""

    def __init__(self) -> None:
        self._items: dict[Key, _Item] = {}

    def received(self, key: Key, response_id: str, audio_ms: int, now: float) -> bool:
        """More audio was handed over: `audio_ms` of this item so far. True for an item's first."""
        first = key not in self._items
        if first:
            before = max((item.ends_at() for item in self._items.values()), default=now)
            self._items[key] = _Item(response_id, max(now, before))
        self._items[key].audio_ms = max(audio_ms, self._items[key].audio_ms)
        return first

    def reported(self, key: Key, played_ms: int) -> None:
        if (item := self._items.get(key)) is not None:
            item.reported_ms = max(played_ms, 0)

    def finished(self, now: float, *, growing: str | None) -> list[tuple[Key, str, int]]:
        """(item, response, ms) of what has been played to its end; what belongs to response `growing` may still grow."""
        done = [
            (key, item.response_id, item.audio_ms)
            for key, item in self._items.items()
            if item.response_id != growing and item.heard_ms(now) >= item.audio_ms
        ]
        for key, _, _ in done:
            del self._items[key]
        return done

    def interrupt(self, now: float) -> tuple[ItemCut, ...]:
        """Everything stops now: what was cut, in order."""
        cuts = tuple(
            ItemCut(
                response_id=item.response_id,
                item_id=key[0],
                content_index=key[1],
                heard_ms=item.heard_ms(now),
                audio_ms=item.audio_ms,
            )
            for key, item in self._items.items()
            if item.heard_ms(now) < item.audio_ms
        )
        self._items.clear()
        return cuts

    def next_deadline(self, now: float) -> float | None:
        ends = [item.ends_at() for item in self._items.values() if item.reported_ms is None and item.ends_at() > now]
        return min(ends, default=None)
