"""Truncates on their way to the model, and what to do when it objects to one.

"Audio content of 1200ms is already shorter than 1300ms": the server's own count wins. It is read out of the message, and
the truncate is sent once more at that length; a second objection is left alone.

Pure.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from realtime_bridge.wire import client, server
from telephony.playout import ItemKey

KEPT = 64  # whose answer may still come


@dataclass(slots=True)
class _Sent:
    key: ItemKey
    audio_end_ms: int
    retried: bool


class Truncates:
    """The truncates of one call."""

    def __init__(self) -> None:
        self._sent: dict[str, _Sent] = {}  # by event id

    def forget(self) -> None:
        """The model they were sent to is gone."""
        self._sent.clear()

    def make(
        self, key: ItemKey, audio_end_ms: int, event_id: str, *, retried: bool = False
    ) -> client.ConversationItemTruncate:
        """The event to send now."""
        while len(self._sent) >= KEPT:
            del self._sent[next(iter(self._sent))]
        self._sent[event_id] = _Sent(key, audio_end_ms, retried)
        return client.ConversationItemTruncate(
            event_id=event_id, item_id=key.item_id, content_index=key.content_index, audio_end_ms=audio_end_ms
        )

    def shortened(self, error: server.ErrorDetail) -> tuple[ItemKey, int] | None:
        """Item and length to try once more, if this error is about a truncate that was too long."""
        truncate = self._sent.pop(error.event_id or "", None)
        if truncate is None or truncate.retried:
            return None
        lengths = [int(ms) for ms in re.findall(r"\b(\d{1,9})\s*ms", error.message)]
        shorter = [ms for ms in lengths if ms < truncate.audio_end_ms]
        return (truncate.key, max(shorter)) if shorter else None
