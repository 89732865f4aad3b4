"""What is kept of people: deleted by age, exported, erased. On real stores and folders."""

import asyncio
import io
import os
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from support.stores import CALLER, NOON, OURS, Clock, approval, call, call_end, opened

from realtime_bridge.tape import TapeKey, TapeKeys
from realtime_bridge.tape.sealed import seal
from telephony.housekeeping import Keep, forget
from telephony.privacy.erasure import CallsGoOn, erase, look
from telephony.privacy.export import NothingKept, export
from telephony.privacy.retention import prune
from telephony.records.record import CallRecord
from telephony.store.records import Begun, Finished, Happened, encode_record
from telephony.store.rows import AttemptRow, ToolRow, TurnRow
from telephony.store.spool import Spool

ONE, TWO, OTHERS = "CA" + "1" * 32, "CA" + "2" * 32, "CA" + "3" * 32
STRANGER = "+15005550999"
SAID = (TurnRow(role="user", text="My name is Ann."),)
DID = (ToolRow(call_id="c1", name="look_up", arguments={"name": "Ann"}, start_ms=1),)


async def talked(store, call_sid, *, ended_at=NOON + timedelta(seconds=90), **who):
    await store.calls.begin(call(call_sid, **who))
    end = call_end(ended_at=ended_at, transcript=SAID, tools=DID, recording=f"calls/{call_sid}")
    await store.calls.finish(call_sid, end)


def folder(data_dir: Path, call_sid: str, *, content: bytes = b"RIFF", at: datetime = NOON) -> Path:
    path = data_dir / "calls" / call_sid
    path.mkdir(parents=True)
    for name in ("call.wav", "call.json"):
        (path / name).write_bytes(content)
        os.utime(path / name, (at.timestamp(), at.timestamp()))
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def attempt(attempt_id="at-1", **fields):
    known = {"to_number": CALLER, "from_number": OURS, "created_at": NOON, "status": "busy"}
    return AttemptRow(attempt_id=attempt_id, idempotency_key=attempt_id, **(known | fields))


def run(url, work, clock=None):
    async def main():
        async with opened(url, clock) as store:
            return await work(store)

    return asyncio.run(main())


# ---- by age ----------------------------------------------------------------------------------------------------------


def test_what_is_too_old_goes_and_that_there_was_a_call_stays(database_url, tmp_path):
    async def work(store):
        await talked(store, ONE)
        await talked(store, TWO, ended_at=NOON + timedelta(days=20))
        for call_sid in (ONE, TWO):
            await store.approvals.ask(approval(f"ap-{call_sid}", call_sid=call_sid, arguments='{"name": "Ann"}'))
            for kind in ("approval_requested", "problem", "handoff"):
                await store.calls.event(call_sid, kind, {"about": "Ann"}, NOON)
        old, recent = folder(tmp_path, ONE), folder(tmp_path, TWO)
        unknown = folder(tmp_path, OTHERS)  # the store has lost it
        (tmp_path / "calls" / "notes").mkdir()
        (tmp_path / "calls" / ("CA" + "4" * 32)).symlink_to(recent)
        before = NOON + timedelta(days=10)

        would = await prune(store, tmp_path, before, dry_run=True)
        assert (would.folders, would.calls) == ((ONE, OTHERS), 1)
        assert old.is_dir()

        done = await prune(store, tmp_path, before)
        assert (done.folders, done.calls, done.size_bytes, done.failed) == ((ONE, OTHERS), 1, 16, ())
        assert [path.exists() for path in (old, unknown, recent / "call.wav")] == [False, False, True]
        assert (tmp_path / "calls" / "notes").is_dir()
        assert await store.calls.turns(ONE) == () == await store.calls.tools(ONE)
        assert await store.calls.turns(TWO) == SAID
        assert [event.data for event in await store.calls.events(ONE)] == [{}, {}, {"about": "Ann"}]
        assert [event.data for event in await store.calls.events(TWO)] == 3 * [{"about": "Ann"}]
        approved = [(await store.approvals.get(f"ap-{call_sid}")).arguments for call_sid in (ONE, TWO)]
        assert approved == ["{}", '{"name": "Ann"}']
        row = await store.calls.get(ONE)
        assert (row.recording, row.streams[0].recording, row.from_number) == (None, None, CALLER)
        assert await prune(store, tmp_path, before) == msgspec.structs.replace(done, folders=(), size_bytes=0, calls=0)

    run(database_url, work)


def test_a_server_deletes_by_itself_what_is_too_old(database_url, tmp_path):
    clock = Clock()

    async def work(store):
        await talked(store, ONE)
        old = folder(tmp_path, ONE)
        keep = Keep(recordings=30, calls=30, data_dir=tmp_path)
        clock.pass_s(29 * 86400)
        await forget(store, keep)
        assert old.is_dir()
        clock.pass_s(2 * 86400)
        await forget(store, keep)
        assert not old.exists()
        assert await store.calls.get(ONE) is None  # nor does the call outlive its recording

    run(database_url, work, clock)


def test_a_call_that_goes_on_is_not_too_old(database_url, tmp_path):
    async def work(store):
        await store.calls.begin(call(ONE, created_at=NOON))
        folder(tmp_path, ONE, at=datetime.now(UTC))
        assert (await prune(store, tmp_path, datetime.now(UTC) - timedelta(hours=1))).folders == ()

    run(database_url, work)


# ---- export ----------------------------------------------------------------------------------------------------------


def test_a_person_gets_everything_that_is_kept_of_them_and_nothing_of_others(database_url, tmp_path):
    key = TapeKey(bytes(32))

    async def work(store):
        await talked(store, ONE)
        await talked(store, TWO, direction="outbound", from_number=OURS, to_number=CALLER)
        await talked(store, OTHERS, from_number=STRANGER)
        await store.attempts.claim(attempt())
        await store.approvals.ask(approval(call_sid=ONE))
        await store.calls.event(ONE, "handoff", {"to": "billing"}, NOON)
        folder(tmp_path, ONE, content=seal(b"sound", key))
        folder(tmp_path, OTHERS)
        steps = []
        to = io.BytesIO()
        told = await export(
            store, tmp_path, CALLER, to, by="ann", keys=TapeKeys([key]), progress=lambda *s: steps.append(s)
        )
        assert (told.calls, told.files, told.unread, steps) == (2, 2, {}, [(0, 2), (1, 2), (2, 2)])
        with zipfile.ZipFile(to) as archive:
            assert set(archive.namelist()) == {
                "person.json", f"calls/{TWO}/stored.json",
                *(f"calls/{ONE}/{name}" for name in ("stored.json", "call.wav", "call.json")),
            }  # fmt: skip
            assert archive.read(f"calls/{ONE}/call.wav") == b"sound"
            stored = msgspec.json.decode(archive.read(f"calls/{ONE}/stored.json"))
            person = msgspec.json.decode(archive.read("person.json"))
        assert stored["transcript"][0]["text"] == "My name is Ann."
        assert (stored["events"][0]["kind"], stored["approvals"][0]["tool"]) == ("handoff", "refund")
        assert (person["number"], person["attempts"][0]["attempt_id"]) == (CALLER, "at-1")

        other_key = await export(store, tmp_path, CALLER, io.BytesIO(), by="ann", keys=TapeKeys([TapeKey(b"x" * 32)]))
        assert set(other_key.unread) == {f"calls/{ONE}/call.wav", f"calls/{ONE}/call.json"}
        with pytest.raises(NothingKept):
            await export(store, tmp_path, "+15005550111", io.BytesIO(), by="ann")
        with pytest.raises(NothingKept):
            await export(store, tmp_path, OURS, io.BytesIO(), by="ann")
        (*_, entry) = await store.access.audits()
        assert (entry.who, entry.action, entry.subject) == ("ann", "person.export", "+1 ***-***-0006")

    run(database_url, work)


# ---- erasure ---------------------------------------------------------------------------------------------------------


def test_a_person_is_forgotten_and_others_are_not(database_url, tmp_path):
    async def work(store):
        await talked(store, ONE)
        await talked(store, OTHERS, from_number=STRANGER)
        await store.attempts.claim(attempt())
        await store.attempts.claim(attempt("at-2", to_number=STRANGER))
        for call_sid in (ONE, OTHERS):
            await store.approvals.ask(approval(f"ap-{call_sid}", call_sid=call_sid))
            await store.calls.event(call_sid, "handoff", {}, NOON)
            await store.access.audit("ann", "call.say", call_sid, {"text": "Hello Ann"})
            await store.access.audit("ann", "approval.approved", f"ap-{call_sid}", {"arguments": "{}"})
            folder(tmp_path, call_sid)
        await store.suppressions.add(CALLER)
        await store.access.audit("ann", "suppression.add", CALLER)
        spool = Spool(tmp_path / "spool")
        waiting = "CA" + "5" * 32  # the database was away during all of this call
        spool.put(encode_record(Begun(call(waiting))))
        spool.put(encode_record(Happened(waiting, "handoff", {}, NOON, "k1")))
        spool.set_aside(spool.put(encode_record(Finished(waiting, call_end(), call(waiting)))))
        spool.put(encode_record(Finished(OTHERS, call_end(), None)))

        found = await look(store, tmp_path, CALLER)
        assert (found.call_sids, found.folders, found.spooled, found.suppressed) == ((ONE, waiting), 1, 3, True)
        erased = await erase(store, tmp_path, CALLER, by="user:ann")
        assert (erased.calls, erased.attempts, erased.recordings, erased.spooled) == (2, 1, 1, 3)

        assert await store.calls.get(ONE) is None
        assert await store.calls.turns(ONE) == () == await store.calls.events(ONE) == await store.people.approvals(ONE)
        assert await store.attempts.get("at-1") is None
        assert not (tmp_path / "calls" / ONE).exists()
        assert await store.calls.turns(OTHERS) == SAID
        assert len(await store.people.approvals(OTHERS)) == len(await store.calls.events(OTHERS)) == 1
        assert await store.attempts.get("at-2") is not None
        assert (tmp_path / "calls" / OTHERS).is_dir()
        assert [path.suffix for path, _ in Spool(tmp_path / "spool").everything()] == [".json"]
        assert await store.suppressions.contains(CALLER)
        audits = {(row.action, row.subject): row.data for row in await store.access.audits()}
        assert audits[("call.say", ONE)] == {} == audits[("approval.approved", f"ap-{ONE}")]
        assert audits[("approval.approved", f"ap-{OTHERS}")] != {}
        assert audits[("call.say", OTHERS)] == {"text": "Hello Ann"}
        assert audits[("person.erase", "+1 ***-***-0006")] == {"calls": 2, "attempts": 1, "recordings": 1}
        assert CALLER not in str(audits)

    run(database_url, work)


def test_nothing_is_erased_while_a_call_of_the_number_goes_on(database_url, tmp_path):
    async def work(store):
        await talked(store, ONE)
        await store.calls.begin(call(TWO, node="node-0"))
        await store.nodes.heartbeat("node-0")
        with pytest.raises(CallsGoOn, match=f"goes on \\({TWO}\\): nothing has been erased"):
            await erase(store, tmp_path, CALLER, by="user:ann")
        assert await store.calls.turns(ONE) == SAID
        await store.nodes.leave("node-0")  # its process has ended, and so has the call
        assert (await erase(store, tmp_path, CALLER, by="user:ann")).calls == 2

    run(database_url, work)


def test_a_call_that_only_the_spool_knows_may_go_on_too(database_url, tmp_path):
    clock = Clock()

    async def work(store):
        spool = Spool(tmp_path / "spool")
        spool.put(encode_record(Begun(call(ONE))))
        with pytest.raises(CallsGoOn):
            await erase(store, tmp_path, CALLER, by="user:ann")
        clock.pass_s(6 * 3600)
        assert (await erase(store, tmp_path, CALLER, by="user:ann")).spooled == 1

    run(database_url, work, clock)


def test_a_recording_on_another_machine_is_told_of(database_url, tmp_path):
    async def work(store):
        await talked(store, ONE)
        assert (await erase(store, tmp_path, CALLER, by="user:ann")).elsewhere == (ONE,)

    run(database_url, work)


def test_a_recording_whose_row_was_erased_from_another_machine_is_found_by_its_own_record(database_url, tmp_path):
    key = TapeKey(bytes(32))
    ours, theirs = {"from_number": STRANGER, "to_number": OURS}, {"from_number": CALLER, "to_number": OURS}

    def record(**numbers):
        known = {"direction": "inbound", "agent": "Desk", "started_at": NOON}
        return msgspec.json.encode(CallRecord(call_sid=ONE, **known, **numbers))

    async def work(store):
        kept, gone = folder(tmp_path, OTHERS), folder(tmp_path, ONE)
        (kept / "call.json").write_bytes(record(**ours))
        (gone / "2").mkdir()  # the process died in the first stream, and left no record of that
        (gone / "2" / "call.json").write_bytes(seal(record(**theirs), key))
        assert not await look(store, tmp_path, CALLER)
        erased = await erase(store, tmp_path, CALLER, by="user:ann", keys=TapeKeys([key]))
        assert (erased.recordings, erased.failed, gone.exists(), kept.exists()) == (1, (), False, True)

    run(database_url, work)


def test_what_cannot_be_deleted_is_told_and_can_be_erased_later(database_url, tmp_path, monkeypatch):
    async def work(store):
        await talked(store, ONE)
        path = folder(tmp_path, ONE)
        with monkeypatch.context() as patch:
            patch.setattr("shutil.rmtree", lambda path: (_ for _ in ()).throw(PermissionError(13, "no", str(path))))
            erased = await erase(store, tmp_path, CALLER, by="user:ann")
        assert (erased.failed, erased.calls) == ((ONE,), 0)
        assert (await store.calls.get(ONE)) is not None
        assert (await erase(store, tmp_path, CALLER, by="user:ann")).calls == 1
        assert not path.exists()

    run(database_url, work)
