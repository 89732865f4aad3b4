"""Which words of the agent's last answer have been heard by now, so that a caller can interrupt it at one of them.

Told by the session's events, as the bridge tells a model where it was interrupted (`realtime_bridge/session/heard.py`).
"""

from __future__ import annotations

import asyncio
from typing import Any

from realtime_bridge.session import events
from realtime_bridge.session.heard import Lead, Spoken, heard_text
from realtime_bridge.transport.base import AudioReceived, PlaybackFinished, PlaybackStarted
from realtime_bridge.wire import server
from telephony.expectations.phrases import LIKENESS_MIN, nearest


class AgentWords:
    """`event` is a listener of one session, then of the next. To be used on the event loop that the call runs on."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Another call begins."""
        self._lead = Lead()
        self._spoken: dict[str, Spoken] = {}
        self._started_at: dict[str, float] = {}  # of what has been heard since the caller's last word

    def has_said(self, words: str) -> bool:
        now = _now()
        texts = [
            heard_text(self._spoken[item_id], round((now - at) * 1000), self._lead.ms, self._lead.chars_per_s)
            for item_id, at in self._started_at.items()
            if item_id in self._spoken
        ]
        found = nearest(words, texts)
        return found is not None and found.is_like(LIKENESS_MIN)

    def event(self, event: events.SessionEvent) -> None:
        match event:
            case events.TransportEventSeen():
                self._transport_event(event.event)
            case events.Dtmf():
                self._started_at.clear()
            case _:
                pass

    def _transport_event(self, event: Any) -> None:
        match event:
            case server.ResponseOutputAudioTranscriptDelta(item_id=item_id, delta=delta):
                self._of(item_id).add(delta)
            case server.ResponseOutputAudioTranscriptDone(item_id=item_id, transcript=transcript):
                self._of(item_id).settle(transcript)
            case AudioReceived(item_id=item_id, audio_ms=audio_ms):
                self._of(item_id).audio_ms = audio_ms
            case server.ResponseOutputAudioDone(item_id=item_id):
                self._of(item_id).complete = True
            case PlaybackStarted(item_id=item_id):
                self._started_at[item_id] = _now()
            case PlaybackFinished(item_id=item_id) if item_id in self._spoken:
                self._lead.learn(self._spoken[item_id])
            case server.InputAudioBufferSpeechStarted():
                self._started_at.clear()
            case _:
                pass

    def _of(self, item_id: str) -> Spoken:
        return self._spoken.setdefault(item_id, Spoken())


def _now() -> float:
    return asyncio.get_running_loop().time()
