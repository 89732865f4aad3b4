"""Postgres's LISTEN: a connection of its own, which waits for notices and comes back when it is lost.

A notice may be missed while it is away, so whoever is woken here must look for what is new, not for what was told.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from telephony.store.database import Database

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)

RECONNECT_S_MIN: Final = 0.2
RECONNECT_S_MAX: Final = 5.0
ANSWER_S_MAX: Final = 5.0
CANCEL_S_MAX: Final = 1.0
QUIET_S_MAX: Final = 30.0  # then the connection is tried: a server may vanish without a word


async def listen(database: Database, channel: str, wake: Callable[[], None]) -> None:
    """Call `wake` with each notice on the channel, and each time that notices may have been missed; until cancelled."""
    failures = 0
    while True:
        try:
            async with await _connect(database) as connection:
                await connection.execute(f"LISTEN {channel}".encode())
                if failures:
                    log.info("notices from Postgres come again")
                failures = 0
                await _hear(connection, wake)
        except Exception as e:  # noqa: BLE001 - whatever it is, the store goes on by looking now and then
            if not failures:
                log.warning("no notices from Postgres (%s): messages of other processes come late", type(e).__name__)
            failures += 1
        await asyncio.sleep(min(RECONNECT_S_MIN * 2**failures, RECONNECT_S_MAX))


async def _hear(connection: psycopg.AsyncConnection[Any], wake: Callable[[], None]) -> None:
    while True:
        wake()  # for what came before LISTEN, or was told while nobody waited
        async for _ in connection.notifies(timeout=QUIET_S_MAX):
            wake()
        async with asyncio.timeout(ANSWER_S_MAX):
            await connection.execute("SELECT 1")


async def _connect(database: Database) -> psycopg.AsyncConnection[Any]:
    import psycopg  # noqa: PLC0415 - of the `postgres` extra

    _, arguments = database.engine.dialect.create_connect_args(database.url)
    arguments.pop("context", None)  # SQLAlchemy's own types
    connect = psycopg.AsyncConnection.connect(**arguments, **database.connect_args, autocommit=True)
    connecting = asyncio.create_task(connect, name="connect to listen")
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        # Half a connection cannot be closed; a whole one can.
        await asyncio.wait([connecting], timeout=CANCEL_S_MAX)
        connecting.cancel()
        with contextlib.suppress(psycopg.Error, asyncio.CancelledError):
            await (await connecting).close()
        raise
