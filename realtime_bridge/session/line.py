"""The line's state as far as turns go: who is speaking, and whether anything is still to be heard."""

from __future__ import annotations

from typing import Any

# A caller who never stops speaking, says a model whose `speech_stopped` was lost (tests/tapes/README.md, 13).
_SPEECH_S_MAX = 30.0
# From the end of the caller's speech to the reply that the server creates by itself.
_SERVER_REPLY_S_MAX = 3.0
# Past this after its last audio came, an item that nobody reported as heard or cut does not count as playing.
_PLAYING_S_MAX = 120.0


class Line:
    """Facts from events, with time limits, so that one lost event never blocks the conversation for good."""

    def __init__(self) -> None:
        self.server_replies = True  # turn detection creates responses
        self.server_interrupts = True  # turn detection cancels them
        self._speech_until: float | None = None
        self._reply_until: float | None = None
        self._playing: dict[str, float] = {}  # items that the caller is hearing or will hear -> until when at most

    def configured(self, session: dict[str, Any]) -> None:
        """From `session.created` and `session.updated`: what the server's turn detection does by itself.

        Absent means server_vad with both on; null means no turn detection.
        """
        audio = session.get("audio")
        audio_input = audio.get("input") if isinstance(audio, dict) else None
        if not isinstance(audio_input, dict) or "turn_detection" not in audio_input:
            return
        detection = audio_input["turn_detection"]
        self.server_replies = isinstance(detection, dict) and detection.get("create_response") is not False
        self.server_interrupts = isinstance(detection, dict) and detection.get("interrupt_response") is not False

    def speech_started(self, now: float) -> None:
        self._speech_until = now + _SPEECH_S_MAX
        self._reply_until = None

    def speech_stopped(self, now: float) -> None:
        self._speech_until = None
        if self.server_replies:
            self._reply_until = now + _SERVER_REPLY_S_MAX

    def reply_came(self) -> None:
        self._reply_until = None

    def sounding(self, item_id: str, now: float) -> None:
        self._playing[item_id] = now + _PLAYING_S_MAX

    def silent(self, item_id: str) -> None:
        self._playing.pop(item_id, None)

    def all_silent(self) -> None:
        self._playing.clear()

    def reset(self) -> None:
        """A fresh model session heard nothing yet; what plays, plays on."""
        self._speech_until = self._reply_until = None

    def caller_speaks(self, now: float) -> bool:
        return self._speech_until is not None and now < self._speech_until

    def turn_is_callers(self, now: float) -> bool:
        """The caller speaks, or has just spoken and the server is about to reply: nobody else may."""
        return self.caller_speaks(now) or (self._reply_until is not None and now < self._reply_until)

    def playing(self, now: float) -> list[str]:
        """Items that are being heard, or will be."""
        return [item_id for item_id, until in self._playing.items() if now < until]

    def next_deadline(self, now: float) -> float | None:
        limits = (self._speech_until, self._reply_until, *self._playing.values())
        times = [t for t in limits if t is not None and t > now]
        return min(times, default=None)
