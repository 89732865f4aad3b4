"""Approvals that outlive a page, a process and a machine: asked on one node, decided on any, once.

The first decision wins, in one statement of the database: whoever comes second is told how it stands. An approval that
has expired, or whose call is over, can never be decided; so what it guards can never run.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from telephony.store.cursors import cursor_of, older_than
from telephony.store.database import Database, columns_of, to_struct, values_of
from telephony.store.rows import ApprovalRow, ApprovalStatus, Decision, Page
from telephony.store.schema import approvals, audit

PAGE_MAX: Final = 200
EXPIRE_AT_ONCE_MAX: Final = 200

_APPROVAL = columns_of(approvals, ApprovalRow)


class Approvals:
    """`Store.approvals`. Each method raises StoreError."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def ask(self, row: ApprovalRow) -> bool:
        """Store a waiting approval; False when its id was there already, which leaves it as it is."""
        return await self._database.write(
            lambda c: self._database.put_new(c, approvals, values_of(row)), "store an approval"
        )

    async def decide(
        self, approval_id: str, *, approved: bool, by: str, message: str | None = None, always: bool = False
    ) -> Decision:
        """Approve or reject; won by the first who decides while it waits and has not expired.

        `by`: who decides, as the audit shall name them; `message`: for the model, of a rejection; `always`: for the rest
        of the call. The audit row is written with the decision, or neither is.
        """
        decided = {
            "status": "approved" if approved else "rejected",
            "decided_by": by,
            "message": message,
            "always": always,
        }

        def work(c: Connection) -> Decision:
            now = self._clock()
            _expire(c, approval_id, now)
            won = _leave_waiting(c, approval_id, decided | {"decided_at": now})
            row = _get(c, approval_id)
            if won and row is not None:
                c.execute(insert(audit).values(_audit_of(row, now)))
            return Decision(row=row, won=won)

        return await self._database.write(work, "store a decision")

    async def expire(self, now: datetime) -> tuple[ApprovalRow, ...]:
        """End those whose time is over; returns the ones that this call ended, each on one node only. Some at a time."""
        due = (
            select(approvals.c.approval_id)
            .where(approvals.c.status == "waiting", approvals.c.expires_at <= now)
            .order_by(approvals.c.expires_at)
            .limit(EXPIRE_AT_ONCE_MAX)
        )

        def work(c: Connection) -> tuple[ApprovalRow, ...]:
            ids = [found for found in sorted(c.execute(due).scalars()) if _expire(c, found, now)]
            return _by_ids(c, ids)

        if not await self._database.read(
            lambda c: c.execute(due.limit(1)).first() is not None, "look for old approvals"
        ):
            return ()  # most times; spares the write lock
        return await self._database.write(work, "end old approvals")

    async def cancel_call(self, call_sid: str) -> tuple[ApprovalRow, ...]:
        """The call is over: nothing of it can be approved any more. Returns those that waited."""
        waiting = select(approvals.c.approval_id).where(
            approvals.c.call_sid == call_sid, approvals.c.status == "waiting"
        )

        def work(c: Connection) -> tuple[ApprovalRow, ...]:
            end = {"status": "cancelled", "decided_at": self._clock()}
            ids = [found for found in sorted(c.execute(waiting).scalars()) if _leave_waiting(c, found, end)]
            return _by_ids(c, ids)

        return await self._database.write(work, "cancel a call's approvals")

    async def cancel(self, approval_id: str) -> bool:
        """Nobody waits for this one any more, though its call goes on; whether it still waited."""
        end = {"status": "cancelled", "decided_at": self._clock()}
        return await self._database.write(lambda c: _leave_waiting(c, approval_id, end), "cancel an approval")

    async def get(self, approval_id: str) -> ApprovalRow | None:
        return await self._database.read(lambda c: _get(c, approval_id), "look up an approval")

    async def list(
        self,
        *,
        status: ApprovalStatus | None = None,
        call_sid: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> Page[ApprovalRow]:
        """Newest first. `before`: of the page before this one. Raises MisuseError for a wrong one."""
        limit = max(1, min(limit, PAGE_MAX))
        query = select(*_APPROVAL).order_by(approvals.c.asked_at.desc(), approvals.c.approval_id.desc())
        if status is not None:
            query = query.where(approvals.c.status == status)
        if call_sid is not None:
            query = query.where(approvals.c.call_sid == call_sid)
        if before is not None:
            query = query.where(older_than(approvals.c.asked_at, approvals.c.approval_id, before))
        rows = await self._database.read(
            lambda c: tuple(to_struct(ApprovalRow, row) for row in c.execute(query.limit(limit + 1))), "list approvals"
        )
        page = rows[:limit]
        return Page(page, cursor_of(page[-1].asked_at, page[-1].approval_id) if len(rows) > limit else None)


def _leave_waiting(c: Connection, approval_id: str, values: dict[str, Any], *conditions: Any) -> bool:
    """The only way out of "waiting", in one statement: it can be taken once.

    Who takes several at once takes them in the order of their ids, so that two cannot lock each other out.
    """
    waits = (approvals.c.approval_id == approval_id, approvals.c.status == "waiting", *conditions)
    return c.execute(update(approvals).where(*waits).values(values)).rowcount == 1


def _expire(c: Connection, approval_id: str, now: datetime) -> bool:
    return _leave_waiting(c, approval_id, {"status": "expired", "decided_at": now}, approvals.c.expires_at <= now)


def _get(c: Connection, approval_id: str) -> ApprovalRow | None:
    row = c.execute(select(*_APPROVAL).where(approvals.c.approval_id == approval_id)).first()
    return None if row is None else to_struct(ApprovalRow, row)


def _by_ids(c: Connection, ids: list[str]) -> tuple[ApprovalRow, ...]:
    if not ids:
        return ()
    query = select(*_APPROVAL).where(approvals.c.approval_id.in_(ids)).order_by(approvals.c.asked_at)
    return tuple(to_struct(ApprovalRow, row) for row in c.execute(query))


def _audit_of(row: ApprovalRow, now: datetime) -> dict[str, Any]:
    return {
        "at": now,
        "who": row.decided_by,
        "action": f"approval.{row.status}",
        "subject": row.approval_id,
        "data": {
            "call_sid": row.call_sid,
            "tool": row.tool,
            "arguments": row.arguments,
            "message": row.message,
            "always": row.always,
        },
    }
