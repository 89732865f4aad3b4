"""What takes long to start is shared by all tests of a session: models, a database server."""

from __future__ import annotations

import asyncio
import shutil

import pytest
from support.postgres import PostgresServer

from realtime_bridge.localmodel.hibari_voice import HibariVoice
from realtime_bridge.localmodel.moonshine import MoonshineRecognizer
from telephony.store import Store


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
