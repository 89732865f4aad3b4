"""A database that is locked, full, slow or gone: errors come in time and say what to do; afterwards all is well again."""

import asyncio
import time

import pytest
from sqlalchemy import text
from support.quiet import quietly
from support.stores import CALLER, NOON, attempt, call, locked, opened, stores

from realtime_bridge.errors import MisuseError
from telephony.store import StoreError, database


@quietly()
async def test_while_another_program_holds_the_file_reading_works_and_writing_is_retryable(sqlite_url, monkeypatch):
    monkeypatch.setattr(database, "STATEMENT_S_MAX", 0.2)
    async with opened(sqlite_url) as store:
        await store.calls.begin(call())
        async with locked(sqlite_url):
            assert await store.calls.get("CA1") == call()
            with pytest.raises(StoreError, match="SQLITE_BUSY; another program holds it") as refused:
                await store.calls.begin(call("CA2"))
            assert refused.value.retryable
        assert await store.calls.begin(call("CA2"))


@quietly()
async def test_a_full_disk_is_retryable_and_leaves_what_is_stored(sqlite_url, monkeypatch):
    set_up = database._set_up_sqlite

    def set_up_without_room(connection, record):
        set_up(connection, record)
        connection.cursor().execute("PRAGMA max_page_count = 1")  # no more than there are already

    monkeypatch.setattr(database, "_set_up_sqlite", set_up_without_room)
    async with opened(sqlite_url) as store:
        await store.calls.begin(call())
        with pytest.raises(StoreError, match="SQLITE_FULL; its disk is full: make room") as refused:
            await store.calls.event("CA1", "note", {"text": "x" * 1_000_000}, NOON)
        assert refused.value.retryable
        assert await store.calls.get("CA1") == call()


@quietly()
async def test_a_server_that_stops_is_retryable_at_once_and_used_again_when_it_is_back(postgres, postgres_url):
    async with opened(postgres_url) as store:
        await store.calls.begin(call())
        postgres.kill()
        try:
            began = time.monotonic()
            for _ in range(3):
                with pytest.raises(StoreError, match="no connection") as refused:
                    await store.calls.get("CA1")
                assert refused.value.retryable
            assert time.monotonic() - began < 10
        finally:
            postgres.start()
        assert await store.calls.get("CA1") == call()
        await store.ping()


@quietly()
async def test_a_statement_that_takes_too_long_is_ended(postgres_url, monkeypatch):
    monkeypatch.setattr(database, "STATEMENT_S_MAX", 1.0)
    async with opened(postgres_url) as store:
        with pytest.raises(StoreError, match="57014") as refused:
            await store._database.read(lambda c: c.execute(text("SELECT pg_sleep(60)")), "sleep")
        assert refused.value.retryable
        await store.ping()


@quietly()
async def test_work_that_takes_too_long_is_given_up_and_undone(database_url):
    async with opened(database_url) as store:

        def work(c):
            c.execute(text("INSERT INTO suppressions VALUES (:n, '2026-03-14 12:00:00.0+00', '', '')"), {"n": CALLER})
            for _ in range(100_000):
                c.execute(text("SELECT 1"))

        with pytest.raises(StoreError, match=r"did not answer within 0.1 s.*may be repeated") as refused:
            await store._database.write(work, "dawdle", seconds_max=0.1)
        assert refused.value.retryable
        assert not await store.suppressions.contains(CALLER)
        assert await store.suppressions.add(CALLER)


@quietly()
async def test_who_stops_waiting_harms_nobody(database_url):
    async with opened(database_url) as store:
        for number in range(20):
            task = asyncio.create_task(store.calls.begin(call(f"CA{number}")))
            for _ in range(number):
                await asyncio.sleep(0)
            task.cancel()
        assert await store.calls.begin(call("CA99"))


@quietly()
async def test_more_work_than_connections_waits_its_turn(database_url):
    async with stores(database_url, 2) as nodes:
        work = [node.calls.event("CA1", "n", {"n": n}, NOON) for n in range(60) for node in nodes]
        reads = [node.calls.get("CA1") for node in nodes for _ in range(60)]
        assert all((await asyncio.gather(*work, *reads))[:120])
        assert len(await nodes[0].calls.events("CA1")) == 120


@quietly()
async def test_a_row_that_somebody_else_wrote_is_told_without_its_words(database_url):
    async with opened(database_url) as store:
        await store.calls.begin(call())
        for change in ("direction = '+15005550006'", "direction = 'inbound', carrier = '{+15005550006'"):
            await store._database.write(lambda c, change=change: c.execute(text(f"UPDATE calls SET {change}")), "spoil")
            with pytest.raises(StoreError, match="none that this program writes") as refused:
                await store.calls.get("CA1")
            assert not refused.value.retryable
            assert CALLER not in str(refused.value)


@quietly()
async def test_a_closed_store_is_not_opened_again_by_using_it(database_url):
    async with opened(database_url) as store:
        pass
    with pytest.raises(MisuseError, match="the store is closed"):
        await store.calls.get("CA1")


@quietly()
async def test_a_row_that_may_not_be_is_refused_for_good(database_url):
    async with opened(database_url) as store:
        await store.attempts.claim(attempt("at-1", "k1"))
        await store.attempts.claim(attempt("at-2", "k2"))
        await store.attempts.placed("at-1", "CA1")
        with pytest.raises(StoreError, match="store what became of an attempt") as refused:
            await store.attempts.placed("at-2", "CA1")  # one call, two attempts
        assert not refused.value.retryable
