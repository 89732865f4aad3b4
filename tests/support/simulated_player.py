"""What plays a model's audio to the caller in a simulated call, in order and in real time, and knows what was heard."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from support.model_peer import WORD_MS

from realtime_bridge.transport import base
from realtime_bridge.transport.base import ItemCut
from realtime_bridge.wire import server


@dataclass
class _Item:
    response_id: str
    starts_at: float
    audio_ms: int = 0

    def heard_ms(self, now: float) -> int:
        return max(0, min(self.audio_ms, round((now - self.starts_at) * 1000)))


class SimulatedPlayer:
    """`report(event)` goes to the session; `later(delay_s, action)` runs in virtual time. `growing`: the response of which
    more may come. Where the program plays (`reports` False), only the audio's arrival is told."""

    def __init__(
        self,
        report: Callable[[Any], None],
        later: Callable[[float, Callable[[], None]], None],
        clock: Callable[[], float],
        *,
        reports: bool,
    ) -> None:
        self._report = report
        self._later = later
        self._clock = clock
        self._reports = reports
        self._playing: dict[str, _Item] = {}
        self._received: dict[str, int] = {}
        self.dropped: set[str] = set()
        self.growing: str | None = None
        self.heard: dict[str, int] = {}  # item -> ms heard, once it is over
        self.over = False

    def play(self, event: server.ResponseOutputAudioDelta) -> None:
        if event.response_id in self.dropped:
            return
        where = {"response_id": event.response_id, "item_id": event.item_id, "content_index": 0}
        audio_ms = self._received[event.item_id] = self._received.get(event.item_id, 0) + WORD_MS
        if self._reports:
            self._queue(event, audio_ms)
        self._report(base.AudioReceived(audio_ms=audio_ms, **where))

    def response_done(self, response_id: str | None) -> None:
        if self.growing == response_id:
            self.growing = None
        for item_id, item in self._playing.items():
            self._look_at_the_end(item_id, item)

    def cut_off(self, by: str) -> list[ItemCut]:
        """Take back what was not heard; the session is told. Where the program plays, the session reckons and drops."""
        if not self._reports:
            return []
        if self.growing is not None:
            self.dropped.add(self.growing)
        cuts = []
        for item_id, item in list(self._playing.items()):
            heard_ms = self.heard[item_id] = item.heard_ms(self._clock())
            if heard_ms >= item.audio_ms:
                self._finish(item_id, item)
                continue
            del self._playing[item_id]
            cut = ItemCut(
                response_id=item.response_id,
                item_id=item_id,
                content_index=0,
                heard_ms=heard_ms,
                audio_ms=item.audio_ms,
            )
            cuts.append(cut)
        if cuts:
            self._report(base.PlaybackInterrupted(cuts=tuple(cuts), by=by))
        return cuts

    def _queue(self, event: server.ResponseOutputAudioDelta, audio_ms: int) -> None:
        now = self._clock()
        item = self._playing.get(event.item_id)
        if item is None:
            free = max((p.starts_at + p.audio_ms / 1000 for p in self._playing.values()), default=now)
            item = self._playing[event.item_id] = _Item(event.response_id, max(now, free))
            self._later(item.starts_at - now, lambda: self._begin(event.item_id, item))
        item.audio_ms = audio_ms
        self._look_at_the_end(event.item_id, item)

    def _look_at_the_end(self, item_id: str, item: _Item) -> None:
        self._later(
            max(0.0, item.starts_at + item.audio_ms / 1000 - self._clock()) + 0.2, lambda: self._end(item_id, item)
        )

    def _begin(self, item_id: str, item: _Item) -> None:
        if self._playing.get(item_id) is item and not self.over:
            self._report(base.PlaybackStarted(response_id=item.response_id, item_id=item_id, content_index=0))

    def _end(self, item_id: str, item: _Item) -> None:
        whole = item.heard_ms(self._clock()) >= item.audio_ms and self.growing != item.response_id
        if self._playing.get(item_id) is item and whole and not self.over:
            self._finish(item_id, item)

    def _finish(self, item_id: str, item: _Item) -> None:
        del self._playing[item_id]
        self.heard[item_id] = item.audio_ms
        where = {"response_id": item.response_id, "item_id": item_id, "content_index": 0}
        self._report(base.PlaybackFinished(audio_ms=item.audio_ms, **where))
