"""Who approves on trial: the people of the recorded call, who decide as they did and take as long for it.

A `LiveCalls` listener.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, Literal, TypeAlias

from realtime_bridge.approvals import ApprovalRequest
from realtime_bridge.errors import BridgeError
from realtime_bridge.realtime import RealtimeSession
from realtime_bridge.session.events import Dtmf, SessionEvent, ToolApprovalRequested
from telephony.call_details import CallDetails
from telephony.calls.approvals import REFUSING_KEY
from telephony.calls.live import CallEnding, LiveCall
from telephony.trials.taped_call import TapedApproval, TapedDeeds, json_object
from telephony.trials.tools import shown_call

log = logging.getLogger(__name__)

Approvals: TypeAlias = Literal["recorded", "approve", "reject"]


class TrialApprovals:
    """Of one run. `problems`: requests of which the recorded call knows nothing; they are refused."""

    def __init__(self, approvals: Approvals, deeds: TapedDeeds, *, caller_presses_keys: bool = False) -> None:
        """`caller_presses_keys`: what she may approve herself is left to her, unless she was recorded and all is to be
        decided alike."""
        self.problems: list[str] = []
        self._approvals = approvals
        self._left = list(deeds.approvals)
        self._tools = {taped.tool: taped for taped in deeds.approvals}
        self._caller_decides = caller_presses_keys and (approvals == "recorded" or not deeds.is_known)
        self._left_to_caller: list[ApprovalRequest] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def call_began(self, call: LiveCall) -> None:
        def requested(event: SessionEvent) -> None:
            assert isinstance(event, ToolApprovalRequested)
            self._start(self._decide(call.session, event.request))

        def heard(event: SessionEvent) -> None:
            if not isinstance(event, Dtmf):
                return
            for request in self._left_to_caller:
                if event.digit in (request.approval_by_caller, REFUSING_KEY):
                    self._left_to_caller.remove(request)
                    approved = event.digit == request.approval_by_caller
                    self._start(_tell(call.session, request, approved=approved, message=None))
                    return

        call.session.on("tool_approval_requested", requested)
        call.session.on(None, heard)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def call_ended(self, _details: CallDetails, _ending: CallEnding) -> None:
        for task in tuple(self._tasks):
            task.cancel()

    async def _decide(self, session: RealtimeSession, request: ApprovalRequest) -> None:
        if request.approval_by_caller is not None and self._caller_decides:
            self._left_to_caller.append(request)
        elif self._approvals == "approve":
            await _tell(session, request, approved=True, message=None)
        elif self._approvals == "reject":
            await _tell(session, request, approved=False, message=None)
        elif (taped := self._taped(request)) is None:
            called = shown_call(request.tool, json_object(request.arguments))
            self.problems.append(
                f"{called} asked for approval, and in the recorded call nobody decided on {request.tool}"
            )
            await _tell(session, request, approved=False, message=None)
        elif taped.by == "program":  # else it has waited in vain, and may do so again
            await asyncio.sleep(taped.took_s)
            await _tell(session, request, approved=taped.approved, message=taped.message)

    def _taped(self, request: ApprovalRequest) -> TapedApproval | None:
        """What was decided of the same call, or else of the same tool: that much a person would decide alike."""
        arguments = json_object(request.arguments)
        for taped in self._left:
            if taped.tool == request.tool and taped.arguments == arguments:
                self._left.remove(taped)
                return taped
        return self._tools.get(request.tool)


async def _tell(session: RealtimeSession, request: ApprovalRequest, *, approved: bool, message: str | None) -> None:
    try:
        if approved:
            await session.approve(request)
        else:
            await session.reject(request, message=message)
    except BridgeError as e:  # the call has ended meanwhile, or somebody else was quicker
        log.info("%s of %s came too late: %s", "approval" if approved else "rejection", request.tool, e)
