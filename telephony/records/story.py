"""What is told of a call while it goes on, put together into what call.json says: who spoke when, tools, approvals, hand-offs,
barge-ins, reconnects, keys.

Pure: times are arguments, in milliseconds of the phone's clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from realtime_bridge.session import events
from realtime_bridge.session.items import HistoryItem
from realtime_bridge.transport.base import PlaybackInterrupted
from realtime_bridge.wire import server
from telephony.records.record import Approval, BargeIn, Handoff, KeyPress, Line, Reconnect, ToolUse

ARGUMENTS_DEPTH_MAX = 64  # of a tool's arguments
_OUTCOMES: dict[str, Literal["done", "failed", "rejected", "cancelled"]] = {
    "ok": "done",
    "rejected": "rejected",
    "cancelled": "cancelled",
}


class CallStory:
    """Collects what is told. Times as they are told: those of the words are as good as the model's ears are quick."""

    def __init__(self, *, on_problem: Callable[[str], None]) -> None:
        self.handoffs: list[Handoff] = []
        self.barge_ins: list[BargeIn] = []
        self.reconnects: list[Reconnect] = []
        self.keys: list[KeyPress] = []
        self.cost_usd: float | None = None
        self._on_problem = on_problem
        self._spoken: dict[str, tuple[int, int | None]] = {}  # item -> when it was said or heard
        self._tools: dict[str, ToolUse] = {}
        self._approvals: dict[str, Approval] = {}

    @property
    def tools(self) -> tuple[ToolUse, ...]:
        return tuple(self._tools.values())

    @property
    def approvals(self) -> tuple[Approval, ...]:
        return tuple(self._approvals.values())

    @property
    def being_said(self) -> tuple[str, ...]:
        """Items of the caller's whose end has not been told."""
        return tuple(item_id for item_id, (_, end_ms) in self._spoken.items() if end_ms is None)

    def transcript(self, history: Iterable[HistoryItem], now_ms: int) -> tuple[Line, ...]:
        """What somebody said, and what was cut before its first word."""
        said = [item for item in history if item.type == "message" and item.role in ("user", "assistant")]
        return tuple(self._line(item, now_ms) for item in said if item.text or item.unheard)

    def played(self, item_id: str, start_ms: float, end_ms: float) -> None:
        """The phone played audio of this item."""
        first_ms, _ = self._spoken.get(item_id, (round(start_ms), None))
        self._spoken[item_id] = (first_ms, round(end_ms))

    def key_pressed(self, key: str, at_ms: int) -> None:
        self.keys.append(KeyPress(key=key, at_ms=at_ms))

    def told(self, event: events.SessionEvent, at_ms: int) -> None:
        match event:
            case events.TransportEventSeen():
                self._transport_event(event.event, at_ms)
            case events.AgentToolStart():
                self._tools[event.call_id] = self._begun(event, at_ms)
            case events.AgentToolEnd():
                self._tool_ended(event, at_ms)
            case events.ToolApprovalRequested(request=request):
                self._approvals[request.call_id] = Approval(call_id=request.call_id, tool=request.tool, start_ms=at_ms)
            case events.ToolApprovalResolved():
                self._approval_resolved(event, at_ms)
            case events.AgentHandoff():
                self.handoffs.append(Handoff(from_agent=event.from_agent, to_agent=event.to_agent, at_ms=at_ms))
            case events.Reconnecting():
                self.reconnects.append(Reconnect(start_ms=at_ms, planned=event.planned, reason=event.reason))
            case events.Reconnected():
                if self.reconnects:
                    self.reconnects[-1] = msgspec.structs.replace(self.reconnects[-1], end_ms=at_ms)
            case events.UsageUpdated():
                self.cost_usd = event.cost
            case events.SessionError():
                self._on_problem(event.message)

    def _transport_event(self, event: object, at_ms: int) -> None:
        match event:
            case server.InputAudioBufferSpeechStarted():
                self._spoken[event.item_id] = (at_ms, None)
            case server.InputAudioBufferSpeechStopped():
                start_ms, _ = self._spoken.get(event.item_id, (at_ms, None))
                self._spoken[event.item_id] = (start_ms, at_ms)
            case PlaybackInterrupted(cuts=(first, *_), by="speech"):
                self.barge_ins.append(BargeIn(item_id=first.item_id, audio_end_ms=first.heard_ms, at_ms=at_ms))

    def _begun(self, event: events.AgentToolStart | events.AgentToolEnd, at_ms: int) -> ToolUse:
        return ToolUse(
            call_id=event.call_id,
            name=event.tool,
            arguments=_object(event.arguments),
            start_ms=at_ms,
            approved=self._approved(event.call_id),
            agent=event.agent,
        )

    def _tool_ended(self, event: events.AgentToolEnd, at_ms: int) -> None:
        self._tools[event.call_id] = msgspec.structs.replace(
            self._tools.get(event.call_id) or self._begun(event, at_ms),
            end_ms=at_ms,
            outcome=_OUTCOMES.get(event.outcome, "failed"),
            output=event.output,
            approved=self._approved(event.call_id),
        )

    def _approval_resolved(self, event: events.ToolApprovalResolved, at_ms: int) -> None:
        call_id = event.request.call_id
        approval = self._approvals.get(call_id) or Approval(call_id=call_id, tool=event.request.tool, start_ms=at_ms)
        decision: Literal["approved", "rejected", "expired", "cancelled"] = "rejected"
        if event.by in ("session_end", "model_lost"):
            decision = "cancelled"
        elif event.approved:
            decision = "approved"
        elif event.by == "timeout":
            decision = "expired"
        by = event.by if event.by == "program" else None
        self._approvals[call_id] = msgspec.structs.replace(approval, end_ms=at_ms, decision=decision, by=by)

    def _approved(self, call_id: str) -> bool | None:
        approval = self._approvals.get(call_id)
        return None if approval is None else approval.decision == "approved"

    def _line(self, item: HistoryItem, now_ms: int) -> Line:
        start_ms, end_ms = self._spoken.get(item.item_id, (None, None))
        return Line(
            role="user" if item.role == "user" else "assistant",
            text=item.text,
            cut=item.cut,
            unheard=item.unheard,
            agent=item.agent,
            start_ms=start_ms,
            end_ms=end_ms if end_ms is not None or start_ms is None else now_ms,
        )


def _object(arguments: str) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(arguments, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return {"malformed": arguments}
    return decoded if _is_shallow(decoded) else {"malformed": arguments}


def _is_shallow(arguments: object) -> bool:
    """Is it nested so little that whoever writes or draws the record can follow?"""
    layer = [arguments]
    for _ in range(ARGUMENTS_DEPTH_MAX):
        layer = [child for value in layer for child in _children(value)]
        if not layer:
            return True
    return False


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
