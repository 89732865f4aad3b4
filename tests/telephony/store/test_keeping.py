"""The keeper of records: whatever the database does, a call is not held up, and what it told is there in the end, once."""

import asyncio
import contextlib
import logging
import time
from datetime import timedelta

import pytest
from support.quiet import quietly, until
from support.stores import CALLER, NOON, call, call_end, locked, opened, stores

from telephony.store import RecordKeeper, StoreError, database, keeping
from telephony.store.rows import TurnRow

SAID = (TurnRow(role="assistant", text="Hello."), TurnRow(role="user", text="Goodbye."))


@pytest.fixture(autouse=True)
def impatient(monkeypatch, request):
    monkeypatch.setattr(keeping, "RETRY_S", 0.05)
    if "sqlite_url" in request.fixturenames:  # where files are locked; a server has the time that it needs
        monkeypatch.setattr(database, "STATEMENT_S_MAX", 0.2)


@contextlib.asynccontextmanager
async def kept(url, directory, **options):
    async with opened(url) as store, RecordKeeper.open(store, directory / "spool", **options) as keeper:
        yield store, keeper


def spooled(tmp_path):
    return sorted(path.name for path in (tmp_path / "spool").glob("*.json"))


def tell(keeper, call_sid="CA1"):
    """All that a call tells of itself; returns what may be awaited."""
    later = NOON + timedelta(seconds=1)
    return [
        keeper.begin(call(call_sid, status="queued")),
        keeper.status(call_sid, "ringing", NOON, 0),
        keeper.answered(call_sid, "n1", later),
        keeper.event(call_sid, "dtmf", {"digit": "1"}, later),
        keeper.event(call_sid, "dtmf", {"digit": "1"}, later),
        keeper.status(call_sid, "completed", later, 3),
        keeper.finish(call_sid, call_end(transcript=SAID)),
    ]


async def assert_all_stored(store, call_sid="CA1"):
    found = await store.calls.get(call_sid)
    assert (found.status, found.node, found.disposition) == ("completed", "n1", "caller hung up")
    assert await store.calls.turns(call_sid) == SAID
    assert [event.kind for event in await store.calls.events(call_sid)] == ["dtmf", "dtmf"]


@quietly()
async def test_records_are_stored_in_the_order_in_which_they_are_told(database_url, tmp_path):
    async with kept(database_url, tmp_path) as (store, keeper):
        assert await asyncio.gather(*tell(keeper)) == [True] * 7
        await assert_all_stored(store)
        assert keeper.counts.stored == 7
        assert spooled(tmp_path) == []


@quietly()
async def test_nobody_need_wait_and_closing_keeps_what_was_told(sqlite_url, tmp_path):
    async with kept(sqlite_url, tmp_path) as (_, keeper):
        tell(keeper)
    async with opened(sqlite_url) as store:
        await assert_all_stored(store)


@quietly()
async def test_who_stops_waiting_does_not_stop_the_record(sqlite_url, tmp_path):
    async with kept(sqlite_url, tmp_path) as (store, keeper):
        waiting = asyncio.ensure_future(keeper.begin(call()))
        waiting.cancel()
        await until(lambda: keeper.waiting == 0)
        assert await store.calls.get("CA1") == call()


@quietly()
async def test_while_the_file_is_locked_records_go_to_the_spool_and_are_stored_afterwards(
    sqlite_url, tmp_path, caplog, monkeypatch
):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(database, "STATEMENT_S_MAX", 1.0)
    async with kept(sqlite_url, tmp_path) as (store, keeper):
        async with locked(sqlite_url):
            began = time.monotonic()
            assert await asyncio.gather(*tell(keeper)) == [False] * 7
            assert time.monotonic() - began < 6  # one wait for all of them
            assert len(spooled(tmp_path)) == 7
            assert keeper.is_behind
        await until(lambda: not keeper.is_behind)
        await assert_all_stored(store)
        assert spooled(tmp_path) == []
        assert (keeper.counts.stored, keeper.counts.spooled, keeper.counts.drained) == (0, 7, 7)
        assert await keeper.begin(call("CA2"))
    assert caplog.text.count("they wait in") == 1
    assert caplog.text.count("takes records again") == 1
    assert CALLER not in caplog.text


@quietly()
async def test_a_server_that_dies_in_the_middle_of_calls_loses_no_record(postgres, postgres_url, tmp_path):
    async with kept(postgres_url, tmp_path) as (store, keeper):
        told = [tell(keeper, f"CA{number}") for number in range(3)]
        postgres.kill()
        try:
            told += [tell(keeper, f"CA{number}") for number in range(3, 6)]
            await asyncio.gather(*(record for records in told for record in records))
            assert keeper.is_behind
        finally:
            postgres.start()
        told += [tell(keeper, f"CA{number}") for number in range(6, 9)]
        await until(lambda: not keeper.is_behind and not keeper.waiting)
        for number in range(9):
            await assert_all_stored(store, f"CA{number}")
        assert keeper.counts.lost == 0


@quietly()
async def test_a_slow_database_does_not_hold_up_a_call(sqlite_url, tmp_path, monkeypatch):
    monkeypatch.setattr(database, "STATEMENT_S_MAX", 30.0)
    async with kept(sqlite_url, tmp_path, patience_s=0.1) as (store, keeper):
        async with locked(sqlite_url):
            began = time.monotonic()
            assert not await keeper.begin(call())
            assert time.monotonic() - began < 20
        await until(lambda: not keeper.is_behind)
        assert await store.calls.get("CA1") == call()


@quietly()
async def test_what_a_process_left_behind_is_stored_by_the_next_before_anything_new(sqlite_url, tmp_path):
    async with locked(sqlite_url) as other:
        async with kept(sqlite_url, tmp_path) as (_, keeper):
            await asyncio.gather(*tell(keeper))
        assert len(spooled(tmp_path)) == 7
        other.execute("ROLLBACK")
    async with kept(sqlite_url, tmp_path) as (store, keeper):
        keeper.status("CA1", "failed", NOON)  # later, so it changes nothing
        await until(lambda: not keeper.is_behind)
        await assert_all_stored(store)


@quietly()
async def test_records_that_were_stored_before_a_crash_could_remove_them_are_not_stored_twice(sqlite_url, tmp_path):
    async with locked(sqlite_url), kept(sqlite_url, tmp_path) as (_, keeper):
        await asyncio.gather(*tell(keeper))
    files = {path: path.read_bytes() for path in (tmp_path / "spool").glob("*.json")}
    for _ in range(2):
        async with kept(sqlite_url, tmp_path) as (store, keeper):
            await until(lambda keeper=keeper: not keeper.is_behind)
            await assert_all_stored(store)
        for path, data in files.items():
            path.write_bytes(data)


@quietly()
async def test_processes_that_share_a_spool_empty_it_together(sqlite_url, tmp_path):
    async with (
        stores(sqlite_url, 2) as (here, there),
        RecordKeeper.open(here, tmp_path / "spool") as first,
        RecordKeeper.open(there, tmp_path / "spool") as second,
    ):
        async with locked(sqlite_url):
            told = [record for n in range(6) for record in tell((first, second)[n % 2], f"CA{n}")]
            assert not any(await asyncio.gather(*told))
        await until(lambda: not first.is_behind and not second.is_behind)
        for n in range(6):
            await assert_all_stored(here, f"CA{n}")
        assert spooled(tmp_path) == []
        assert (first.counts.lost, second.counts.lost) == (0, 0)


@quietly()
async def test_damaged_records_are_set_aside_and_stop_nobody(sqlite_url, tmp_path, caplog):
    async with locked(sqlite_url), kept(sqlite_url, tmp_path) as (_, keeper):
        await asyncio.gather(*tell(keeper))
    names = spooled(tmp_path)
    (tmp_path / "spool" / "00000000000000000001-1-0.json").write_bytes(b'{"type": "finish", "call_')
    (tmp_path / "spool" / "00000000000000000002-1-0.json").write_bytes(b'{"type": "begin", "call": {"call_sid": 5}}')
    (tmp_path / "spool" / "00000000000000000003-1-0.json").write_bytes(b"\xff" * 10)
    async with kept(sqlite_url, tmp_path) as (store, keeper):
        await until(lambda: not keeper.is_behind)
        await assert_all_stored(store)
        assert keeper.counts.drained == len(names)
    assert len(list((tmp_path / "spool" / "damaged").iterdir())) == 3
    assert caplog.text.count("is damaged") == 3


@quietly()
async def test_what_the_database_refuses_for_good_is_set_aside_and_told(sqlite_url, tmp_path, caplog):
    async with kept(sqlite_url, tmp_path) as (store, keeper):
        assert not await keeper.finish("CA9", call_end())  # never begun
        assert not keeper.is_behind
        assert await keeper.begin(call())
        assert (await store.calls.get("CA1")) is not None
    assert "CA9: a record cannot be stored" in caplog.text
    assert len(list((tmp_path / "spool" / "damaged").iterdir())) == 1


@quietly()
async def test_a_full_spool_is_told_once_and_the_keeper_goes_on(sqlite_url, tmp_path, caplog):
    async with kept(sqlite_url, tmp_path, files_max=2) as (store, keeper):
        async with locked(sqlite_url):
            assert await asyncio.gather(*(keeper.begin(call(f"CA{n}")) for n in range(5))) == [False] * 5
            assert (keeper.counts.spooled, keeper.counts.lost) == (2, 3)
        await until(lambda: not keeper.is_behind)
        assert await store.calls.get("CA1") is not None
        assert await store.calls.get("CA2") is None
        assert await keeper.begin(call("CA2"))
    assert caplog.text.count("are lost from now on") == 1


@quietly()
async def test_a_disk_that_fails_too_loses_the_record_and_says_so(sqlite_url, tmp_path, caplog, monkeypatch):
    def fail(_):
        raise OSError(28, "No space left on device")

    async with kept(sqlite_url, tmp_path) as (_, keeper):
        async with locked(sqlite_url):
            monkeypatch.setattr("telephony.store.spool.os.fsync", fail)
            assert not await keeper.begin(call())
        assert keeper.counts.lost == 1
    assert "call CA1: a record (Begun) is lost" in caplog.text


@quietly()
async def test_a_spool_that_cannot_be_had_is_told_at_the_start(sqlite_url, tmp_path):
    (tmp_path / "spool").write_text("a file, where the directory should be")
    async with opened(sqlite_url) as store:
        with pytest.raises(StoreError, match=r"DATA_DIR: .*spool cannot be used"):
            async with RecordKeeper.open(store, tmp_path / "spool"):
                pass


@quietly()
async def test_data_that_is_no_json_is_lost_alone(sqlite_url, tmp_path, caplog):
    async with kept(sqlite_url, tmp_path) as (_, keeper):
        assert not await keeper.event("CA1", "odd", {"what": object()}, NOON)
        assert await keeper.event("CA1", "even", {}, NOON)
    assert "no JSON" in caplog.text


@quietly()
async def test_more_than_can_wait_is_lost_and_said(sqlite_url, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(keeping, "WAITING_MAX", 3)
    async with kept(sqlite_url, tmp_path) as (_, keeper):
        told = [keeper.event("CA1", "n", {"n": n}, NOON) for n in range(5)]
        assert await asyncio.gather(*told) == [True, True, True, False, False]
    assert caplog.text.count("3 others wait before it") == 2
