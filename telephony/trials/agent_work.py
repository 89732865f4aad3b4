"""Whether an agent is still at work: what a person hears in its words ("one moment, I look that up"), told by its session.

A `LiveCalls` listener; `is_busy` is for a caller's `Patience`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from realtime_bridge.session import events
from realtime_bridge.wire import server
from telephony.call_details import CallDetails
from telephony.calls.live import CallEnding, LiveCall

ANSWER_S_MAX: Final = 2.0  # from a tool's result until the model speaks of it, if it does


class AgentWork:
    """Of one call."""

    def __init__(self) -> None:
        self._responses: set[str] = set()
        self._calls: set[str] = set()  # that run, or wait for somebody's word
        self._answers_until = 0.0

    def is_busy(self) -> bool:
        """It speaks, a tool runs, or it is about to speak."""
        now = asyncio.get_running_loop().time()
        return bool(self._responses or self._calls) or now < self._answers_until

    def call_began(self, call: LiveCall) -> None:
        call.session.on(None, self._event)

    def call_ended(self, _details: CallDetails, _ending: CallEnding) -> None:
        """Nobody asks any more."""

    def _event(self, event: events.SessionEvent) -> None:
        match event:
            case events.AgentStart():
                self._responses.add(event.response_id)
                self._answers_until = 0.0
            case events.AgentEnd():
                self._responses.discard(event.response_id)
            case events.AgentToolStart():
                self._calls.add(event.call_id)
            case events.ToolApprovalRequested(request=request):
                self._calls.add(request.call_id)
            case events.AgentToolEnd():
                self._calls.discard(event.call_id)
                self._expect_answer()
            case events.ToolApprovalResolved(request=request):
                self._calls.discard(request.call_id)
                self._expect_answer()
            case events.TransportEventSeen(event=server.ResponseOutputItemDone(item=item)):
                if item.type == "function_call":
                    self._expect_answer()
            case _:
                pass

    def _expect_answer(self) -> None:
        self._answers_until = asyncio.get_running_loop().time() + ANSWER_S_MAX
