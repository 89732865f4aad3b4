"""The calls: who, when, with which agent, how they went and how they ended.

Everything may be told twice, late and out of order. A call's row is made by whoever hears of the call first; states
only move forward (`states.py`); the end is stored once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Table, func, insert, literal, or_, select, text, update

from telephony.store.cursors import cursor_of, older_than
from telephony.store.database import Database, columns_of, to_struct, values_of
from telephony.store.errors import StoreError
from telephony.store.rows import (
    CallEnd,
    CallFilter,
    CallRow,
    CallStatus,
    EventRow,
    Page,
    StreamEnd,
    ToolRow,
    TurnRow,
)
from telephony.store.schema import GOING_ON, calls, events, tool_calls, turns
from telephony.store.states import UNDER_WAY, is_final, may_follow

PAGE_MAX: Final = 200
EVENTS_MAX: Final = 1000

PartT = TypeVar("PartT", TurnRow, ToolRow)

_CALL = columns_of(calls, CallRow)
# Filled in where a later message knows what the first did not.
_LATER_KNOWN: Final = ("agent", "node", "parent_call_sid", "attempt_id")


class Calls:
    """`Store.calls`. Each method raises StoreError."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def begin(self, row: CallRow) -> bool:
        """Store a call; whether it was new. Of a known one, what was empty is filled in, and the state moves forward."""
        return await self._database.write(lambda c: self._begin(c, row), "store a call")

    async def status(self, call_sid: str, status: CallStatus, at: datetime, sequence: int | None = None) -> bool:
        """A status callback; whether it changed anything. False too for a call that was never begun.

        `sequence`: Twilio's SequenceNumber, by which a late callback is known; the final states need none.
        """
        return await self._database.write(lambda c: _status(c, call_sid, status, at, sequence), "store a call's status")

    async def answered(self, call_sid: str, node: str, at: datetime) -> bool:
        """This node has the call now, perhaps again: it comes back from elsewhere, and is not over. False when the call
        is not known."""

        def work(c: Connection) -> bool:
            _status(c, call_sid, "in-progress", at, None)
            _reopen(c, call_sid, at)
            answer = {"node": node, "answered_at": _first(calls.c.answered_at, at)}
            return c.execute(update(calls).where(calls.c.call_sid == call_sid).values(answer)).rowcount == 1

        return await self._database.write(work, "store that a call was answered")

    async def finish(self, call_sid: str, end: CallEnd, *, call: CallRow | None = None) -> bool:
        """How a stream of the call ended, with what was said; whether it was stored. `call`: begins it, if need be.

        Each stream's end is stored once, after those that are there. A reconstructed end is believed where no other was
        told, and gives way to one that is.
        Raises StoreError, not retryable, for a call that is not known.
        """
        return await self._database.write(lambda c: self._finish(c, call_sid, end, call), "store a call's end")

    async def event(
        self, call_sid: str, kind: str, data: dict[str, Any], at: datetime, *, event_key: str | None = None
    ) -> bool:
        """Something that happened; whether it was new. An event with the key of another one is a repetition of it."""
        values = {"call_sid": call_sid, "kind": kind, "data": data, "at": at, "event_key": event_key}
        return await self._database.write(
            lambda c: self._database.put_new(c, events, values), "store an event of a call"
        )

    async def get(self, call_sid: str) -> CallRow | None:
        query = select(*_CALL).where(calls.c.call_sid == call_sid)
        found = await self._rows(query, "look up a call")
        return found[0] if found else None

    async def turns(self, call_sid: str) -> tuple[TurnRow, ...]:
        """What was said, in order; empty before the call has finished."""
        return await self._parts(turns, TurnRow, call_sid)

    async def tools(self, call_sid: str) -> tuple[ToolRow, ...]:
        """The tools that were called, in order; empty before the call has finished."""
        return await self._parts(tool_calls, ToolRow, call_sid)

    async def events(self, call_sid: str, *, after: int = 0, limit: int = EVENTS_MAX) -> tuple[EventRow, ...]:
        """In the order in which they were stored; `after`: the last `event_id` that is known already."""
        query = (
            select(*columns_of(events, EventRow))
            .where(events.c.call_sid == call_sid, events.c.event_id > after)
            .order_by(events.c.event_id)
            .limit(min(limit, EVENTS_MAX))
        )
        return await self._database.read(
            lambda c: tuple(to_struct(EventRow, row) for row in c.execute(query)), "read a call's events"
        )

    async def list(
        self,
        wanted: CallFilter = CallFilter(),  # noqa: B008 - frozen
        *,
        before: str | None = None,
        limit: int = 50,
    ) -> Page[CallRow]:
        """Newest first, by `created_at`. `before`: of the page before this one. Raises MisuseError for a wrong one."""
        limit = max(1, min(limit, PAGE_MAX))
        query = select(*_CALL).where(*_conditions(wanted))
        if before is not None:
            query = query.where(older_than(calls.c.created_at, calls.c.call_sid, before))
        query = query.order_by(calls.c.created_at.desc(), calls.c.call_sid.desc()).limit(limit + 1)
        rows = await self._rows(query, "list calls")
        page = rows[:limit]
        more = cursor_of(page[-1].created_at, page[-1].call_sid) if len(rows) > limit else None
        return Page(page, more)

    async def past(self, number: str, limit: int = 5) -> tuple[CallRow, ...]:
        """The last calls with this number, on either side, that are over; newest first. None for a withheld number."""
        if not number:
            return ()
        query = (
            select(*_CALL)
            .where(_with(number), calls.c.ended_at.is_not(None))
            .order_by(calls.c.created_at.desc())
            .limit(min(limit, PAGE_MAX))
        )
        return await self._rows(query, "look up a number's past calls")

    async def unfinished(self, node: str | None = None, *, limit: int = PAGE_MAX) -> tuple[CallRow, ...]:
        """Calls whose end nobody told, oldest first; of one node, or of all. Those that are going on are among them."""
        query = select(*_CALL).where(calls.c.finished_at.is_(None)).order_by(calls.c.created_at).limit(limit)
        if node is not None:
            query = query.where(calls.c.node == node)
        return await self._rows(query, "look for unfinished calls")

    async def untold(self, before: datetime, *, limit: int = PAGE_MAX) -> tuple[CallRow, ...]:
        """Calls whose last stream's end was stored before then, and whose final state at Twilio nobody told; oldest first.
        Those that were transferred may go on there."""
        query = (
            select(*_CALL)
            .where(text(GOING_ON), calls.c.finished_at < before)
            .order_by(calls.c.finished_at)
            .limit(limit)
        )
        return await self._rows(query, "look for calls without a final state")

    # ---- inside a transaction ----------------------------------------------------------------------------------------

    def _begin(self, c: Connection, row: CallRow) -> bool:
        if self._database.put_new(c, calls, values_of(row)):
            return True
        _status(c, row.call_sid, row.status, row.created_at, row.sequence)
        known = {name: _first(calls.c[name], getattr(row, name)) for name in _LATER_KNOWN}
        known |= {name: getattr(row, name) for name in ("parameters", "carrier") if getattr(row, name)}
        c.execute(update(calls).where(calls.c.call_sid == row.call_sid).values(known))
        return False

    def _finish(self, c: Connection, call_sid: str, end: CallEnd, call: CallRow | None) -> bool:
        if call is not None:
            self._begin(c, call)
        if end.status is not None:
            _status(c, call_sid, end.status, end.ended_at, None)
        row = self._locked(c, call_sid)
        if row is None:
            raise StoreError(f"the end of call {call_sid} cannot be stored: it was never begun", retryable=False)
        if not _is_news(row, end):
            return False
        streams = (*row.streams, _stream_of(end)) if end.stream_sid else row.streams
        told = totals(streams) if end.stream_sid else _without_stream(streams, end)
        last = max([end.ended_at, *(stream.ended_at for stream in streams)])
        told |= {
            "streams": streams,
            "finished_at": self._clock(),
            "reconstructed": end.reconstructed,
            "ended_at": row.ended_at if is_final(row.status) and row.ended_at is not None else last,
        }
        c.execute(update(calls).where(calls.c.call_sid == call_sid).values(told))
        _append(c, turns, end.transcript, call_sid, max(len(streams), 1))
        _append(c, tool_calls, end.tools, call_sid, max(len(streams), 1))
        return True

    def _locked(self, c: Connection, call_sid: str) -> CallRow | None:
        """The call as it stands, which nobody else changes before this transaction has ended."""
        found = c.execute(select(*_CALL).where(calls.c.call_sid == call_sid).with_for_update()).first()
        return None if found is None else to_struct(CallRow, found)

    async def _rows(self, query: Any, what: str) -> tuple[CallRow, ...]:
        return await self._database.read(lambda c: tuple(to_struct(CallRow, row) for row in c.execute(query)), what)

    async def _parts(self, table: Table, kind: type[PartT], call_sid: str) -> tuple[PartT, ...]:
        query = select(*columns_of(table, kind)).where(table.c.call_sid == call_sid).order_by(table.c.position)
        return await self._database.read(
            lambda c: tuple(to_struct(kind, row) for row in c.execute(query)), "read what happened in a call"
        )


def _status(c: Connection, call_sid: str, status: str, at: datetime, sequence: int | None) -> bool:
    """One statement, so that two callbacks at once cannot both win."""
    allowed = [calls.c.call_sid == call_sid, calls.c.status.in_(may_follow(status))]
    told: dict[str, Any] = {"status": status}
    if sequence is not None:
        told["sequence"] = sequence
        if not is_final(status):
            allowed.append(or_(calls.c.sequence.is_(None), calls.c.sequence < sequence))
    if status == "in-progress":
        told["answered_at"] = _first(calls.c.answered_at, at)
    if is_final(status):
        told["ended_at"] = _first(calls.c.ended_at, at)
    return c.execute(update(calls).where(*allowed).values(told)).rowcount == 1


def _reopen(c: Connection, call_sid: str, at: datetime) -> None:
    """A call whose earlier stream has ended goes on with another one, answered then. A repetition of what was told of the
    earlier one has an earlier time."""
    ended_before = (calls.c.finished_at.is_not(None), calls.c.status.in_(UNDER_WAY), calls.c.ended_at < at)
    going_on = {"finished_at": None, "ended_at": None, "disposition": None, "reconstructed": False}
    c.execute(update(calls).where(calls.c.call_sid == call_sid, *ended_before).values(going_on))


def _append(c: Connection, table: Table, parts: Sequence[PartT], call_sid: str, stream: int) -> None:
    if not parts:
        return
    last = c.execute(select(func.max(table.c.position)).where(table.c.call_sid == call_sid)).scalar()
    first = 0 if last is None else last + 1
    numbered = [
        {**values_of(part), "call_sid": call_sid, "position": at, "stream": stream}
        for at, part in enumerate(parts, first)
    ]
    c.execute(insert(table), numbered)


def _is_news(row: CallRow, end: CallEnd) -> bool:
    if end.stream_sid:
        return all(stream.stream_sid != end.stream_sid for stream in row.streams)
    return row.finished_at is None or (row.reconstructed and not end.reconstructed)


def _without_stream(streams: Sequence[StreamEnd], end: CallEnd) -> dict[str, Any]:
    """The end of a call that nobody had, or whose last stream nobody told of."""
    told = totals(streams)
    return told | {
        "duration_ms": max(told["duration_ms"], end.duration_ms),
        "disposition": end.disposition,
        "recording": told["recording"] or end.recording,
        "usage": told["usage"] or end.usage,
        "cost_usd": end.cost_usd if told["cost_usd"] is None else told["cost_usd"],
        "problems": (*told["problems"], *end.problems),
    }


def _stream_of(end: CallEnd) -> StreamEnd:
    return StreamEnd(**{name: getattr(end, name) for name in StreamEnd.__struct_fields__})


def totals(streams: Sequence[StreamEnd]) -> dict[str, Any]:
    """What a call's row says of its streams. Pure."""
    in_order = sorted(streams, key=lambda stream: stream.ended_at)
    costs = [stream.cost_usd for stream in streams if stream.cost_usd is not None]
    usages = [stream.usage for stream in streams if stream.usage is not None]
    return {
        "duration_ms": sum(stream.duration_ms for stream in streams),
        "disposition": in_order[-1].disposition if in_order else None,
        "recording": next((stream.recording for stream in in_order if stream.recording is not None), None),
        "usage": _added(usages) if usages else None,
        "cost_usd": sum(costs) if costs else None,
        "problems": tuple(problem for stream in in_order for problem in stream.problems),
    }


def _added(usages: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts, each with its like."""
    names = dict.fromkeys(name for usage in usages for name in usage)
    return {name: sum(usage.get(name, 0) for usage in usages) for name in names}


def _first(column: Column[Any], value: object) -> ColumnElement[Any]:
    """What the column holds already, otherwise the value."""
    return func.coalesce(column, literal(value, column.type))


def _with(number: str) -> ColumnElement[bool]:
    return or_(calls.c.from_number == number, calls.c.to_number == number)


def _conditions(wanted: CallFilter) -> list[ColumnElement[bool]]:
    same = [
        calls.c[name] == value
        for name in ("direction", "status", "agent", "node")
        if (value := getattr(wanted, name)) is not None
    ]
    if wanted.number is not None:
        same.append(_with(wanted.number))
    if wanted.since is not None:
        same.append(calls.c.created_at >= wanted.since)
    if wanted.until is not None:
        same.append(calls.c.created_at < wanted.until)
    return same
