"""What a live call tells of itself, kept whatever happens to the database, and without making the call wait.

Records go to the database one after another, in the order in which they were told. When it fails or is slow, they go to
the spool instead, and so does all that follows, until the spool has been stored, in order. Nothing here raises.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar

from realtime_bridge.errors import ProtocolError
from telephony import metrics
from telephony.store.errors import StoreError
from telephony.store.records import (
    Answered,
    Begun,
    Finished,
    Happened,
    Record,
    StatusTold,
    call_sid_of,
    decode_record,
    encode_record,
    store_record,
)
from telephony.store.rows import CallEnd, CallRow, CallStatus
from telephony.store.spool import Spool, Spooled, SpoolFullError
from telephony.store.store import Store

log = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_S: Final = 2.0  # for the database, before a record goes to the spool
DISK_S_MAX: Final = 5.0
WAITING_MAX: Final = 10_000  # records that were told and are neither stored nor spooled yet
RETRY_S: Final = 1.0
LOOK_S: Final = 30.0  # for what another process left in the spool when it died
CLOSE_S_MAX: Final = 15.0


@dataclass(slots=True)
class KeeperCounts:
    """Since the keeper was opened. `lost`: neither the database nor the spool took them; each was logged."""

    stored: int = 0
    spooled: int = 0
    drained: int = 0
    lost: int = 0


class RecordKeeper:
    """Open with `RecordKeeper.open`.

    Its methods return at once, and what they return may be awaited or ignored: True when the record is in the database,
    False when it waits in the spool, or is lost.
    """

    def __init__(self, store: Store, spool: Spool, disk: ThreadPoolExecutor, *, patience_s: float) -> None:
        self.counts = KeeperCounts()
        self._calls = store.calls
        self._spool = spool
        self._disk = disk
        self._patience_s = patience_s
        self._lane = asyncio.Lock()  # one record at a time, first come, first served
        self._waiting: set[asyncio.Task[bool]] = set()
        self._behind = spool.files > 0
        metrics.STORE_BEHIND.set(self._behind)
        self._fell_behind = asyncio.Event()
        self._is_full = False

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, store: Store, directory: Path, *, patience_s: float = PATIENCE_S, **limits: int
    ) -> AsyncIterator[RecordKeeper]:
        """`directory`: the spool's; several processes of a machine may share it. `limits`: as `Spool` takes them.

        What an earlier process left there is stored first. Leaving waits for what was told. Raises StoreError when the
        directory cannot be had.
        """
        disk = ThreadPoolExecutor(1, thread_name_prefix="spool")
        try:
            spool = await asyncio.get_running_loop().run_in_executor(disk, lambda: Spool(directory, **limits))
        except OSError as e:
            disk.shutdown(wait=False)
            raise StoreError(f"DATA_DIR: {directory} cannot be used: {e.strerror}", retryable=False) from e
        try:
            keeper = cls(store, spool, disk, patience_s=patience_s)
            drain = asyncio.create_task(keeper._drain(), name="drain the spool")
            try:
                yield keeper
            finally:
                if keeper._waiting:
                    await asyncio.wait(keeper._waiting, timeout=CLOSE_S_MAX)
                drain.cancel()
                await asyncio.wait([drain])
        finally:
            disk.shutdown(wait=False)  # a disk that hangs must not hold the loop

    @property
    def waiting(self) -> int:
        """Records on their way."""
        return len(self._waiting)

    @property
    def is_behind(self) -> bool:
        """Whether records wait in the spool for the database."""
        return self._behind

    def begin(self, call: CallRow) -> Awaitable[bool]:
        """As `Calls.begin`."""
        return self._keep(Begun(call))

    def status(self, call_sid: str, status: CallStatus, at: datetime, sequence: int | None = None) -> Awaitable[bool]:
        """As `Calls.status`."""
        return self._keep(StatusTold(call_sid, status, at, sequence))

    def answered(self, call_sid: str, node: str, at: datetime) -> Awaitable[bool]:
        """As `Calls.answered`."""
        return self._keep(Answered(call_sid, node, at))

    def event(self, call_sid: str, kind: str, data: dict[str, Any], at: datetime) -> Awaitable[bool]:
        """As `Calls.event`."""
        return self._keep(Happened(call_sid, kind, data, at, secrets.token_hex(16)))

    def finish(self, call_sid: str, end: CallEnd, *, call: CallRow | None = None) -> Awaitable[bool]:
        """As `Calls.finish`. Give the call too, where it is at hand: then its end needs no earlier record."""
        return self._keep(Finished(call_sid, end, call))

    # ---- one record --------------------------------------------------------------------------------------------------

    def _keep(self, record: Record) -> Awaitable[bool]:
        try:
            data = encode_record(record)
        except (TypeError, ValueError, RecursionError) as e:
            return self._lose(record, f"it is no JSON: {e}")
        if len(self._waiting) >= WAITING_MAX:
            return self._lose(record, f"{WAITING_MAX} others wait before it")
        task = asyncio.create_task(self._keep_in_turn(record, data), name="keep a record")
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)
        return asyncio.shield(task)  # who stops waiting for it does not stop it

    async def _keep_in_turn(self, record: Record, data: bytes) -> bool:
        try:
            async with self._lane:
                if not self._behind:
                    try:
                        async with asyncio.timeout(self._patience_s):
                            await store_record(self._calls, record)
                    except (StoreError, TimeoutError) as e:
                        if isinstance(e, StoreError) and not e.retryable:
                            await self._refused(record, await self._on_disk(self._spool.put, data), e)
                            return False
                        self._fall_behind(str(e) or f"no answer within {self._patience_s:g} s")
                    else:
                        self.counts.stored += 1
                        return True
                await self._on_disk(self._spool.put, data)
                self.counts.spooled += 1
                self._is_full = False
        except SpoolFullError as e:
            if not self._is_full:
                log.error("records of calls are lost from now on: %s", e)  # noqa: TRY400 - no trace: nothing went wrong here
            self._is_full = True
            self.counts.lost += 1
        except Exception as e:
            log.exception("a record could be kept nowhere")
            self._lose(record, type(e).__name__)
        return False

    def _fall_behind(self, why: str) -> None:
        log.warning("the database takes no records: they wait in %s (%s)", self._spool.directory, why)
        self._behind = True
        metrics.STORE_BEHIND.set(1)
        self._fell_behind.set()

    async def _refused(self, record: Record, name: str, error: StoreError) -> None:
        """The database will never take it."""
        where = await self._on_disk(self._spool.set_aside, name)
        self.counts.lost += 1
        log.error("call %s: a record cannot be stored, and lies in %s: %s", call_sid_of(record), where, error)

    def _lose(self, record: Record, why: str) -> Awaitable[bool]:
        self.counts.lost += 1
        log.error("call %s: a record (%s) is lost: %s", call_sid_of(record), type(record).__name__, why)
        lost: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        lost.set_result(False)
        return lost

    # ---- the spool ---------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        while True:
            try:
                emptied = await self._drain_once()
            except Exception:
                log.exception("the spool in %s cannot be emptied", self._spool.directory)
                emptied = False
            if emptied:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S):
                        await self._fell_behind.wait()
            self._fell_behind.clear()
            await asyncio.sleep(RETRY_S)

    async def _drain_once(self) -> bool:
        """Store what is in the spool, in order; whether nothing is left."""
        while found := await self._on_disk(self._spool.oldest):
            for spooled in found:
                if not await self._drain_file(spooled):
                    return False
        async with self._lane:  # nothing is put meanwhile, by this process
            if await self._on_disk(self._spool.measure):
                return False
            if self._behind:
                log.info("the database takes records again: none waits any more")
            self._behind = False
            metrics.STORE_BEHIND.set(0)
        return True

    async def _drain_file(self, spooled: Spooled) -> bool:
        """False: the database does not take it now."""
        if not await self._on_disk(self._spool.is_there, spooled.name):
            return True
        try:
            record = decode_record(spooled.data)
        except ProtocolError as e:
            where = await self._on_disk(self._spool.set_aside, spooled.name)
            log.error("the spool's record %s is damaged, and lies in %s: %s", spooled.name, where, e)  # noqa: TRY400 - the message says it all
            self.counts.lost += 1
            return True
        try:
            await store_record(self._calls, record)
        except StoreError as e:
            if e.retryable:
                return False
            await self._refused(record, spooled.name, e)
            return True
        await self._on_disk(self._spool.remove, spooled.name)
        self.counts.drained += 1
        return True

    async def _on_disk(self, work: Callable[..., T], *arguments: object) -> T:
        """In the spool's thread. Raises TimeoutError for a disk that hangs."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(DISK_S_MAX):
            return await loop.run_in_executor(self._disk, work, *arguments)
