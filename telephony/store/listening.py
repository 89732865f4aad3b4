"""Postgres's LISTEN: a connection of its own, which waits for notices and comes back when it is lost.

A notice may be missed while it is away, so whoever is woken here must look for what is new, not for what was told.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from telephony.store.database import Database

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

T = TypeVar("T")

RECONNECT_S_MIN: Final = 0.2
RECONNECT_S_MAX: Final = 5.0
ANSWER_S_MAX: Final = 10.0  # more than a connection's own limit
CANCEL_S_MAX: Final = 1.0
QUIET_S_MAX: Final = 30.0  # then the connection is tried: a server may vanish without a word


async def listen(database: Database, channel: str, wake: Callable[[], None]) -> None:
    """Call `wake` with each notice on the channel, and each time that notices may have been missed; until cancelled."""
    failures = 0
    while True:
        try:
            async with await _to_its_end(_connect(database, channel), undo=_close) as connection:
                if failures:
                    log.info("notices from Postgres come again")
                failures = 0
                while True:
                    wake()  # for what came before LISTEN, or was told while nobody waited
                    async for _ in connection.notifies(timeout=QUIET_S_MAX):
                        wake()
                    await _to_its_end(connection.execute("SELECT 1"))
        except Exception as e:  # noqa: BLE001 - whatever it is, the store goes on by looking now and then
            if not failures:
                log.warning("no notices from Postgres (%s): messages of other processes come late", type(e).__name__)
            failures += 1
        await asyncio.sleep(min(RECONNECT_S_MIN * 2 ** min(failures, 10), RECONNECT_S_MAX))


async def _connect(database: Database, channel: str) -> psycopg.AsyncConnection[Any]:
    import psycopg  # noqa: PLC0415 - of the `postgres` extra

    _, arguments = database.engine.dialect.create_connect_args(database.url)
    arguments.pop("context", None)  # SQLAlchemy's own types
    connection = await psycopg.AsyncConnection.connect(**arguments, **database.connect_args, autocommit=True)
    try:
        await connection.execute(f"LISTEN {channel}".encode())
    except psycopg.Error:
        await connection.close()
        raise
    return connection


async def _close(connection: psycopg.AsyncConnection[Any]) -> None:
    await connection.close()


async def _to_its_end(work: Coroutine[Any, Any, T], *, undo: Callable[[T], Awaitable[None]] | None = None) -> T:
    """In time, or not at all: Psycopg bears no cancelling in the middle of a statement, so who cancels waits for its end.

    `undo` is then done with its result. Raises TimeoutError for work that takes too long.
    """
    task = asyncio.create_task(work, name="listen: a statement")
    try:
        async with asyncio.timeout(ANSWER_S_MAX):
            return await asyncio.shield(task)
    except (asyncio.CancelledError, TimeoutError):
        await asyncio.wait([task], timeout=CANCEL_S_MAX)
        task.cancel()  # should it still not be done
        if undo is not None and task.done() and not task.cancelled() and task.exception() is None:
            await undo(task.result())
        raise
