"""One database behind all parts of the store: its connections, transactions, time limits and errors.

Work is a plain function of a SQLAlchemy connection, run in one transaction: `await database.write(work, "what it does")`.
Every such call answers within a time limit, whatever the database, its lock or its disk does: work that takes longer is
given up and ends by itself in the background.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import Connection, Table, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from realtime_bridge.errors import MisuseError
from telephony import metrics
from telephony.store.errors import StoreError

log = logging.getLogger(__name__)

T = TypeVar("T")
StructT = TypeVar("StructT", bound=msgspec.Struct)

CONNECT_S_MAX: Final = 5
STATEMENT_S_MAX: Final = 5.0
WORK_S_MAX: Final = 10.0  # a transaction with all its statements, the wait for a connection included
POOL_MAX: Final = 10  # connections of one process
POOL_KEPT: Final = 5
CLOSE_S_MAX: Final = 3.0
REASON_CHARACTERS_MAX: Final = 300
_READS: Final = "realtime_bridge_reads"
_REBUILDS: Final = "realtime_bridge_rebuilds"
_PATIENCE: Final = "realtime_bridge_patience"


class _Patience:
    """Of whoever asked for some work."""

    def __init__(self) -> None:
        self.is_over = False

    def check(self) -> None:
        if self.is_over:
            raise TimeoutError


class Database:
    """Open with `open_database`."""

    def __init__(self, url: URL, engine: AsyncEngine, connect_args: dict[str, Any]) -> None:
        self.url = url
        self.engine = engine
        self.connect_args = connect_args  # time limits of a connection
        self.is_sqlite = url.get_backend_name() == "sqlite"
        # Writers of one process take turns here, in order; SQLite would have them poll its lock, in no order.
        self._turn = asyncio.Lock()
        self._work: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def read(self, work: Callable[[Connection], T], what: str, *, seconds_max: float | None = None) -> T:
        """Run `work` in a transaction that does not write. `what` it does completes "could not …". Raises StoreError."""
        return await self._bounded(self._read, work, what, seconds_max or WORK_S_MAX)

    async def write(self, work: Callable[[Connection], T], what: str, *, seconds_max: float | None = None) -> T:
        """Run `work` in a transaction, which is committed when it returns and undone when it raises. Raises StoreError.

        On SQLite the transaction holds the only write lock from its beginning, so what it read cannot have changed.
        """
        return await self._bounded(self._write, work, what, seconds_max or WORK_S_MAX)

    async def rebuild(self, work: Callable[[Connection], T], what: str, *, seconds_max: float) -> T:
        """As `write`, for changes of tables, on a connection of its own.

        SQLite changes a table by copying it and dropping the first one, and would delete what refers to that: foreign
        keys are off here.
        """
        return await self._bounded(self._rebuild, work, what, seconds_max)

    def insert(self, table: Table) -> sqlite.Insert | postgresql.Insert:
        """An INSERT of this database, which knows ON CONFLICT."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def put_new(self, c: Connection, table: Table, values: dict[str, Any]) -> bool:
        """Insert a row, unless there is one with its key; whether it was inserted."""
        statement = self.insert(table).values(values).on_conflict_do_nothing()
        return c.execute(statement.execution_options(preserve_rowcount=True)).rowcount == 1

    async def close(self) -> None:
        """Wait for what is still at work, bounded, and close the connections."""
        self._closed = True
        if self._work:
            await asyncio.wait(self._work, timeout=CLOSE_S_MAX)
        for task in self._work:
            task.cancel()
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await self.engine.dispose()
        except Exception:
            log.exception("the database's connections could not be closed in order")

    async def _read(self, work: Callable[[Connection], T], patience: _Patience) -> T:
        async with self.engine.connect() as connection:
            await connection.execution_options(**{_READS: True, _PATIENCE: patience})
            return await connection.run_sync(work)

    async def _write(self, work: Callable[[Connection], T], patience: _Patience) -> T:
        async with contextlib.AsyncExitStack() as stack:
            if self.is_sqlite:
                await stack.enter_async_context(self._turn)
            connection = await stack.enter_async_context(self.engine.connect())
            await connection.execution_options(**{_READS: False, _PATIENCE: patience})
            async with connection.begin():
                result = await connection.run_sync(work)
                patience.check()  # what was given up is not committed
            return result

    async def _rebuild(self, work: Callable[[Connection], T], patience: _Patience) -> T:
        async with self.engine.connect() as connection:
            await connection.execution_options(**{_READS: False, _REBUILDS: True, _PATIENCE: patience})
            try:
                async with connection.begin():
                    result = await connection.run_sync(work)
                    patience.check()
                return result
            finally:
                await connection.invalidate()  # no one else is to have it as it is

    async def _bounded(
        self,
        run: Callable[[Callable[[Connection], T], _Patience], Coroutine[Any, Any, T]],
        work: Callable[[Connection], T],
        what: str,
        seconds_max: float,
    ) -> T:
        """In a task of its own, which is never cancelled: in the middle of a statement, drivers leave transactions open.

        It ends by itself: after the time limit no statement begins, and each has a time limit of its own.
        """
        if self._closed:
            raise MisuseError(f"could not {what}: the store is closed")
        patience = _Patience()
        task = asyncio.create_task(run(work, patience), name=what)
        self._work.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait([task], timeout=seconds_max)
        if not task.done():
            patience.is_over = True
            metrics.STORE_ERRORS.labels("yes").inc()
            raise StoreError(
                f"could not {what}: the database did not answer within {seconds_max:g} s. "
                "Look at its load and its disk; the request may be repeated",
                retryable=True,
            )
        try:
            return task.result()
        except (DBAPIError, StatementError, PoolTimeoutError, OSError, TimeoutError) as e:
            # Not as the cause: a driver's message may hold what was to be stored.
            error = store_error(e, what)
            metrics.STORE_ERRORS.labels("yes" if error.retryable else "no").inc()
            raise error from None
        except msgspec.MsgspecError:
            raise StoreError(
                f"could not {what}: a row is none that this program writes; look who else writes to the database",
                retryable=False,
            ) from None

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._work.discard(task)
        if not task.cancelled():
            task.exception()  # seen; whoever waited was told, or was told of the time limit


@contextlib.asynccontextmanager
async def open_database(url: str) -> AsyncIterator[Database]:
    """A database as in DATABASE_URL; SQLite's file is made. Raises StoreError when the URL or the driver is no good."""
    logging.getLogger("aiosqlite").setLevel(logging.INFO)  # below, it would tell each value that is stored
    engine_url = _engine_url(url)
    connect_args = _connect_args(engine_url)
    try:
        engine = create_async_engine(
            engine_url,
            pool_size=POOL_KEPT,
            max_overflow=POOL_MAX - POOL_KEPT,
            pool_timeout=STATEMENT_S_MAX,
            pool_pre_ping=engine_url.get_backend_name() != "sqlite",
            pool_reset_on_return="rollback",
            hide_parameters=True,  # in error messages
            connect_args=connect_args,
        )
    except ModuleNotFoundError as e:
        raise StoreError(
            f"DATABASE_URL: Postgres needs {e.name}; install it with: pip install 'realtime-bridge[postgres]'",
            retryable=False,
        ) from e
    event.listen(engine.sync_engine, "before_cursor_execute", _check_patience)
    if engine_url.get_backend_name() == "sqlite":
        event.listen(engine.sync_engine, "connect", _set_up_sqlite)
        event.listen(engine.sync_engine, "begin", _begin_sqlite)
    else:
        event.listen(engine.sync_engine, "connect", _set_up_postgres)
    database = Database(engine_url, engine, connect_args)
    try:
        yield database
    finally:
        await database.close()


def columns_of(table: Table, row: type[msgspec.Struct]) -> list[Any]:
    """The columns that a row has, in its order."""
    return [table.c[name] for name in row.__struct_fields__]


def to_struct(kind: type[StructT], row: Sequence[Any]) -> StructT:
    """What was selected by `columns_of`, as a row of `rows.py`."""
    return msgspec.convert(dict(zip(kind.__struct_fields__, row, strict=False)), kind)


def values_of(row: msgspec.Struct) -> dict[str, Any]:
    """What to store of a row, by column."""
    return {name: getattr(row, name) for name in row.__struct_fields__}


# ---- URLs and connections --------------------------------------------------------------------------------------------


def _engine_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is not None and parsed.drivername == "sqlite":
        return _sqlite_url(parsed)
    if parsed is not None and parsed.drivername == "postgresql":
        return parsed.set(drivername="postgresql+psycopg")
    raise StoreError(
        "DATABASE_URL: expected sqlite:///PATH or postgresql://USER:PASSWORD@HOST/DATABASE", retryable=False
    )


def _sqlite_url(url: URL) -> URL:
    """Its file and folder are made here, for our eyes only: they hold phone numbers."""
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise StoreError(
            "DATABASE_URL: SQLite needs a file here, such as sqlite:///data/realtime-bridge.db", retryable=False
        )
    path = Path(url.database)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as e:
        raise StoreError(f"DATABASE_URL: {path} cannot be written: {e.strerror}", retryable=False) from e
    return url.set(drivername="sqlite+aiosqlite")


def _connect_args(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"timeout": STATEMENT_S_MAX}  # SQLite's busy_timeout
    patience = {
        "connect_timeout": CONNECT_S_MAX,
        # A server that vanished without a word is noticed, instead of waited for.
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 15_000,
        "application_name": "realtime-bridge",
    }
    return {name: value for name, value in patience.items() if name not in url.query}


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where we say, see _begin_sqlite
    cursor = connection.cursor()
    # Readers and the writer do not wait for each other. Kept in the file; who comes while another one switches to it is
    # told that the file is busy, and finds it done.
    with contextlib.suppress(sqlite3.OperationalError):
        cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute("PRAGMA synchronous = NORMAL")  # with WAL: safe against crashes, and a power cut undoes whole ones
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get(_REBUILDS, False):
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")  # heeded outside transactions only
    reads = options.get(_READS, False)
    # A transaction that becomes a writer halfway fails where another one wrote meanwhile: so it is one from the start.
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


def _check_patience(connection: Connection, *_: object) -> None:
    patience: _Patience | None = connection.get_execution_options().get(_PATIENCE)
    if patience is not None:
        patience.check()


def _set_up_postgres(connection: Any, _record: object) -> None:
    milliseconds = int(STATEMENT_S_MAX * 1000)
    cursor = connection.cursor()
    cursor.execute(f"SET statement_timeout = {milliseconds}")
    cursor.execute(f"SET lock_timeout = {milliseconds}")
    cursor.execute(f"SET idle_in_transaction_session_timeout = {2 * milliseconds}")
    cursor.close()
    connection.commit()


# ---- errors ----------------------------------------------------------------------------------------------------------

# Classes and codes of SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
_RETRYABLE_CLASSES: Final = ("08", "40", "53", "55", "57", "58")
_ADVICE: Final = {
    "28": "check user and password in DATABASE_URL",
    "3D": "create it, or correct DATABASE_URL",
    "42": "check the rights of DATABASE_URL's user, and that nobody changed the tables",
    "53": "give it more room: disk, memory or connections (max_connections)",
    "55": "something else holds its locks: look for long transactions",
}
_SQLITE_ADVICE: Final = {
    "SQLITE_BUSY": "another program holds it: look for one that keeps a transaction open",
    "SQLITE_LOCKED": "another program holds it: look for one that keeps a transaction open",
    "SQLITE_FULL": "its disk is full: make room",
    "SQLITE_IOERR": "its disk fails: look at the system's log",
    "SQLITE_READONLY": "this user may not write it: check the rights of the file and of its folder",
    "SQLITE_CANTOPEN": "it cannot be opened: check the path and the rights of DATABASE_URL",
    "SQLITE_CORRUPT": "the file is damaged: restore a backup",
    "SQLITE_NOTADB": "the file is no SQLite database: correct DATABASE_URL, or move the file away",
}
_SQLITE_RETRYABLE: Final = {"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN"}


def store_error(error: BaseException, what: str) -> StoreError:
    """What happened, told without the values that a driver's message may repeat."""
    if isinstance(error, PoolTimeoutError):
        return StoreError(
            f"could not {what}: all {POOL_MAX} connections to the database are in use; the request may be repeated",
            retryable=True,
        )
    original = error.orig if isinstance(error, StatementError) else error
    sqlite_name = getattr(original, "sqlite_errorname", None)
    if sqlite_name is not None:
        return _sqlite_error(sqlite_name, what)
    state = getattr(original, "sqlstate", None)
    if state is not None:
        advice = _ADVICE.get(state[:2])
        return StoreError(
            f"could not {what}: the database answers {type(original).__name__} ({state})"
            + (f"; {advice}" if advice else ""),
            retryable=state.startswith(_RETRYABLE_CLASSES),
        )
    if isinstance(error, DBAPIError | OSError | TimeoutError):
        # No answer of the server's, so nothing that was to be stored: libpq's own words about the connection.
        reason = " ".join(str(original).split())[:REASON_CHARACTERS_MAX] or type(original).__name__
        return StoreError(
            f"could not {what}: no connection to the database; check that it runs, and that DATABASE_URL leads to it "
            f"({reason})",
            retryable=True,
        )
    return StoreError(
        f"could not {what}: what was to be stored is no good ({type(original).__name__})", retryable=False
    )


def _sqlite_error(name: str, what: str) -> StoreError:
    basic = "_".join(name.split("_")[:2])  # SQLITE_BUSY_SNAPSHOT is a SQLITE_BUSY
    advice = _SQLITE_ADVICE.get(basic)
    return StoreError(
        f"could not {what}: the database answers {name}" + (f"; {advice}" if advice else ""),
        retryable=basic in _SQLITE_RETRYABLE,
    )
