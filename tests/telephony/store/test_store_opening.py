"""Opening a store: its tables are those of this version afterwards, and what cannot work says what to do."""

import asyncio
import logging
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text
from support.quiet import quietly
from support.source import ROOT
from support.stores import CALLER, call, call_end, opened

from telephony.store import Store, StoreError, database, migrate
from telephony.store.database import open_database
from telephony.store.rows import TurnRow
from telephony.store.schema import HEAD, metadata


@quietly()
async def test_the_migrations_make_what_the_tables_say(empty_database_url):
    async with opened(empty_database_url) as store:

        def differences(c):
            return compare_metadata(MigrationContext.configure(c, opts={"compare_type": True}), metadata)

        assert await store._database.read(differences, "compare") == []


def test_the_newest_migration_is_the_one_that_is_told():
    config = Config()
    config.set_main_option("script_location", str(migrate.SCRIPTS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


SAID = (TurnRow(role="assistant", text="Hello."),)
STEP = '''
"""A step that a later version may take."""
import sqlalchemy as sa
from alembic import op
revision = "{to}"
down_revision = "{since}"
def upgrade():
    with op.batch_alter_table("calls") as table:
        table.add_column(sa.Column("mood", sa.Text(), nullable=False, server_default="calm"))
        table.alter_column("agent", new_column_name="agent_name")
    {then}
'''


@pytest.fixture
def later_version(tmp_path, monkeypatch):
    """The migrations of a version after this one: its revision is "later". Returns what writes its step."""
    scripts = tmp_path / "later"
    shutil.copytree(migrate.SCRIPTS, scripts, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(migrate, "SCRIPTS", scripts)

    def write(then="pass"):
        (scripts / "versions" / "later.py").write_text(STEP.format(to="later", since=HEAD, then=then))

    return write


async def moods(url):
    async with open_database(url) as db:
        return await db.read(lambda c: c.execute(text("SELECT call_sid, agent_name, mood FROM calls")).all(), "look")


@quietly()
async def test_the_database_of_an_earlier_version_is_brought_up_to_date_with_its_rows(
    empty_database_url, later_version
):
    async with opened(empty_database_url) as store:
        await store.calls.finish("CA1", call_end(transcript=SAID), call=call(agent="Front desk"))
    later_version()
    async with open_database(empty_database_url) as db:
        await migrate.migrate(db, "later")
        await migrate.migrate(db, "later")  # nothing left to do
        said = await db.read(lambda c: c.execute(text("SELECT text FROM turns")).scalars().all(), "look")
        assert said == ["Hello."]  # it refers to a table that was copied
        enforced = await db.read(lambda c: db.is_sqlite and c.execute(text("PRAGMA foreign_keys")).scalar(), "look")
        assert enforced == db.is_sqlite
    assert await moods(empty_database_url) == [("CA1", "Front desk", "calm")]


@quietly()
async def test_a_worker_waits_for_another_ones_migration_longer_than_for_a_statement(tmp_path, monkeypatch):
    monkeypatch.setattr(database, "STATEMENT_S_MAX", 0.1)
    path = tmp_path / "new.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("BEGIN EXCLUSIVE")
        opening = asyncio.create_task(_open_and_close(f"sqlite:///{path}"))
        await asyncio.sleep(0.5)
        assert not opening.done()
        other.execute("ROLLBACK")
    await opening


async def _open_and_close(url):
    async with opened(url):
        pass


@quietly()
async def test_several_databases_are_made_at_once_in_one_process(tmp_path):
    urls = [f"sqlite:///{tmp_path / str(number)}.db" for number in range(3)]
    await asyncio.gather(*(_open_and_close(url) for url in [*urls, *urls]))
    for url in urls:
        async with open_database(url) as db:
            assert await db.read(migrate.revision_of, "look") == HEAD


@quietly()
async def test_the_first_tables_become_those_of_today(empty_database_url):
    async with open_database(empty_database_url) as db:
        await migrate.migrate(db, "0001")
        await db.write(
            lambda c: c.execute(
                text(
                    "INSERT INTO calls (call_sid, direction, from_number, to_number, created_at, status, parameters, "
                    "carrier, problems) VALUES ('CA1', 'inbound', '', '', '2026-03-14 12:00:00.123456', 'completed', "
                    "'{}', '{}', '[]')"
                )
            ),
            "write as the first version did",
        )
    async with opened(empty_database_url) as store:
        assert await store.calls.get("CA1") == call(from_number="", to_number="", status="completed", agent=None)


@quietly()
async def test_a_database_of_a_later_version_is_refused(empty_database_url, later_version, monkeypatch):
    later_version()
    async with open_database(empty_database_url) as db:
        await migrate.migrate(db, "later")
    monkeypatch.undo()
    with pytest.raises(StoreError, match=r"newer version of realtime-bridge.*later.*update") as refused:
        async with opened(empty_database_url):
            pass
    assert not refused.value.retryable


@quietly()
async def test_a_step_that_fails_halfway_leaves_the_database_as_it_was(empty_database_url, later_version):
    async with opened(empty_database_url) as store:
        await store.calls.begin(call())
    later_version(then="raise ZeroDivisionError")
    with pytest.raises(ZeroDivisionError):
        async with open_database(empty_database_url) as db:
            await migrate.migrate(db, "later")
    async with opened(empty_database_url) as store:
        assert await store.calls.get("CA1") == call()


@quietly()
async def test_another_programs_database_is_refused(tmp_path):
    with sqlite3.connect(tmp_path / "theirs.db") as connection:
        connection.execute("CREATE TABLE calls (id)")
    connection.close()
    with pytest.raises(StoreError, match=r"did not make \(calls\).*database of its own"):
        async with Store.open(f"sqlite:///{tmp_path / 'theirs.db'}", node="n"):
            pass


@quietly()
async def test_the_file_is_made_with_its_folder_for_this_user_alone(tmp_path):
    path = tmp_path / "new folder" / "100%.db"
    async with Store.open(f"sqlite:///{path}", node="n") as store:
        await store.calls.begin(call())
        modes = {name.name: oct(name.stat().st_mode)[-3:] for name in path.parent.iterdir()}
    assert modes
    assert set(modes.values()) == {"600"}, modes


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "expected sqlite:///PATH or postgresql://"),
        ("mysql://h/d", "expected sqlite:///PATH or postgresql://"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
        ("sqlite:////proc/nothing/here.db", "cannot be written"),
        ("postgresql+asyncpg://h/d", "expected sqlite:///PATH or postgresql://"),
    ],
)
@quietly()
async def test_urls_that_cannot_work_say_what_to_do(url, says):
    with pytest.raises(StoreError, match=says) as refused:
        async with Store.open(url, node="n"):
            pass
    assert not refused.value.retryable


@quietly()
async def test_a_file_that_is_no_database_is_refused(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("Dear Sir or Madam, " * 100)
    with pytest.raises(StoreError, match=r"SQLITE_NOTADB.*no SQLite database") as refused:
        async with Store.open(f"sqlite:///{path}", node="n"):
            pass
    assert not refused.value.retryable
    assert path.read_text().startswith("Dear Sir")


@quietly()
async def test_a_server_that_is_not_there_or_knows_no_such_database_is_named(postgres):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(StoreError, match=f"no connection.*DATABASE_URL.*{port}") as away:
        async with Store.open(f"postgresql://u:secret-word@127.0.0.1:{port}/d", node="n"):
            pass
    assert away.value.retryable
    assert "secret-word" not in str(away.value)
    with pytest.raises(StoreError, match='database "nope" does not exist'):
        async with Store.open(postgres.url("nope"), node="n"):
            pass


def test_a_server_that_accepts_and_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(database, "WORK_S_MAX", 0.3)
    monkeypatch.setattr(database, "CLOSE_S_MAX", 0.3)

    async def open_it(port):
        async with Store.open(f"postgresql://u@127.0.0.1:{port}/d", node="n"):
            pass

    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(StoreError, match=r"not answer within 0\.3 s"),
    ):
        asyncio.run(open_it(listener.getsockname()[1]))


IMPORTS = """
import contextlib, io, sys
import telephony, telephony.store, telephony.store.rows
from telephony.cli import main
with contextlib.redirect_stdout(io.StringIO()) as printed, contextlib.suppress(SystemExit):
    main(["--help"])
assert "serve" in printed.getvalue()
print(sorted(name for name in sys.modules if name.split(".")[0] in ("sqlalchemy", "alembic", "aiosqlite", "psycopg")))
"""


def run(program):
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=60, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_needs_no_database_does_not_import_one():
    assert run(IMPORTS) == "[]"


WITHOUT_PSYCOPG = """
import asyncio, sys
sys.modules["psycopg"] = None
from telephony.store import Store, StoreError

async def main():
    try:
        async with Store.open("postgresql://u@127.0.0.1:1/d", node="n"):
            pass
    except StoreError as e:
        print(e)

asyncio.run(main())
"""


def test_postgres_without_its_driver_says_what_to_install():
    assert "pip install 'realtime-bridge[postgres]'" in run(WITHOUT_PSYCOPG)


@quietly()
async def test_errors_and_logs_tell_no_numbers(database_url, caplog):
    caplog.set_level(logging.DEBUG)
    async with opened(database_url) as store:
        await store.calls.begin(call())
        await store.suppressions.add(CALLER)
        with pytest.raises(StoreError) as refused:
            await store._database.write(
                lambda c: c.execute(text("INSERT INTO suppressions VALUES (:n, NULL, '', '')"), {"n": CALLER}), "try"
            )
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
    assert CALLER not in str(refused.value) + caplog.text
