"""`calls prune`, `calls erase` and `calls export --number`, on a database and folders as a server leaves them."""

import asyncio
import io
import json
import sys
import zipfile
from datetime import UTC, datetime, timedelta

import pytest

from telephony.cli import main
from telephony.store import Store
from telephony.store.rows import CallEnd, CallRow, TurnRow

CALLER, OURS = "+14155550100", "+14155550101"
OLD, NEW, OTHERS = "CA" + "1" * 32, "CA" + "2" * 32, "CA" + "3" * 32
NOW = datetime.now(UTC)


@pytest.fixture
def here(empty_directory):
    """A directory with a server's data: two calls of one person, one of another."""
    (empty_directory / "data").mkdir()

    async def fill(store):
        for call_sid, caller, days in ((OLD, CALLER, 40), (NEW, CALLER, 1), (OTHERS, "+14155550199", 1)):
            at = NOW - timedelta(days=days)
            row = CallRow(
                call_sid=call_sid, direction="inbound", from_number=caller, to_number=OURS, created_at=at
            )  # fmt: skip
            said = (TurnRow(role="user", text="Hello"),)
            end = CallEnd(
                disposition="hung up", ended_at=at, duration_ms=1, transcript=said, recording=f"calls/{call_sid}"
            )  # fmt: skip
            await store.calls.finish(call_sid, end, call=row)
            folder = empty_directory / "data" / "calls" / call_sid
            folder.mkdir(parents=True)
            (folder / "call.wav").write_bytes(b"RIFF")

    on(empty_directory, fill)
    return empty_directory


@pytest.fixture
def program(here, capsys, monkeypatch):
    """Runs a command: (exit status, stdout, stderr)"""

    def run(*arguments, stdin=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as end:
            main(["calls", *arguments])
        return (end.value.code or 0, *capsys.readouterr())

    return run


def on(directory, work):
    async def opened():
        async with Store.open(f"sqlite:///{directory}/data/realtime-bridge.db", node="test") as store:
            return await work(store)

    return asyncio.run(opened())


def folders(directory):
    return {path.name for path in (directory / "data" / "calls").iterdir()}


def test_old_recordings_are_pruned_by_hand_or_as_the_setting_says(program, here, monkeypatch):
    assert program("prune")[0] == 2
    assert "expected a number of days" in program("prune", "--older-than", "soon")[2]
    status, out, _ = program("prune", "--older-than", "30d", "--dry-run")
    assert (status, out) == (0, "would be deleted: recordings of 1 calls (0.0 MB), words of 1\n")
    assert folders(here) == {OLD, NEW, OTHERS}
    monkeypatch.setenv("RECORDING_DAYS_MAX", "30")
    assert json.loads(program("prune", "--json")[1])["folders"] == [OLD]
    assert folders(here) == {NEW, OTHERS}


def test_a_person_is_erased_after_a_question(program, here):
    status, _, err = program("erase", "--number", "+1 (415) 555-0100", stdin="n\n")
    assert status == 1
    assert "2 calls, 2 recordings and 0 attempts to call are kept." in err
    assert folders(here) == {OLD, NEW, OTHERS}
    status, out, _ = program("erase", "--number", CALLER, "--yes")
    assert (status, out) == (0, "erased: 2 calls, 2 recordings, 0 attempts to call\n")
    assert folders(here) == {OTHERS}
    assert program("erase", "--number", CALLER, "--yes")[0] == 1  # nothing is kept any more
    assert program("erase", "--number", "4155550100", "--yes")[0] == 2


def test_a_call_that_goes_on_keeps_its_caller_from_being_erased(program, here):
    async def begin(store):
        await store.nodes.heartbeat("test")
        row = CallRow(call_sid="CA4", direction="inbound", from_number=CALLER, to_number=OURS, created_at=NOW, node="test")  # fmt: skip
        await store.calls.begin(row)

    on(here, begin)
    status, _, err = program("erase", "--number", CALLER, "--yes")
    assert status == 1
    assert "goes on (CA4): nothing has been erased; wait for its end, or hang it up" in err


def test_a_person_gets_a_zip_file_of_their_calls(program, here):
    status, out, _ = program("export", "--number", CALLER, "--to", "for/ann.zip")
    assert (status, out) == (0, "for/ann.zip\n")
    written = here / "for" / "ann.zip"
    assert written.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(written) as archive:
        assert archive.read(f"calls/{NEW}/call.wav") == b"RIFF"
        assert f"calls/{OTHERS}/stored.json" not in archive.namelist()
    assert [path.name for path in written.parent.iterdir()] == ["ann.zip"]
    assert "is there already" in program("export", "--number", CALLER, "--to", "for/ann.zip")[2]
    assert program("export", "--number", "+14155550177", "--to", "for/nobody.zip")[0] == 1
    assert [path.name for path in written.parent.iterdir()] == ["ann.zip"]
    assert program("export", "--number", CALLER, "--to", "directory")[0] == 2
    assert program("export", NEW, "--number", CALLER)[0] == 2
