"""Deletes what has been kept for as long as it may be: calls with all that belongs to them, and the audit.

Some rows at a time, each time in a transaction of its own, so that calls that go on never wait long for the write lock.
Any node may do it, and several at once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Column, ColumnElement, Table, delete, exists, or_, select

from telephony.store.database import Database
from telephony.store.schema import approvals, attempts, audit, calls, events, tokens
from telephony.store.states import UNDER_WAY

ROWS_AT_ONCE: Final = 200
ROUNDS_MAX: Final = 5000  # of one run


class Forgetting:
    """`Store.forgetting`. Each method raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def calls(self, before: datetime) -> int:
        """Delete calls that began before then, with turns, tools, events, approvals and attempts; how many calls.

        A call whose recording is kept stays for as long as that; what is of no call goes by its own age.
        """
        count = await self._delete(calls, calls.c.call_sid, calls.c.created_at < before, calls.c.recording.is_(None))
        await self._delete(events, events.c.event_id, events.c.at < before, _no_call(events))
        await self._delete(approvals, approvals.c.approval_id, approvals.c.asked_at < before, _no_call(approvals))
        await self._delete(
            attempts,
            attempts.c.attempt_id,
            attempts.c.created_at < before,
            attempts.c.status.not_in(UNDER_WAY),
            or_(attempts.c.call_sid.is_(None), _no_call(attempts)),
        )
        return count

    async def audit(self, before: datetime) -> int:
        """Delete what was written down before then, and tokens that have been of no use since; how many rows."""
        ended = or_(tokens.c.expires_at < before, tokens.c.revoked_at < before)
        return await self._delete(audit, audit.c.audit_id, audit.c.at < before) + await self._delete(
            tokens, tokens.c.token_id, ended
        )

    async def _delete(self, table: Table, key: Column[object], *which: ColumnElement[bool]) -> int:
        some = select(key).where(*which).limit(ROWS_AT_ONCE)
        gone = delete(table).where(key.in_(some))
        total = 0
        for _ in range(ROUNDS_MAX):
            # Looking takes no write lock, and most times there is nothing to delete.
            if await self._database.read(lambda c: c.execute(some.limit(1)).first() is None, "look for old rows"):
                break
            total += await self._database.write(lambda c: c.execute(gone).rowcount, f"delete old {table.name}")
        return total


def _no_call(table: Table) -> ColumnElement[bool]:
    return ~exists().where(calls.c.call_sid == table.c.call_sid)
