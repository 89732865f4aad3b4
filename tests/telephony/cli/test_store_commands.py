"""Commands on the database: tokens, operators, approvals and calls, beside a server that runs or does not."""

import asyncio
import base64
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.api_node import SID, ask, eventually, node
from support.live_session import answer

from realtime_bridge.tape import Source, TapeKey, TapeWriter, read_tape
from telephony.cli import main
from telephony.records.folder import CallFolder
from telephony.records.record import CallRecord, Line
from telephony.store import Store
from telephony.store.rows import CallEnd, CallRow, ToolRow, TurnRow

REPOSITORY = Path(__file__).parents[3]
PROGRAM = [sys.executable, "-c", "from telephony.cli import main; main()"]
CALLER = "+14155550100"


@pytest.fixture
def here(empty_directory):
    """A directory without settings; its database, as commands find it."""
    (empty_directory / "data").mkdir()
    return f"sqlite:///{empty_directory}/data/realtime-bridge.db"


@pytest.fixture
def program(here, capsys, monkeypatch):
    """Runs a command: (exit status, stdout, stderr)"""

    def run(*arguments, stdin=""):
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        return (end.value.code or 0, *capsys.readouterr())

    return run


def on(url, work):
    async def opened():
        async with Store.open(url, node="test") as store:
            return await work(store)

    return asyncio.run(opened())


def test_a_token_is_printed_once_found_by_its_secret_and_revoked(program, here):
    status, out, err = program(
        "token", "create", "--name", "crm", "--scope", "calls:read,numbers:read", "--expires", "90d"
    )
    secret = out.strip()
    assert (status, out) == (0, secret + "\n")
    assert secret not in err
    row = on(here, lambda store: store.access.find_token(secret))
    assert (row.name, row.scopes) == ("crm", ("calls:read", "numbers:read"))
    assert 89 <= (row.expires_at - datetime.now(UTC)).days <= 90
    _, listed, _ = program("token", "list", "--json")
    assert [token["name"] for token in json.loads(listed)] == ["crm"]
    assert secret not in listed
    assert secret.encode() not in Path(here.removeprefix("sqlite:///")).read_bytes()
    assert program("token", "revoke", row.token_id)[0] == 0
    assert on(here, lambda store: store.access.find_token(secret)) is None
    assert program("token", "revoke", row.token_id)[0] == 1


def test_the_audit_names_who_did_what_with_numbers_masked(program, here):
    token_id = json.loads(program("token", "create", "--name", "crm", "--scope", "admin", "--json")[1])["token_id"]
    program("operator", "add", "ann", "--scope", "approvals:decide", stdin="long enough\n")
    program("operator", "disable", "ann")
    program("operator", "disable", "ann")  # once more changes nothing
    program("token", "revoke", token_id)
    on(here, lambda store: store.access.audit("token:crm", "suppression.add", CALLER, {"reason": f"asked by {CALLER}"}))
    status, out, _ = program("audit", "--json")
    rows = json.loads(out)
    assert status == 0
    assert [row["action"] for row in rows] == [
        "suppression.add", "token.revoke", "operator.disable", "operator.add", "token.create",
    ]  # fmt: skip
    assert rows[-1]["who"].startswith("user:")
    shown = program("audit")[1]
    assert "***100" in shown
    assert CALLER not in shown
    assert CALLER in program("audit", "--numbers")[1]
    assert len(program("audit", "--subject", token_id)[1].splitlines()) == 3
    assert "Nothing like that" in program("audit", "--who", "operator:eve")[2]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["token", "create", "--name", "x", "--scope", "everything"], "unknown scope 'everything'"),
        (["token", "create", "--name", "a/b", "--scope", "admin"], "a name has"),
        (["token", "create", "--name", "x", "--scope", "admin", "--expires", "soon"], "--expires soon"),
        (["operator", "add", "ann", "--scope", "admin"], "a password needs"),
        (["calls", "list"], "there is no database"),
        (["approvals", "list"], "there is no database"),
    ],
)
def test_wrong_usage_is_told_and_exits_with_2(program, arguments, says):
    status, out, err = program(*arguments)
    assert (status, out) == (2, "")
    assert says in err


def test_operators_are_added_listed_and_disabled(program, here):
    status, _, err = program("operator", "add", "ann", "--scope", "approvals:decide", stdin="correct horse\n")
    assert (status, "horse" in err) == (0, False)
    assert on(here, lambda store: store.access.check_operator("ann", "correct horse")) is not None
    assert program("operator", "add", "ann", "--scope", "admin", stdin="another one too\n")[0] == 1
    assert b"correct horse" not in Path(here.removeprefix("sqlite:///")).read_bytes()
    assert program("operator", "disable", "ann")[0] == 0
    assert on(here, lambda store: store.access.check_operator("ann", "correct horse")) is None
    assert program("operator", "disable", "ann")[0] == 1
    assert "ann" in program("operator", "list")[1]


def finished_call(url, files):
    async def work(store):
        row = CallRow(
            call_sid=SID, direction="inbound", from_number=CALLER, to_number="+14155550101", agent="desk",
            created_at=datetime.now(UTC), status="in-progress",
        )  # fmt: skip
        await store.calls.begin(row)
        await store.calls.event(SID, "handoff", {"to": "billing"}, datetime.now(UTC))
        end = CallEnd(
            disposition="the caller hung up", ended_at=datetime.now(UTC), duration_ms=61_000, status="completed",
            transcript=(
                TurnRow(role="assistant", text="Front desk, hel", cut=True, agent="desk"),
                TurnRow(role="user", text="Is it open?"),
            ),
            tools=(ToolRow(call_id="c", name="hours", arguments={"day": "today"}, start_ms=0, outcome="done"),),
        )  # fmt: skip
        await store.calls.finish(SID, end)

    on(url, work)
    folder = Path(files) / "calls" / SID
    folder.mkdir(parents=True)
    (folder / "call.wav").write_bytes(b"RIFF")
    return folder


def test_calls_are_listed_shown_and_exported(program, here, tmp_path):
    folder = finished_call(here, tmp_path / "data")
    status, out, _ = program("calls", "list")
    assert status == 0
    assert SID in out
    assert CALLER not in out
    assert CALLER in program("calls", "list", "--numbers")[1]
    assert json.loads(program("calls", "list", "--json", "--number", CALLER)[1])[0]["call_sid"] == SID
    assert program("calls", "list", "--agent", "nobody")[1] == ""

    _, out, _ = program("calls", "show", SID)
    for words in ("desk: Front desk, hel [cut]", "caller: Is it open?", 'hours {"day":"today"}: done', "handoff"):
        assert words in out
    assert str(folder / "call.wav") in out
    shown = json.loads(program("calls", "show", SID, "--json")[1])
    assert [turn["text"] for turn in shown["transcript"]] == ["Front desk, hel", "Is it open?"]
    assert program("calls", "show", "CA404")[0] == 1

    status, out, _ = program("calls", "export", SID, "--to", "exported")
    exported = Path(out.strip())
    assert (status, exported) == (0, Path("exported") / SID)
    assert (exported / "call.wav").read_bytes() == b"RIFF"
    assert "caller: Is it open?" in (exported / "transcript.txt").read_text()
    assert json.loads((exported / "stored.json").read_text())["call"]["from_number"] == CALLER
    (tmp_path / "file").write_text("")
    assert program("calls", "export", SID, "--to", "file")[0] == 1


def test_a_sealed_call_of_two_streams_is_shown_and_exported_opened(program, here, tmp_path, monkeypatch):
    finished_call(here, tmp_path / "data")
    key = TapeKey(b"s" * 32)
    for start_ms in (900, 1400):
        folder = CallFolder.of_next_stream(tmp_path / "data", SID, key=key)
        folder.create()
        folder.write_record(record_with_answer(start_ms))
        writer = TapeWriter(created_at=datetime.now(UTC), metadata={"stream": start_ms}, key=key, salt=b"t" * 16)
        writer.append(0.5, Source.NOTE, b"{}")
        folder.tape.write_bytes(writer.end())

    assert "call.json cannot be read" in program("calls", "show", SID)[1]
    status, _, err = program("calls", "export", SID, "--to", "closed")
    assert status == 1
    assert "2/call.json" in err
    assert key.key_id in err
    readable = {path.name for path in Path("closed").rglob("*") if path.is_file()}
    assert readable == {"stored.json", "transcript.txt", "call.wav"}

    monkeypatch.setenv("RECORDING_KEY", base64.b64encode(b"s" * 32).decode())
    _, out, _ = program("calls", "show", SID)
    assert "stream 1: 3.0 s; answers after 400 ms (half of 1), 400 ms at worst" in out
    assert "stream 2: 3.0 s; answers after 900 ms" in out
    exported = Path(program("calls", "export", SID, "--to", "open")[1].strip())
    for name, start_ms in (("call.tape", 900), ("2/call.tape", 1400)):
        tape = read_tape((exported / name).read_bytes())
        assert tape.header.metadata == {"stream": start_ms}
        assert [(record.time, record.payload) for record in tape] == [(0.5, b"{}")]
        assert not tape.torn
    assert json.loads((exported / "2" / "call.json").read_text())["transcript"][1]["answer_ms"] == 900
    assert (exported / "2" / "call.json").stat().st_mode & 0o077 == 0


def record_with_answer(start_ms):
    lines = (
        Line(role="user", text="Hello", start_ms=0, end_ms=500),
        Line(role="assistant", text="Hi", start_ms=start_ms, end_ms=start_ms + 500, answer_ms=start_ms - 500),
    )
    return CallRecord(
        call_sid=SID, direction="inbound", from_number="", to_number="", started_at=datetime.now(UTC), agent="desk",
        duration_ms=3000, transcript=lines,
    )  # fmt: skip


async def command(directory, *arguments, stdin=None):
    """The program as a process of its own: (exit status, stdout, stderr)"""

    def run():
        return subprocess.run(
            [*PROGRAM, *arguments], cwd=directory, capture_output=True, text=True, timeout=120, check=False, input=stdin,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "HOME": str(directory), "USER": "ann"},
        )  # fmt: skip

    done = await asyncio.to_thread(run)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(("verb", "ran"), [("approve", [5.0]), ("reject", [])])
def test_a_waiting_call_is_decided_from_the_command_line_while_the_server_runs(program, here, tmp_path, verb, ran):
    async def waiting(at):
        return (await at.store.approvals.list(status="waiting")).rows

    async def scenario():
        async with node(here) as at, at.call() as call:
            call.asks()
            (row,) = await eventually(lambda: waiting(at))
            status, out, _ = await asyncio.to_thread(program, "approvals", "list", "--json")
            assert (status, json.loads(out)[0]["arguments"]) == (0, '{"amount":5}')
            status, out, err = await command(tmp_path, "approvals", verb, row.approval_id)
            assert (status, err) == (0, ""), "and the call has taken it up"
            assert out == f'refund {{"amount":5}} is {verb.removesuffix("e")}ed.\n'
            await answer(call.transport)
            assert call.ran == ran
            (audit,) = await at.store.access.audits(subject=row.approval_id)
            assert audit.who.startswith("user:")
            assert (await ask("GET", f"{at.url}/approvals/{row.approval_id}", await at.token()))[1][
                "status"
            ] != "waiting"
            status, _, err = await asyncio.to_thread(program, "approvals", "approve", row.approval_id)
            assert status == 1
            assert "cannot be decided any more" in err

    asyncio.run(asyncio.wait_for(scenario(), 120))


def test_an_operator_decides_with_password_and_right_only(program, here):
    program("operator", "add", "ann", "--scope", "approvals:decide", stdin="correct horse\n")
    program("operator", "add", "bob", "--scope", "calls:read", stdin="battery staple\n")
    for name, password, says in (
        ("ann", "wrong", "another password"),
        ("bob", "battery staple", "lacks the right"),
        ("ann", "correct horse", "there is no approval"),
    ):
        status, _, err = program("approvals", "approve", "apr_1", "--operator", name, stdin=password + "\n")
        assert status == 1
        assert says in err
        assert password not in err
