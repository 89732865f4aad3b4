"""Outbound calls that were asked for, each stored before it is dialled, so that none is dialled twice.

Who asks brings an idempotency key: asking again with the same key finds the attempt that was made. After a crash, what
is unsettled is compared with Twilio's list of calls.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Update, case, or_, select, update

from realtime_bridge.errors import InternalError
from telephony.store.cursors import cursor_of, older_than
from telephony.store.database import Database, columns_of, to_struct, values_of
from telephony.store.rows import AttemptRow, AttemptStatus, CallStatus, Claim, Page
from telephony.store.schema import attempts
from telephony.store.states import UNDER_WAY, may_follow

PAGE_MAX: Final = 200

_ATTEMPT = columns_of(attempts, AttemptRow)


class Attempts:
    """`Store.attempts`. Each method raises StoreError."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def claim(self, row: AttemptRow) -> Claim:
        """Store an attempt before dialling. Dial only what is `fresh`; the row of another with the same key otherwise."""

        def work(c: Connection) -> Claim:
            fresh = self._database.put_new(c, attempts, values_of(row))
            found = _find(c, attempts.c.idempotency_key == row.idempotency_key)
            if found is None:
                raise InternalError(f"attempt {row.attempt_id} has the id of an attempt with another key")
            return Claim(found, fresh)

        return await self._database.write(work, "store an attempt to call")

    async def placed(self, attempt_id: str, call_sid: str) -> bool:
        """Twilio took the call, as its answer or its first webhook tells. False when we had given the attempt up, or it
        has another call."""
        change = (
            update(attempts)
            .where(
                attempts.c.attempt_id == attempt_id,
                attempts.c.status != "refused",
                or_(attempts.c.call_sid.is_(None), attempts.c.call_sid == call_sid),
            )
            .values(
                call_sid=call_sid,
                status=case((attempts.c.status == "claimed", "queued"), else_=attempts.c.status),
                updated_at=self._clock(),
            )
        )
        return await self._change(change)

    async def refused(self, attempt_id: str, code: int | None, reason: str) -> bool:
        """It was not placed, and will not be: by Twilio (its error `code`), or by us. False when it is over already."""
        return await self._advance((attempts.c.attempt_id == attempt_id,), "refused", {"code": code, "reason": reason})

    async def update(
        self,
        call_sid: str,
        status: CallStatus,
        *,
        answered_by: str | None = None,
        code: int | None = None,
        reason: str | None = None,
    ) -> bool:
        """What Twilio tells about a placed call; whether anything changed. States move forward only; who answered is
        kept whenever it comes."""
        told = {"answered_by": answered_by, "code": code, "reason": reason}
        values = {name: value for name, value in told.items() if value is not None}
        of_call = (attempts.c.call_sid == call_sid,)
        advanced = await self._advance(of_call, status, values)
        if advanced or answered_by is None:
            return advanced
        return await self.answered_by(call_sid, answered_by)

    async def answered_by(self, call_sid: str, answered_by: str) -> bool:
        """Who has answered a placed call; whether it was news."""
        unknown = (attempts.c.call_sid == call_sid, attempts.c.answered_by.is_(None))
        return await self._write(unknown, {"answered_by": answered_by})

    async def unsettled(self, before: datetime, *, limit: int = PAGE_MAX) -> tuple[AttemptRow, ...]:
        """Those from before that time that are not over, oldest first."""
        query = (
            select(*_ATTEMPT)
            .where(attempts.c.status.in_(UNDER_WAY), attempts.c.created_at < before)
            .order_by(attempts.c.created_at)
            .limit(limit)
        )
        return await self._rows(query, "look for unsettled attempts")

    async def get(self, attempt_id: str) -> AttemptRow | None:
        return await self._one(attempts.c.attempt_id == attempt_id)

    async def by_call(self, call_sid: str) -> AttemptRow | None:
        return await self._one(attempts.c.call_sid == call_sid)

    async def by_key(self, idempotency_key: str) -> AttemptRow | None:
        return await self._one(attempts.c.idempotency_key == idempotency_key)

    async def list(
        self, *, status: AttemptStatus | None = None, before: str | None = None, limit: int = 50
    ) -> Page[AttemptRow]:
        """Newest first. `before`: of the page before this one. Raises MisuseError for a wrong one."""
        limit = max(1, min(limit, PAGE_MAX))
        query = select(*_ATTEMPT).order_by(attempts.c.created_at.desc(), attempts.c.attempt_id.desc()).limit(limit + 1)
        if status is not None:
            query = query.where(attempts.c.status == status)
        if before is not None:
            query = query.where(older_than(attempts.c.created_at, attempts.c.attempt_id, before))
        rows = await self._rows(query, "list attempts")
        page = rows[:limit]
        return Page(page, cursor_of(page[-1].created_at, page[-1].attempt_id) if len(rows) > limit else None)

    async def _advance(self, which: tuple[ColumnElement[bool], ...], status: str, values: dict[str, Any]) -> bool:
        return await self._write((*which, attempts.c.status.in_(may_follow(status))), values | {"status": status})

    async def _write(self, which: tuple[ColumnElement[bool], ...], values: dict[str, Any]) -> bool:
        return await self._change(update(attempts).where(*which).values(values | {"updated_at": self._clock()}))

    async def _change(self, change: Update) -> bool:
        return await self._database.write(lambda c: c.execute(change).rowcount == 1, "store what became of an attempt")

    async def _one(self, condition: ColumnElement[bool]) -> AttemptRow | None:
        return await self._database.read(lambda c: _find(c, condition), "look up an attempt")

    async def _rows(self, query: Any, what: str) -> tuple[AttemptRow, ...]:
        return await self._database.read(lambda c: tuple(to_struct(AttemptRow, row) for row in c.execute(query)), what)


def _find(c: Connection, condition: ColumnElement[bool]) -> AttemptRow | None:
    row = c.execute(select(*_ATTEMPT).where(condition)).first()
    return None if row is None else to_struct(AttemptRow, row)
