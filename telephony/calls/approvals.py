"""Approvals of live calls that outlive a page and a process: a row for each, announced, decided once, carried back.

When a tool waits for a person, the desk of its process stores a row with the exact arguments and says so to whoever is
to decide. Decisions are made in the store, where the first one wins, by anybody with the right on any node (`decisions`).
The row is the truth; the bus only says "look again", and the desk looks by itself too, should that word get lost. Then it
tells the session, which runs the tool or not.

A row ends a moment before the session's own patience does, so that a decision that was taken still arrives in time. What
is expired or cancelled can never be decided, and nothing runs without a decision read back from the store: while there is
no database, calls go on, and what waits for approval is rejected at its limit.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from realtime_bridge.approvals import ApprovalRequest
from realtime_bridge.session.events import Dtmf, SessionEnd, SessionEvent, ToolApprovalRequested, ToolApprovalResolved
from telephony.announce import Announcer
from telephony.call_details import CallDetails
from telephony.calls.decisions import DECIDED_TOPIC, decide
from telephony.calls.live import CallEnding, LiveCall
from telephony.store import Store, StoreError, Subscription
from telephony.store.rows import ApprovalRow, BusMessage

log = logging.getLogger(__name__)

BY_CALLER: Final = "caller"
REFUSING_KEY: Final = "*"
MARGIN_S: Final = 2.0  # from the row's end to the session's
UNLIMITED_S: Final = 24 * 3600.0  # for sessions that wait for ever: longer than any call
LOOK_AGAIN_S: Final = 2.0
SWEEP_S: Final = 30.0
RETRY_S: Final = (0.2, 0.5, 1.0, 2.0, 5.0)  # the last one again and again
NODE_SILENT_S: Final = 60.0  # a process that has not been heard of for so long is gone
WAITING_MAX: Final = 1000  # of one process; above it approvals cannot be given


@dataclass(slots=True, eq=False)
class _Waiting:
    """One request of a live session."""

    call: LiveCall
    request: ApprovalRequest
    row: ApprovalRow
    asking: asyncio.Task[None] | None = None  # storing it
    stored: bool = False
    pressed: bool = False  # the caller has decided, and this is on its way
    told: bool = False  # the session has been given the decision
    over: bool = False  # the session waits no more


class ApprovalDesk:
    """The waiting approvals of this process's calls. A `CallListener`; `start` it when the store's bus runs.

    `announcer`: told of each request, and of its end. `clock`: the time of day, by default the store's.
    """

    def __init__(
        self,
        store: Store,
        *,
        announcer: Announcer | None = None,
        look_again_s: float = LOOK_AGAIN_S,
        sweep_s: float = SWEEP_S,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._store = store
        self._announcer = announcer
        self._look_again_s = look_again_s
        self._sweep_s = sweep_s
        self._clock = clock or store.now
        self._waiting: dict[str, _Waiting] = {}  # by approval id, oldest first
        self._jobs: set[asyncio.Task[None]] = set()
        self._routines: list[asyncio.Task[None]] = []
        self._subscription: Subscription | None = None

    def __len__(self) -> int:
        """How many wait now."""
        return len(self._waiting)

    def start(self) -> None:
        self._subscription = self._store.bus.subscribe(DECIDED_TOPIC, self._decided)
        loop = asyncio.get_running_loop()
        self._routines = [
            loop.create_task(self._every(self._look_again_s, self._look_again), name="approvals: look again"),
            loop.create_task(self._every(self._sweep_s, self.sweep), name="approvals: sweep"),
        ]

    async def close(self, wait_s: float = 2.0) -> None:
        """When the calls are over: a moment for what is still to be stored."""
        if self._subscription is not None:
            self._subscription.close()
        for routine in self._routines:
            routine.cancel()
        await asyncio.gather(*self._routines, return_exceptions=True)
        if self._jobs:
            _, pending = await asyncio.wait(self._jobs, timeout=wait_s)
            for job in pending:
                job.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    # -- CallListener --

    def call_began(self, call: LiveCall) -> None:
        def on_event(event: SessionEvent) -> None:
            match event:
                case ToolApprovalRequested(request=request):
                    self._asked(call, request)
                case ToolApprovalResolved():
                    self._resolved(call, event)
                case Dtmf(digit=digit):
                    self._pressed(call, digit)
                case SessionEnd():
                    self._session_over(call)
                case _:
                    pass

        for kind in ("tool_approval_requested", "tool_approval_resolved", "dtmf", "session_end"):
            call.session.on(kind, on_event)

    def call_ended(self, details: CallDetails, ending: CallEnding) -> None:
        """The session's own end has told already."""

    # -- asking --

    def _asked(self, call: LiveCall, request: ApprovalRequest) -> None:
        if len(self._waiting) >= WAITING_MAX:
            log.error("call %s: %s cannot be approved: %d approvals wait already", call.sid, request.tool, WAITING_MAX)
            return
        patience_s = UNLIMITED_S if request.expires_in_s is None else request.expires_in_s
        now = self._clock()
        row = ApprovalRow(
            approval_id=f"apr_{secrets.token_hex(12)}",
            call_sid=call.sid,
            call_id=request.call_id,
            agent=request.agent,
            tool=request.tool,
            arguments=request.arguments,
            asked_at=now,
            expires_at=now + timedelta(seconds=max(patience_s - MARGIN_S, patience_s / 2)),
            node=self._store.node,
            details={
                "kind": request.kind,
                "server_label": request.server_label,
                "approval_by_caller": request.approval_by_caller,
            },
        )
        waiting = self._waiting[row.approval_id] = _Waiting(call, request, row)
        waiting.asking = self._soon(self._ask(waiting))

    async def _ask(self, waiting: _Waiting) -> None:
        """Nobody can decide what is not stored; so this tries for as long as a decision could still come."""
        row = waiting.row
        if not await self._persist(row, lambda: self._store.approvals.ask(row), unless=lambda: waiting.over):
            return
        waiting.stored = True
        if waiting.over:  # meanwhile, and whoever cancelled it may have found no row
            await self._cancel(waiting)
            return
        log.info("call %s: %s waits for approval %s", row.call_sid, row.tool, row.approval_id)
        self._announce(row, "approval.requested", until=row.expires_at)
        await self._note(row, "approval_requested")

    # -- deciding --

    def _pressed(self, call: LiveCall, digit: str) -> None:
        """The caller's own word, for the oldest request that they may decide."""
        mine = (w for w in self._waiting.values() if w.call is call and w.request.approval_by_caller is not None)
        waiting = next((w for w in mine if w.stored and not w.pressed and not w.told), None)
        if waiting is None or digit not in (waiting.request.approval_by_caller, REFUSING_KEY):
            return
        waiting.pressed = True
        self._soon(self._by_key(waiting, approved=digit != REFUSING_KEY))

    async def _by_key(self, waiting: _Waiting, *, approved: bool) -> None:
        try:
            await decide(self._store, waiting.row.approval_id, approved=approved, by=BY_CALLER)
        except StoreError as e:
            waiting.pressed = False
            log.error("call %s: the caller's decision is not stored: %s", waiting.row.call_sid, e)  # noqa: TRY400 - no fault of ours
            return
        await self._deliver(waiting)

    def _decided(self, message: BusMessage) -> None:
        waiting = self._waiting.get(str(message.body.get("approval_id")))
        if waiting is not None:
            self._soon(self._deliver(waiting))

    async def _look_again(self) -> None:
        for waiting in tuple(self._waiting.values()):
            if waiting.stored:
                await self._deliver(waiting)

    async def _deliver(self, waiting: _Waiting) -> None:
        """Tell the session what its row says by now, if that is a decision."""
        try:
            row = await self._store.approvals.get(waiting.row.approval_id)
        except StoreError as e:
            log.warning("approval %s cannot be read; trying again: %s", waiting.row.approval_id, e)
            return
        if row is None or row.status not in ("approved", "rejected") or waiting.told or waiting.over:
            return
        waiting.told = True
        session, call_id = waiting.call.session, waiting.request.call_id
        if (row.call_sid, row.call_id, row.arguments) != (waiting.call.sid, call_id, waiting.request.arguments):
            log.error("call %s: approval %s was changed in the database: not run", waiting.call.sid, row.approval_id)
            await session.reject(waiting.request)
        elif row.status == "approved":
            await session.approve(waiting.request, always=row.always)
        else:
            await session.reject(waiting.request, always=row.always, message=row.message)
        if not waiting.over:
            log.error("call %s: the decision on %s came too late: not run", waiting.call.sid, row.approval_id)
            self._forget(waiting)

    # -- the end --

    def _resolved(self, call: LiveCall, event: ToolApprovalResolved) -> None:
        mine = (w for w in self._waiting.values() if w.call is call)
        waiting = next((w for w in mine if w.request.call_id == event.request.call_id), None)
        if waiting is None:
            return
        self._forget(waiting)
        self._soon(self._settle(waiting, None if waiting.told else event.by, ran=event.approved))

    def _session_over(self, call: LiveCall) -> None:
        """A session that failed tells of no resolutions: what still waits is over all the same."""
        for waiting in [waiting for waiting in self._waiting.values() if waiting.call is call]:
            self._forget(waiting)
            self._soon(self._settle(waiting, "session_end", ran=False))

    async def _settle(self, waiting: _Waiting, by: str | None, *, ran: bool) -> None:
        """Bring the row to its end, and tell of it, after it was told that it waits. `by` None: the row came first."""
        if waiting.asking is not None:
            await asyncio.wait([waiting.asking])
        approval_id = waiting.row.approval_id
        try:
            if by == "program":  # by itself, without asking anybody
                await self._store.approvals.decide(approval_id, approved=ran, by="program")
            elif by == "timeout":
                await self._store.approvals.expire(self._clock())
            elif by is not None:
                await self._cancel(waiting)
            row = await self._store.approvals.get(approval_id)
        except StoreError as e:
            log.warning("the end of approval %s is not stored; it expires by itself: %s", approval_id, e)
            return
        if row is None or row.status == "waiting":
            return
        if row.status == "approved" and not ran:
            log.warning("call %s: approval %s came too late, the tool has not run", row.call_sid, approval_id)
        self._announce(row, "approval.resolved", ran=ran)
        await self._note(row, "approval_resolved", ran=ran)

    async def _cancel(self, waiting: _Waiting) -> None:
        row = waiting.row
        await self._persist(row, lambda: self._store.approvals.cancel(row.approval_id))

    def _forget(self, waiting: _Waiting) -> None:
        waiting.over = True
        self._waiting.pop(waiting.row.approval_id, None)

    # -- housekeeping --

    async def sweep(self) -> None:
        """End rows that nobody will: of a time that is over, of processes that are gone. On any node."""
        now = self._clock()
        await self._store.approvals.expire(now)
        page = await self._store.approvals.list(status="waiting", limit=200)
        if not page.rows:
            return
        alive = {row.node for row in await self._store.nodes.alive(now - timedelta(seconds=NODE_SILENT_S))}
        for row in page.rows:
            if row.approval_id in self._waiting or now - row.asked_at < timedelta(seconds=NODE_SILENT_S):
                continue
            if row.node is None or row.node == self._store.node or row.node not in alive:
                log.warning("call %s: approval %s is cancelled: its process is gone", row.call_sid, row.approval_id)
                await self._store.approvals.cancel(row.approval_id)

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await work()
            except StoreError as e:
                log.warning("waiting approvals were not looked after: %s", e)
            except Exception:
                log.exception("looking after waiting approvals failed")

    async def _persist(
        self, row: ApprovalRow, write: Callable[[], Awaitable[object]], unless: Callable[[], bool] = lambda: False
    ) -> bool:
        """Try until it is stored, cannot be, or the row's time is over; whether it is."""
        delays = iter(RETRY_S)
        while not unless() and self._clock() < row.expires_at:
            try:
                await write()
            except StoreError as e:
                log.error("call %s: approval %s: %s", row.call_sid, row.approval_id, e)  # noqa: TRY400 - no fault of ours
                if not e.retryable:
                    return False
            else:
                return True
            await asyncio.sleep(next(delays, RETRY_S[-1]))
        return False

    def _announce(self, row: ApprovalRow, kind: str, *, until: datetime | None = None, ran: bool | None = None) -> None:
        if self._announcer is not None:
            message_id = f"{row.approval_id}.{kind.rpartition('.')[2]}"
            self._announcer.announce(
                message_id, kind, shown(row, ran), until=None if until is None else until.timestamp()
            )

    async def _note(self, row: ApprovalRow, kind: str, *, ran: bool | None = None) -> None:
        """Among the call's events, for whoever follows it."""
        key = f"{row.approval_id}.{kind}"
        try:
            await self._store.calls.event(row.call_sid, kind, shown(row, ran), self._clock(), event_key=key)
        except StoreError as e:
            log.warning("call %s: %s is not among its events: %s", row.call_sid, kind, e)

    def _soon(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        job = asyncio.get_running_loop().create_task(work)
        self._jobs.add(job)
        job.add_done_callback(self._job_over)
        return job

    def _job_over(self, job: asyncio.Task[None]) -> None:
        self._jobs.discard(job)
        if not job.cancelled() and (error := job.exception()) is not None:
            log.error("an approval could not be handled", exc_info=error)


def shown(row: ApprovalRow, ran: bool | None = None) -> dict[str, Any]:
    """A row for announcements and events: everything that whoever decides has to know. `ran`: whether the tool was let
    run in the end, where that is settled."""
    plain: dict[str, Any] = msgspec.to_builtins(row)
    return plain if ran is None else plain | {"ran": ran}
