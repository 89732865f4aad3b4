"""The model's audio on its way to a program that plays it itself: decoded, counted, kept back for guardrails.

It goes past the session's machine, which is only told how much there is. On a phone line the transport plays, and nothing
comes this way.
"""

from __future__ import annotations

import binascii
from collections import deque

import pybase64

from realtime_bridge.session.config import merge
from realtime_bridge.session.conversation import Key
from realtime_bridge.session.events import Audio
from realtime_bridge.session.holdback import AudioHold
from realtime_bridge.session.specs import SessionSettings
from realtime_bridge.transport.base import AudioReceived, TransportProblem
from realtime_bridge.wire import server

# "audio/pcm": 16 bits at 24 kHz, the only rate; "audio/pcmu" and "audio/pcma": 8 bits at 8 kHz (openai, RealtimeAudioFormats)
_BYTES_PER_MS = {"audio/pcm": 48, "audio/pcmu": 8, "audio/pcma": 8}
_ITEMS_MAX = 64


class ProgramAudio:
    """Feed it the deltas; `take` gives what the program is to hear."""

    def __init__(self, settings: SessionSettings) -> None:
        config = merge(settings.config, settings.transport_config)
        kind = config.get("audio", {}).get("output", {}).get("format", {}).get("type", "audio/pcm")
        self._bytes_per_ms = _BYTES_PER_MS.get(kind, _BYTES_PER_MS["audio/pcm"])
        self._hold: AudioHold[Audio] = AudioHold(settings.holdback_ms / 1000)
        self._bytes: dict[Key, int] = {}
        self._discarded: dict[str, None] = {}
        self._ready: deque[Audio] = deque()

    def received(self, event: server.ResponseOutputAudioDelta, now: float) -> AudioReceived | TransportProblem:
        """One delta; returns what the machine is to know of it."""
        try:
            audio = pybase64.b64decode(event.delta, None, True)
        except (binascii.Error, ValueError):
            return TransportProblem(message="audio that is not base64 was left out", where="$.delta")
        key = (event.item_id, event.content_index)
        so_far = self._bytes.pop(key, 0) + len(audio)
        self._bytes[key] = so_far
        while len(self._bytes) > _ITEMS_MAX:
            self._bytes.pop(next(iter(self._bytes)))
        audio_ms = so_far // self._bytes_per_ms
        if event.response_id not in self._discarded:
            chunk = Audio(
                audio=audio, response_id=event.response_id, item_id=event.item_id, content_index=event.content_index
            )
            self._ready += self._hold.push(key, event.response_id, audio_ms, chunk, now)
        return AudioReceived(
            response_id=event.response_id, item_id=event.item_id, content_index=event.content_index, audio_ms=audio_ms
        )

    def take(self, now: float) -> list[Audio]:
        """What the program is to hear now."""
        self._ready += self._hold.due(now)
        if not self._ready:
            return []
        heard = [chunk for chunk in self._ready if chunk.response_id not in self._discarded]
        self._ready.clear()
        return heard

    def release(self, key: Key, audio_ms: int | None, now: float) -> None:
        self._ready += self._hold.release(key, audio_ms, now)

    def discard(self, response_id: str) -> None:
        """Nothing more of this response."""
        self._discarded[response_id] = None
        while len(self._discarded) > _ITEMS_MAX:
            self._discarded.pop(next(iter(self._discarded)))
        self._hold.discard(response_id)

    def next_deadline(self) -> float | None:
        return self._hold.next_deadline()
