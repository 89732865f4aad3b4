"""What is stored of one person, by their number: to be shown to them, or to be forgotten; and words that are too old.

A call is that of the person on the other side, whoever called: our own number finds nothing here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from functools import partial
from typing import Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Text, and_, delete, exists, or_, select, type_coerce, update

from telephony.store.database import Database, columns_of, to_struct
from telephony.store.rows import ApprovalRow, AttemptRow, CallRow
from telephony.store.schema import (
    approvals,
    attempts,
    audit,
    calls,
    events,
    messages,
    stream_tokens,
    suppressions,
    tool_calls,
    turns,
)

CALLS_MAX: Final = 100_000  # of one person
CALLS_AT_ONCE: Final = 100
ERASED: Final = "erased"


class Person(msgspec.Struct, frozen=True):
    """Everything that leads to the rest of it. `suppressed`: on the list of numbers that must not be called."""

    calls: tuple[CallRow, ...]
    attempts: tuple[AttemptRow, ...]
    suppressed: bool

    def __repr__(self) -> str:
        return "Person(…)"


class People:
    """`Store.people`. Numbers are E.164. Each method raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, number: str) -> Person:
        """Oldest call first."""

        def work(c: Connection) -> Person:
            their_calls = select(*columns_of(calls, CallRow)).where(_theirs(number)).order_by(calls.c.created_at)
            their_attempts = select(*columns_of(attempts, AttemptRow)).where(attempts.c.to_number == number)
            listed = select(suppressions.c.number).where(suppressions.c.number == number)
            return Person(
                tuple(to_struct(CallRow, row) for row in c.execute(their_calls.limit(CALLS_MAX))),
                tuple(to_struct(AttemptRow, row) for row in c.execute(their_attempts.limit(CALLS_MAX))),
                c.execute(listed).first() is not None,
            )

        return await self._database.read(work, "look up what is stored of a number")

    async def approvals(self, call_sid: str) -> tuple[ApprovalRow, ...]:
        query = select(*columns_of(approvals, ApprovalRow)).where(approvals.c.call_sid == call_sid)
        return await self._database.read(
            lambda c: tuple(to_struct(ApprovalRow, row) for row in c.execute(query)), "read a call's approvals"
        )

    async def known(self, call_sids: Collection[str]) -> dict[str, CallRow]:
        """Those of these calls that are stored."""
        found: dict[str, CallRow] = {}
        for some in _batches(call_sids):
            found |= await self._database.read(partial(_known, some=some), "look up calls")
        return found

    async def erase(self, number: str, call_sids: Collection[str], attempt_ids: Collection[str]) -> None:
        """Delete these calls and attempts with all that belongs to them. The audit keeps who did what and when, and no
        longer to which number."""
        for some in _batches(call_sids):
            await self._database.write(partial(_erase_calls, some=some), "erase calls")
        for some in _batches(attempt_ids):
            await self._database.write(partial(_erase_attempts, some=some), "erase attempts")
        by_number = update(audit).where(audit.c.subject == number).values(subject=ERASED)
        await self._database.write(lambda c: c.execute(by_number), "erase a number from the audit")

    async def wordy(self, before: datetime, *, limit: int = CALLS_AT_ONCE) -> tuple[str, ...]:
        """Some calls that ended before then, and of which words or recordings are known; empty when there are none."""
        query = (
            select(calls.c.call_sid)
            .where(
                calls.c.ended_at < before,
                or_(
                    calls.c.recording.is_not(None),
                    exists().where(turns.c.call_sid == calls.c.call_sid),
                    exists().where(tool_calls.c.call_sid == calls.c.call_sid),
                ),
            )
            .limit(limit)
        )
        return await self._database.read(
            lambda c: tuple(row[0] for row in c.execute(query)), "look for words of calls long ago"
        )

    async def forget_words(self, call_sids: Collection[str]) -> None:
        """Delete what was said and done in these calls, at most `CALLS_AT_ONCE`; that they were made stays, and who
        approved which tool."""
        some = list(call_sids)

        def work(c: Connection) -> None:
            for table in (turns, tool_calls):
                c.execute(delete(table).where(table.c.call_sid.in_(some)))
            wordless: dict[str, object] = {"arguments": "{}", "details": {}, "message": None}
            c.execute(update(approvals).where(approvals.c.call_sid.in_(some)).values(wordless))
            wordy = or_(events.c.kind == "problem", events.c.kind.startswith("approval"))
            c.execute(update(events).where(events.c.call_sid.in_(some), wordy).values(data={}))
            query = select(calls.c.call_sid, calls.c.streams).where(calls.c.call_sid.in_(some))
            for call_sid, streams in c.execute(query).all():
                kept = [{**stream, "recording": None, "problems": []} for stream in streams]
                c.execute(
                    update(calls).where(calls.c.call_sid == call_sid).values(recording=None, streams=kept, problems=[])
                )

        await self._database.write(work, "forget what was said")


def _batches(ids: Collection[str]) -> Iterator[list[str]]:
    wanted = list(ids)
    return (wanted[at : at + CALLS_AT_ONCE] for at in range(0, len(wanted), CALLS_AT_ONCE))


def _known(c: Connection, some: list[str]) -> dict[str, CallRow]:
    query = select(*columns_of(calls, CallRow)).where(calls.c.call_sid.in_(some))
    return {row.call_sid: row for row in (to_struct(CallRow, found) for found in c.execute(query))}


def _erase_calls(c: Connection, some: list[str]) -> None:
    decided = c.execute(select(approvals.c.approval_id).where(approvals.c.call_sid.in_(some))).scalars().all()
    for table in (turns, tool_calls, events, approvals, stream_tokens, attempts, calls):
        c.execute(delete(table).where(table.c.call_sid.in_(some)))
    c.execute(update(audit).where(audit.c.subject.in_([*some, *decided])).values(data={}))
    # Commands to these calls, and their answers: there are few, and they would go within minutes anyway.
    body = type_coerce(messages.c.body, Text)
    c.execute(delete(messages).where(or_(*(body.contains(call_sid, autoescape=True) for call_sid in some))))


def _erase_attempts(c: Connection, some: list[str]) -> None:
    c.execute(delete(attempts).where(attempts.c.attempt_id.in_(some)))


def _theirs(number: str) -> ColumnElement[bool]:
    return or_(
        and_(calls.c.direction == "inbound", calls.c.from_number == number),
        and_(calls.c.direction == "outbound", calls.c.to_number == number),
    )
