"""call.json and the folder it lies in."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.errors import MisuseError, ProtocolError
from realtime_bridge.session.usage import Tokens
from realtime_bridge.tape import InlineDisk
from telephony.records.folder import CallFolder, replace_file
from telephony.records.record import (
    Approval,
    BargeIn,
    CallRecord,
    Handoff,
    Line,
    ToolUse,
    decode_record,
    encode_record,
)
from telephony.records.recording_file import RecordingFile

CALL_SID = "CA" + "0123456789abcdef" * 2

RECORD = CallRecord(
    call_sid=CALL_SID,
    direction="inbound",
    from_number="+1415•••0123",
    to_number="+1628•••0199",
    started_at=datetime(2026, 11, 21, 9, 30, tzinfo=UTC),
    ended_at=datetime(2026, 11, 21, 9, 31, tzinfo=UTC),
    duration_ms=60_000,
    agent="Front desk",
    model="local",
    disposition="completed",
    transcript=(
        Line(role="assistant", text="Hello, this is", cut=True, unheard="the front desk.", agent="Front desk"),
        Line(role="user", text="Cancel my order.", start_ms=2100, end_ms=3200),
    ),
    tools=(
        ToolUse(
            call_id="call_1",
            name="cancel",
            arguments={"order": "A-17", "reasons": [1, None]},
            start_ms=4000,
            end_ms=4200,
            outcome="done",
            output="ok",
            approved=True,
        ),
    ),
    approvals=(Approval(call_id="call_1", tool="cancel", start_ms=3500, end_ms=4000, decision="approved", by="ann"),),
    handoffs=(Handoff(from_agent="Front desk", to_agent="Billing", at_ms=5000),),
    barge_ins=(BargeIn(item_id="item_1", audio_end_ms=1240, at_ms=2000, heard_ms_true=1236.5),),
    latency_ms={"caller_to_model_p50": 0.2, "caller_to_model_p99": 0.5},
    usage=Tokens(responses=3, total_in=100, total_out=50),
    cost_usd=0.0123,
    problems=("call.tape is not whole",),
)


def test_a_record_comes_back_as_it_was():
    assert decode_record(encode_record(RECORD)) == RECORD


def test_a_record_says_everything_even_what_is_empty():
    record = json.loads(
        encode_record(
            CallRecord(
                call_sid=CALL_SID,
                direction="outbound",
                from_number="",
                to_number="",
                started_at=RECORD.started_at,
                agent="A",
            )
        )
    )
    assert record["transcript"] == record["tools"] == record["handoffs"] == []
    assert record["cost_usd"] is None
    assert record["disposition"] == "in progress"


def test_a_record_reads_as_other_programs_expect():
    record = json.loads(encode_record(RECORD))
    heard = record["transcript"][0]
    assert (heard["role"], heard["text"], heard["cut"]) == ("assistant", "Hello, this is", True)
    assert record["handoffs"] == [{"from": "Front desk", "to": "Billing", "at_ms": 5000}]
    assert record["started_at"] == "2026-11-21T09:30:00Z"
    assert record["usage"]["total_in"] == 100


def test_arguments_that_are_no_json_are_refused():
    tool = ToolUse(call_id="c", name="n", arguments={"x": object()}, start_ms=0)
    with pytest.raises(MisuseError, match="JSON"):
        encode_record(msgspec.structs.replace(RECORD, tools=(tool,)))


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"", "not the record"),
        (b"[]", "not the record"),
        (encode_record(RECORD).replace(b'"inbound"', b'"sideways"'), r"\$\.direction"),
        (encode_record(RECORD).replace(b'"format": 1', b'"format": 9'), r"\$\.format"),
    ],
)
def test_what_is_no_record_is_refused_by_field(data, named):
    with pytest.raises(ProtocolError, match=named):
        decode_record(data)


@pytest.mark.parametrize(
    "call_sid",
    [
        "",
        "CA",
        "../../etc",
        CALL_SID + "\n",
        CALL_SID + "/..",
        "CA" + "g" * 32,
        "SM" + "0" * 32,
        CALL_SID[:-1],
        "CA" + "٣" * 32,
    ],
)
def test_what_is_no_call_sid_names_no_folder(tmp_path, call_sid):
    with pytest.raises(ProtocolError, match="call_sid"):
        CallFolder(tmp_path, call_sid)


@given(st.text() | st.from_regex(r"(CA)?[0-9a-fA-F]{31,33}([./\\]{1,3}|\n)?", fullmatch=True))
def test_no_text_leads_out_of_the_data_directory(tmp_path_factory, text):
    data_dir = tmp_path_factory.getbasetemp()
    try:
        folder = CallFolder(data_dir, text)
    except ProtocolError:
        return
    assert folder.path.resolve().parent == (data_dir / "calls").resolve()


def test_a_folder_and_its_files_are_private(tmp_path):
    folder = CallFolder(tmp_path / "new" / "data", CALL_SID)
    folder.create()
    folder.create()
    folder.write_record(RECORD)
    folder.write_timeline(RECORD)
    for directory in (folder.path, folder.path.parent, folder.path.parent.parent):
        assert directory.stat().st_mode & 0o777 == 0o700
    for file in (folder.record, folder.timeline):
        assert file.stat().st_mode & 0o777 == 0o600
    assert folder.read_record() == RECORD
    assert "Call with Front desk" in folder.timeline.read_text()
    assert sorted(path.name for path in folder.path.iterdir()) == ["call.json", "timeline.svg"]


def test_the_picture_shows_the_recording_that_lies_beside_it(tmp_path):
    async def record():
        recording = RecordingFile(folder.recording, InlineDisk(), on_problem=problems.append)
        recording.caller_audio(0, b"\x80\x00" * 80_000)
        await recording.close()

    problems = []
    folder = CallFolder(tmp_path, CALL_SID)
    folder.create()
    folder.write_timeline(RECORD)
    silent = folder.timeline.read_text()
    asyncio.run(record())
    folder.write_timeline(RECORD)
    assert folder.timeline.read_text().count("v46") > silent.count("v46") + 400
    assert problems == []


def test_a_reader_never_sees_half_a_record(tmp_path):
    path = tmp_path / "call.json"
    contents = {bytes([65 + i]) * 200_000 for i in range(4)}
    replace_file(path, min(contents))
    with ThreadPoolExecutor(1) as writer:
        writing = writer.submit(lambda: [replace_file(path, content) for content in sorted(contents) * 10])
        while not writing.done():
            assert path.read_bytes() in contents
        writing.result()


def test_a_write_that_fails_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "call.json"
    path.mkdir()  # a file cannot take a directory's place
    with pytest.raises(OSError, match="directory"):
        replace_file(path, b"new")
    assert list(tmp_path.iterdir()) == [path]
