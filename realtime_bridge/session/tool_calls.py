"""Tool calls from the model's wish to the model's answer: deduplicated, checked, approved, run, answered exactly once.

    checking ─► waiting ─► running ─► answered
        └───────────┴────────►┘ (not needed, refused, rejected, timed out, cancelled)

A call is bound to its id and its exact arguments. The same call delivered again changes nothing; another call under a
known id is refused. Every state but `answered` ends by an input or, while waiting for a person, by the clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import msgspec

from realtime_bridge.approvals import ApprovalRequest, ApprovalSettings
from realtime_bridge.session.specs import ToolSpec

State: TypeAlias = Literal["checking", "waiting", "running", "answered"]
_HANDOFF_S_MAX = 5.0  # that a reply waits for a hand-off
_ANSWERED_MAX = 4096  # answered calls that are remembered, to know them again


@dataclass(slots=True)
class Call:
    """One function call of the model, or one approval request of a hosted MCP server (`spec` None, `server_label`)."""

    call_id: str
    name: str
    arguments: str
    agent: str
    response_id: str
    state: State = "checking"
    spec: ToolSpec | None = None
    handoff: bool = False
    server_label: str | None = None
    speak: Literal["now", "when_idle", "no"] = "now"
    filler_at: float | None = None
    expires_at: float | None = None
    since: float = 0.0  # running since


class ToolCalls:
    """All calls of a session. Pure bookkeeping; the machine sends, runs and tells."""

    def __init__(self, approvals: ApprovalSettings) -> None:
        self._approvals = approvals
        self._calls: dict[str, Call] = {}
        self._open: dict[str, Call] = {}  # those that have no answer yet
        self._always: dict[tuple[str, str], tuple[bool, str | None]] = {}

    def admit(self, call: Call) -> Literal["new", "repeated", "reused"]:
        """`reused`: the id is known for other arguments or another tool; the first call stays as it was."""
        known = self._calls.get(call.call_id)
        if known is None:
            self._calls[call.call_id] = self._open[call.call_id] = call
            self._forget_old()
            return "new"
        same = (known.name, _canonical(known.arguments)) == (call.name, _canonical(call.arguments))
        return "repeated" if same else "reused"

    def get(self, call_id: str, *states: State) -> Call | None:
        """The call, if it is in one of these states."""
        call = self._calls.get(call_id)
        return call if call is not None and call.state in states else None

    @property
    def any_open(self) -> bool:
        """Has some call no answer yet?"""
        return bool(self._open)

    def open(self) -> list[Call]:
        """Calls that have no answer yet, oldest first."""
        return list(self._open.values())

    def handoff_under_way(self, response_id: str) -> bool:
        """Has this response a hand-off already? Only one can be made."""
        return any(c.handoff and c.response_id == response_id for c in self._calls.values())

    def handing_over(self, now: float) -> bool:
        """Is a hand-off being made? The reply that waits is the next agent's; but not for ever."""
        return any(c.handoff and c.state == "running" and now < c.since + _HANDOFF_S_MAX for c in self.open())

    # -- approvals --

    def decided_before(self, call: Call) -> tuple[bool, str | None] | None:
        """(approved, message) where somebody said "always" for this agent's tool."""
        return self._always.get((call.agent, call.name))

    def wait(self, call: Call, now: float) -> ApprovalRequest:
        call.state = "waiting"
        limit = self._approvals.timeout_s
        call.expires_at = None if limit is None else now + limit
        return self.request(call)

    def request(self, call: Call) -> ApprovalRequest:
        return ApprovalRequest(
            call_id=call.call_id,
            agent=call.agent,
            tool=call.name,
            arguments=call.arguments,
            kind="function" if call.server_label is None else "mcp",
            server_label=call.server_label,
            expires_in_s=self._approvals.timeout_s,
            approval_by_caller=None if call.spec is None else call.spec.approval_by_caller,
        )

    def decide(self, call: Call, *, approved: bool, always: bool, message: str | None) -> None:
        call.expires_at = None
        if always:
            self._always[call.agent, call.name] = (approved, message)

    def expired(self, now: float) -> list[Call]:
        return [c for c in self.open() if c.state == "waiting" and c.expires_at is not None and now >= c.expires_at]

    # -- running --

    def run(self, call: Call, now: float) -> None:
        call.state, call.since = "running", now
        call.expires_at = None
        if call.spec is not None and call.spec.filler is not None:
            call.filler_at = now + call.spec.filler_after_s

    def answer(self, call: Call) -> None:
        call.state = "answered"
        self._open.pop(call.call_id, None)
        call.filler_at = call.expires_at = None

    def cut_short(self) -> list[Call]:
        """The caller cut the agent short. Marks how running calls' results will be told; returns those to cancel."""
        cancelled = []
        for call in self.open():
            if call.state != "running" or call.spec is None:
                continue
            if call.spec.on_barge_in == "cancel":
                cancelled.append(call)
            elif call.speak == "now":
                call.speak = "when_idle" if call.spec.on_barge_in == "speak_later" else "no"
        return cancelled

    def fillers_due(self, now: float) -> list[Call]:
        return [c for c in self.open() if c.filler_at is not None and now >= c.filler_at]

    def next_deadline(self, now: float) -> float | None:
        times = [t for c in self.open() for t in (c.expires_at, c.filler_at) if t is not None]
        times += [c.since + _HANDOFF_S_MAX for c in self.open() if c.handoff and now < c.since + _HANDOFF_S_MAX]
        return min(times, default=None)

    def _forget_old(self) -> None:
        if len(self._calls) > _ANSWERED_MAX:
            oldest = next((call_id for call_id, call in self._calls.items() if call.state == "answered"), None)
            if oldest is not None:
                del self._calls[oldest]


def _canonical(arguments: str) -> bytes:
    """A fingerprint of the arguments: their JSON in one spelling, or the text itself where it is not JSON or too
    deep."""
    try:
        return msgspec.json.encode(msgspec.json.decode(arguments or "{}"), order="deterministic")
    except (msgspec.DecodeError, RecursionError):
        return arguments.encode()
