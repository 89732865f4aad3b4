"""What goes on in a call at the moment: who speaks, who is about to, and what is being waited for.

Read from the session's events. Every state has a time limit, so that one lost event never stands in the way for good.

Pure: the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from realtime_bridge.session import events
from realtime_bridge.transport.base import AudioReceived
from realtime_bridge.wire import server

SPEECH_S_MAX = 30.0  # of a caller whose `speech_stopped` was lost
ITEM_S_MAX = 120.0  # from the last audio of an item that nobody reported as heard or cut
RESPONSE_S_MAX = 90.0
TOOL_S_MAX = 600.0  # tools and approvals end their own waits before
RECONNECT_S_MAX = 120.0


class Activity:
    """Feed it every event of the session, in order."""

    def __init__(self, now: float) -> None:
        self.caller_spoke_at = now  # or pressed a key; the end of it, while it is known
        self.agent_has_answered = False  # has begun to be heard since the caller last spoke
        self.muted = {"caller": False, "agent": False}
        self._caller_until = -inf
        self._items: dict[str, float] = {}
        self._responses: dict[str, float] = {}
        self._waits: dict[str, float] = {}  # tools, approvals, the model itself
        self._agent_stopped_at = now
        self._still_since: float | None = now
        self._handlers = self._table()

    # ---- what is known -----------------------------------------------------------------------------------------------

    def caller_speaks(self, now: float) -> bool:
        return now < self._caller_until

    def agent_talks(self, now: float) -> bool:
        """It is making a reply, or some of one is still to be heard."""
        return _any(self._items, now) or _any(self._responses, now)

    def waits(self, now: float) -> bool:
        """A tool runs, an approval is awaited, or the model is being reached again."""
        return _any(self._waits, now)

    def still_since(self, now: float) -> float | None:
        """Since when nobody has spoken and nothing has been waited for; None while it is otherwise, or while somebody is
        muted: then silence tells nothing."""
        if self.caller_speaks(now) or self.agent_talks(now) or self.waits(now) or any(self.muted.values()):
            self._still_since = None
        elif self._still_since is None:
            self._still_since = now
        return self._still_since

    def agent_silent_since(self, now: float) -> float:
        """Since when nothing of the agent's has been heard; `now` while it is."""
        return now if _any(self._items, now) else self._agent_stopped_at

    def next_deadline(self, now: float) -> float:
        """When one of these may change of itself."""
        limits = (self._caller_until, *self._items.values(), *self._responses.values(), *self._waits.values())
        return min((at for at in limits if at > now), default=inf)

    # ---- what happens ------------------------------------------------------------------------------------------------

    def handle(self, event: events.SessionEvent, now: float) -> bool:
        """False: nothing has changed."""
        about = event.event if isinstance(event, events.TransportEventSeen) else event
        handler = self._handlers.get(type(about))
        if handler is None:
            return False
        handler(about, now)
        self.still_since(now)
        return True

    def _table(self) -> dict[type, Callable[[Any, float], object]]:
        return {
            server.InputAudioBufferSpeechStarted: lambda _, now: self._caller(now, now + SPEECH_S_MAX),
            server.InputAudioBufferSpeechStopped: lambda _, now: self._caller(now, -inf),
            events.Dtmf: lambda _, now: self._caller(now, self._caller_until),
            server.ResponseCreated: lambda e, now: self._responses.update({e.response.id or "": now + RESPONSE_S_MAX}),
            server.ResponseDone: lambda e, _: self._responses.pop(e.response.id or "", None),
            AudioReceived: lambda e, now: self._items.update({e.item_id: now + ITEM_S_MAX}),
            events.AudioStart: self._audible,
            events.AudioStopped: lambda e, now: self._silent(e.item_id, now),
            events.AudioInterrupted: self._interrupted,
            events.AgentToolStart: lambda e, now: self._waits.update({e.call_id: now + TOOL_S_MAX}),
            events.AgentToolEnd: lambda e, _: self._waits.pop(e.call_id, None),
            events.ToolApprovalRequested: lambda e, now: self._waits.update({e.request.call_id: now + TOOL_S_MAX}),
            events.ToolApprovalResolved: lambda e, _: self._waits.pop(e.request.call_id, None),
            events.Reconnecting: lambda _, now: self._model_away(now),
            events.Reconnected: lambda *_: self._waits.pop("the model", None),
        }

    def _caller(self, now: float, until: float) -> None:
        self._caller_until = until
        self.caller_spoke_at = now
        self.agent_has_answered = False

    def _audible(self, event: events.AudioStart, now: float) -> None:
        self.agent_has_answered = True
        self._items[event.item_id] = now + ITEM_S_MAX

    def _silent(self, item_id: str, now: float) -> None:
        self._items.pop(item_id, None)
        self._agent_stopped_at = now

    def _interrupted(self, _: events.AudioInterrupted, now: float) -> None:
        self._items.clear()
        self._agent_stopped_at = now

    def _model_away(self, now: float) -> None:
        self._responses.clear()
        self._caller_until = -inf
        self._waits["the model"] = now + RECONNECT_S_MAX


def _any(limits: dict[str, float], now: float) -> bool:
    return bool(limits) and any(now < until for until in limits.values())
