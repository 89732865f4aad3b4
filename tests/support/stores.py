"""Stores for tests, and rows to put into them."""

import asyncio
import contextlib
import sqlite3
from datetime import UTC, datetime, timedelta

from telephony.store import Store
from telephony.store.rows import ApprovalRow, AttemptRow, CallEnd, CallRow

NOON = datetime(2026, 3, 14, 12, 0, 0, 123456, tzinfo=UTC)
CALLER = "+15005550006"
OURS = "+15005550001"


class Clock:
    """Stands still until it is told the time."""

    def __init__(self, now=NOON):
        self.now = now

    def __call__(self):
        return self.now

    def pass_s(self, seconds):
        self.now += timedelta(seconds=seconds)


@contextlib.asynccontextmanager
async def stores(url, count, clock=None):
    """That many nodes on one database."""
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Store.open(url, node=f"node-{number}", clock=clock or Clock()))
            for number in range(count)
        ]


@contextlib.asynccontextmanager
async def opened(url, clock=None):
    async with stores(url, 1, clock) as (store,):
        yield store


@contextlib.asynccontextmanager
async def locked(sqlite_url):
    """Somebody else's write transaction. Awaits its turn in a thread: a store of this very loop may be writing."""
    path = sqlite_url.removeprefix("sqlite:///")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        await asyncio.to_thread(other.execute, "BEGIN IMMEDIATE")
        yield other


def call(call_sid="CA1", **fields):
    known = {
        "direction": "inbound",
        "from_number": CALLER,
        "to_number": OURS,
        "created_at": NOON,
        "agent": "Front desk",
    }
    return CallRow(call_sid=call_sid, **(known | fields))


def call_end(**fields):
    known = {
        "stream_sid": "MZ1",
        "disposition": "caller hung up",
        "ended_at": NOON + timedelta(seconds=90),
        "duration_ms": 90_000,
    }
    return CallEnd(**(known | fields))


def approval(approval_id="ap-1", **fields):
    known = {
        "call_sid": "CA1", "call_id": "item-1", "agent": "Front desk", "tool": "refund",
        "arguments": '{"amount": 1.50,  "order": "A-1"}', "asked_at": NOON, "expires_at": NOON + timedelta(minutes=5),
    }  # fmt: skip
    return ApprovalRow(approval_id=approval_id, **(known | fields))


def attempt(attempt_id="at-1", key="key-1", **fields):
    known = {"to_number": CALLER, "from_number": OURS, "created_at": NOON}
    return AttemptRow(attempt_id=attempt_id, idempotency_key=key, **(known | fields))
