"""How the suite runs on a machine that has other things to do, and what takes long to start, which all tests share."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
from pathlib import Path

import hypothesis
import pytest
from support.postgres import PostgresServer

from realtime_bridge.localmodel.hibari_voice import HibariVoice
from realtime_bridge.localmodel.moonshine import MoonshineRecognizer
from telephony.store import Store

# How long an example takes says nothing about it where others are at work.
hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("suite")

# Reading all files makes a million objects, none of them garbage. They are neither looked at meanwhile nor afterwards.
gc.disable()

MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 1 << 30
# Whole programs, which wait for real time: begun last, one of them would hold up the end. The longest come first.
LONGEST = (
    "telephony/end_to_end/test_disasters.py",
    "telephony/end_to_end/test_calls.py",
    "telephony/end_to_end/test_transfers.py",
    "telephony/end_to_end",
    "telephony/cli/test_serve_life.py",
    "telephony/cli/test_call_command.py",
    "telephony/outbound/test_dialler.py",
    "telephony/cli",
    "telephony/test_killed_model.py",
    "telephony/testing",
)


def pytest_configure(config):
    """Databases, tapes and recordings are told to reach the disk before all goes on: a disk in memory does not wait.

    Whoever chooses a directory (`--basetemp`, TMPDIR, pytest's own variable) gets that one.
    """
    chosen = config.option.basetemp or os.environ.get("TMPDIR") or os.environ.get("PYTEST_DEBUG_TEMPROOT")
    if not chosen and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN:
        os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)


def pytest_report_header(config):
    return f"files of tests: {config._tmp_path_factory.getbasetemp()}"


def pytest_collection_modifyitems(items):
    items.sort(key=_rank)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Python 3.11 cannot parse while it parses: a failure is shown by parsing the source, and when forgotten tasks are
    collected in the middle of that, their complaint is logged with a traceback, which is parsed too. SystemError would end
    the whole run."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_finish():
    gc.freeze()
    gc.enable()


def _rank(item):
    path = item.path.relative_to(Path(__file__).parent).as_posix()
    return next((rank for rank, begin in enumerate(LONGEST) if path.startswith(begin)), len(LONGEST))


@pytest.fixture(scope="session")
def recognizer() -> MoonshineRecognizer:
    return MoonshineRecognizer()


@pytest.fixture(scope="session")
def voice() -> HibariVoice:
    return HibariVoice()


@pytest.fixture(scope="session")
def postgres():
    """A running server. Who stops it starts it again."""
    server = PostgresServer()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def migrated_postgres(postgres):
    """The name of a database with all tables."""
    postgres.admin("CREATE DATABASE migrated")
    asyncio.run(_migrate(postgres.url("migrated")))
    return "migrated"


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory):
    """A file with all tables and no rows, to copy."""
    path = tmp_path_factory.mktemp("sqlite") / "migrated.db"
    asyncio.run(_migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture
def sqlite_url(migrated_sqlite, tmp_path):
    path = tmp_path / "store.db"
    shutil.copy(migrated_sqlite, path)
    return f"sqlite:///{path}"


@pytest.fixture
def postgres_url(postgres, migrated_postgres):
    """For tests that leave the tables as they are: one database is emptied for each, which is quicker than a new one."""
    from telephony.store.schema import metadata

    postgres.empty(migrated_postgres, [table.name for table in metadata.sorted_tables])
    return postgres.url(migrated_postgres)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request):
    """A DATABASE_URL of each kind: all tables, no rows."""
    return request.getfixturevalue("sqlite_url" if request.param == "sqlite" else "postgres_url")


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request, tmp_path):
    """A DATABASE_URL of each kind, without a table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new' / 'store.db'}"
        return
    with request.getfixturevalue("postgres").database() as url:
        yield url


async def _migrate(url):
    async with Store.open(url, node="test"):
        pass
