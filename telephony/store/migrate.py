"""Bring a database to the tables of this version when it is opened, once, however many workers open it.

Workers that start at the same moment queue at a lock (Postgres: an advisory lock; SQLite: the only write lock), and who
comes second finds nothing left to do. All steps are one transaction: a step that fails leaves the database as it was.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Connection, inspect, text

from telephony.store.database import Database
from telephony.store.errors import StoreError
from telephony.store.schema import HEAD, metadata

if TYPE_CHECKING:
    from alembic.config import Config

log = logging.getLogger(__name__)

SCRIPTS: Final = Path(__file__).with_name("migrations")
MIGRATE_S_MAX: Final = 120.0
RETRY_S: Final = 0.1
# Alembic's `op` and `context` are the process's, and lead to one connection at a time.
_ALEMBIC: Final = threading.Lock()
_LOCK: Final = 0x7265616C74696D65  # any number that nobody else takes for Postgres's advisory locks


class _AlembicIsBusy(Exception):  # noqa: N818 - no error: it is tried again
    """It brings another database of this process up to date."""


async def migrate(database: Database, target: str = HEAD) -> None:
    """Raises StoreError; not retryable where the database is of a newer version than this program."""
    deadline = time.monotonic() + MIGRATE_S_MAX
    while True:
        try:
            if await database.read(revision_of, "look at the database's version") != target:
                await database.rebuild(
                    lambda connection: _upgrade(connection, target),
                    "bring the database up to date",
                    seconds_max=MIGRATE_S_MAX,
                )
        except _AlembicIsBusy:
            await asyncio.sleep(RETRY_S)
        except StoreError as e:
            # SQLite's lock is waited for as long as a statement may take; another worker's migration may take longer.
            if not (database.is_sqlite and e.retryable and time.monotonic() < deadline):
                raise
            await asyncio.sleep(RETRY_S)
        else:
            return


def revision_of(connection: Connection) -> str | None:
    """The last migration that was run; None: none ever was."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return revision


def _upgrade(connection: Connection, target: str) -> None:
    from alembic.config import Config  # noqa: PLC0415 - slow to import, and seldom needed
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - as above

    if connection.dialect.name == "postgresql":
        milliseconds = int(MIGRATE_S_MAX * 1000)
        connection.execute(text(f"SET LOCAL statement_timeout = {milliseconds}"))
        connection.execute(text(f"SET LOCAL lock_timeout = {milliseconds}"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    revision = revision_of(connection)  # again: another worker may have been faster
    if revision == target:
        return
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision is not None and revision not in known:
        raise StoreError(
            f"the database is of a newer version of realtime-bridge (its revision is {revision}, this program knows up "
            f"to {target}): update realtime-bridge, or restore the backup from before the update",
            retryable=False,
        )
    if revision is None and (strangers := set(metadata.tables) & set(inspect(connection).get_table_names())):
        raise StoreError(
            f"the database holds tables that realtime-bridge did not make ({', '.join(sorted(strangers))}): "
            "let DATABASE_URL lead to a database of its own",
            retryable=False,
        )
    _run(config, target)
    log.info("the database was at revision %s and is now at %s", revision, target)


def _run(config: Config, target: str) -> None:
    from alembic import command  # noqa: PLC0415 - as above

    if not _ALEMBIC.acquire(blocking=False):
        raise _AlembicIsBusy  # to wait here would hold up the event loop
    try:
        logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each of its own steps
        command.upgrade(config, target)
    finally:
        _ALEMBIC.release()
