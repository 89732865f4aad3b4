"""The store as a whole: opened once per process, migrated, with its background work (bus, sweeping)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import text

from telephony.store.access import Access
from telephony.store.approvals import Approvals
from telephony.store.attempts import Attempts
from telephony.store.bus import CHANNEL, Bus
from telephony.store.calls import Calls
from telephony.store.database import Database, open_database
from telephony.store.errors import StoreError
from telephony.store.forgetting import Forgetting
from telephony.store.listening import listen
from telephony.store.migrate import migrate
from telephony.store.nodes import Nodes
from telephony.store.people import People
from telephony.store.shared_clock import SharedClock
from telephony.store.stream_tokens import StreamTokens
from telephony.store.suppressions import Suppressions

log = logging.getLogger(__name__)

CLOSE_S_MAX: Final = 5.0
RESTART_S: Final = 1.0
SWEEP_S: Final = 60.0
SILENT_NODES_KEPT: Final = timedelta(days=7)


class Store:
    """All parts of the store on one database; `async with Store.open(url, node=…) as store`."""

    def __init__(self, database: Database, node: str, clock: Callable[[], datetime]) -> None:
        self.node = node
        self.calls = Calls(database, clock)
        self.approvals = Approvals(database, clock)
        self.attempts = Attempts(database, clock)
        self.suppressions = Suppressions(database, clock)
        self.access = Access(database, clock)
        self.stream_tokens = StreamTokens(database)
        self.nodes = Nodes(database, clock)
        self.forgetting = Forgetting(database)
        self.people = People(database)
        self.bus = Bus(database, node, clock)
        self._database = database
        self._clock = clock

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, url: str, *, node: str, clock: Callable[[], datetime] | None = None) -> AsyncIterator[Store]:
        """Connect to the database of a DATABASE_URL, and bring it up to date. `node`: this process's name, unlike that
        of any other that uses the database. `clock`: by default the database's. Raises StoreError, which says what to
        do."""
        async with open_database(url) as database:
            await migrate(database)
            if clock is None:
                clock = SharedClock(database)
                await clock.measure()
            store = cls(database, node, clock)
            await store.bus.start()
            tasks = [asyncio.create_task(_kept_up(name, work), name=name) for name, work in store._background().items()]
            try:
                yield store
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks, timeout=CLOSE_S_MAX)

    def now(self) -> datetime:
        """The time of day that all processes on this database share: what is stored, and compared with what is stored,
        goes by it."""
        return self._clock()

    async def ping(self) -> None:
        """Whether the database answers. Raises StoreError when it does not."""
        await self._database.read(lambda c: c.execute(text("SELECT 1")), "reach the database")

    def _background(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Work that goes on while the store is open; none of it ends by itself."""
        work: dict[str, Callable[[], Awaitable[None]]] = {"bus": self.bus.run, "sweep": self._sweep}
        if not self._database.is_sqlite:
            work["listen"] = lambda: listen(self._database, CHANNEL, self.bus.wake)
        return work

    async def _sweep(self) -> None:
        """Delete what has had its time."""
        while True:
            try:
                if isinstance(self._clock, SharedClock):
                    await self._clock.measure()
                await self.bus.forget_old()
                await self.stream_tokens.forget_expired(self._clock())
                await self.nodes.forget_silent(self._clock() - SILENT_NODES_KEPT)
            except StoreError as e:
                log.warning("old rows stay for now: %s", e)
            await asyncio.sleep(SWEEP_S)


async def _kept_up(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Begin it again when it fails, which it should not: a process without its bus would hear no commands."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("the store's %s failed, and begins again", name)
        await asyncio.sleep(RESTART_S)
