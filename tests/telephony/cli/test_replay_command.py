"""`realtime-bridge replay`: which tapes it finds, what it prints, its exit status; tapes that are no tapes."""

import base64
import json
import os
import re
import struct
import xml.etree.ElementTree as ET
from zlib import crc32

import pytest
import zstandard
from support.small_call import small_call

from realtime_bridge.tape import Source, TapeKey, TapeWriter, read_tape
from telephony.cli import main

SID = "CA00000000000000000000000000000001"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """A data directory with a call in it."""
    data_dir = tmp_path_factory.mktemp("data")
    small_call(data_dir)
    return data_dir


@pytest.fixture
def tape(recorded, tmp_path):
    """A copy of its tape, to be spoilt."""
    copy = tmp_path / "copy.tape"
    copy.write_bytes((recorded / "calls" / SID / "call.tape").read_bytes())
    return copy


@pytest.fixture
def replay(recorded, empty_directory, monkeypatch, capsys):
    """Runs the command; returns (exit status, stdout, stderr)."""
    monkeypatch.setenv("DATA_DIR", str(recorded))

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main(["replay", *map(str, arguments)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return left.value.code or 0, said.out, said.err

    return run


def rewritten(tape, change, **header):
    """The tape, with each record replaced by what `change` makes of it."""
    reader = read_tape(tape.read_bytes())
    writer = TapeWriter(created_at=reader.header.created_at, metadata=reader.header.metadata, **header)
    for record in reader:
        writer.append(record.time, record.source, change(record))
    tape.write_bytes(writer.end())


def without_a_clear(record):
    """As if the call had not been interrupted at the phone."""
    if record.source is Source.TO_PHONE and b'"clear"' in record.payload:
        return record.payload.replace(b'"clear"', b'"clean"')
    return record.payload


def test_a_tape_a_folder_a_sid_and_a_directory_of_them_are_found(recorded, replay):
    tape = recorded / "calls" / SID / "call.tape"
    for name in (tape, tape.parent, SID, recorded):
        status, out, err = replay(name)
        assert (status, out.count("identical")) == (0, 1)
        assert str(tape) in out
        assert re.match(r"1 of 1 tape identical; 0:0\d\.\d{3} of calls in ", err)


def test_a_tape_that_is_named_twice_is_replayed_once(recorded, replay):
    status, out, _ = replay("--verify", "--json", SID, recorded, recorded / "calls" / SID)
    assert status == 0
    assert len(json.loads(out)["tapes"]) == 1


def test_what_changed_is_told_in_words_and_the_exit_status_is_1(tape, replay):
    rewritten(tape, without_a_clear)
    status, out, err = replay(tape)
    assert status == 1
    assert "1 x clear, 1 x clean" in out or "1 x clean, 1 x clear" in out
    assert re.search(
        r"\n  0:0\d\.\d{3} clear: was not there\n    after the model's input_audio_buffer\.speech_started", out
    )
    assert 'the replay has to the phone: {"event":"clear"' in out
    assert err.startswith("0 of 1 tape identical")


def test_json_has_all_of_it(tape, recorded, replay):
    rewritten(tape, without_a_clear)
    status, out, _ = replay("--json", tape, SID)
    told = json.loads(out)
    assert (status, told["ok"]) == (1, False)
    changed, same = told["tapes"]
    assert (same["ok"], same["call_sid"], same["counts"], same["differences"]) == (True, SID, {}, [])
    assert same["seconds"] > 4
    assert min(same["inputs"], same["answers"]) > 200
    clear = next(d for d in changed["differences"] if d["what"] == "clear")
    assert clear["source"] == "model"
    assert json.loads(clear["input"])["type"] == "input_audio_buffer.speech_started"
    assert clear["taped"] is None
    assert clear["replayed"]["to"] == "to_phone"


def test_the_junit_report_has_a_case_for_each_tape(tape, recorded, tmp_path, replay):
    rewritten(tape, without_a_clear)
    (tmp_path / "no.tape").write_bytes(b"\0\1\2")
    status, _, _ = replay(tape, SID, tmp_path / "no.tape", "--junit", tmp_path / "report.xml")
    assert status == 1
    [suite] = ET.parse(tmp_path / "report.xml").getroot()
    assert {name: suite.get(name) for name in ("tests", "failures", "errors")} == {
        "tests": "3", "failures": "1", "errors": "1",
    }  # fmt: skip
    changed, same, broken = suite
    assert "clear: was not there" in changed.find("failure").text
    assert list(same) == []
    assert "not a tape" in broken.find("error").get("message")


def test_of_many_differences_the_first_are_shown(tape, replay):
    def deaf(record):
        return record.payload.replace(b"#", b"#0") if record.source is Source.TO_MODEL else record.payload

    rewritten(tape, deaf)
    status, out, _ = replay(tape)
    assert status == 1
    assert out.count(" caller_audio: other bytes") == 10
    assert re.search(r"and \d+ more, of which some may only follow from these", out)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "there is no 'nowhere'"),
        (["CA" + "1" * 32], "there is no recorded call CA1111"),
        (["empty"], "no tape (*.tape) in empty or below"),
        (["pipe"], "neither a file nor a directory"),
        (["\0"], "there is no '\\x00'"),
        (["x" * 5000], "name too long"),
        (["../../etc/" + SID], "there is no '../../etc/"),
        (["copy.tape", "--junit", "nowhere/report.xml"], "no such directory"),
        (["copy.tape", "--junit", "empty"], "--junit empty"),
        ([], "TAPE"),
        (["copy.tape", "--faster"], "--faster"),
    ],
    ids=lambda case: " ".join(case)[:30] if isinstance(case, list) else "",
)
def test_wrong_usage_exits_with_2_and_says_why(tape, tmp_path, replay, arguments, said):
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe")
    status, _, err = replay(*arguments)
    assert status == 2
    assert said in err.lower() or said in err


def test_a_sealed_tape_needs_its_key(tape, replay, monkeypatch):
    secret = bytes(range(32))
    key = TapeKey(secret)
    rewritten(tape, lambda record: record.payload, key=key, salt=bytes(16))
    status, out, _ = replay(tape)
    assert status == 1
    assert "RECORDING_KEY" in out
    monkeypatch.setenv("RECORDING_KEYS_OLD", base64.b64encode(secret).decode())
    assert replay(tape)[0] == 0


def head(body_bytes, plain_bytes, check=0):
    start = struct.pack("<III", body_bytes, plain_bytes, check)
    return start + struct.pack("<I", crc32(start))


def chunk(body, plain_bytes):
    """Of a tape, with checks that hold."""
    return head(len(body), plain_bytes, crc32(body)) + body


def tape_start(header, version=2):
    start = struct.pack("<8sHI", b"\x89RBTAPE\n", version, len(header)) + header
    return start + struct.pack("<I", crc32(start))


def spoilt(whole):
    """Name -> (tape, what is said of it)."""
    header_end = 14 + struct.unpack_from("<I", whole, 10)[0] + 4
    start, middle = whole[:header_end], len(whole) // 2
    header = json.loads(whole[14 : header_end - 4])
    flipped = bytearray(whole)
    flipped[middle] ^= 1
    note = struct.pack("<IdB", 15_000_000, 0.0, Source.NOTE) + bytes(15_000_000)
    bomb = chunk(zstandard.compress(note), len(note))
    records = b"".join(struct.pack("<IdB", 2, 1.0, source) + b"{}" for source in range(9))
    deep = json.dumps(header).encode()[:-1] + b',"x":' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    other = {**header, "metadata": {"song": "Greensleeves"}}
    wrong = {**header, "metadata": {**header["metadata"], "audio": "opus", "clock_s": "noon"}}
    return {
        "empty": (b"", "not a tape"),
        "foreign": (b"RIFF\x24\x00\x00\x00WAVEfmt ", "not a tape"),
        "text": (b"# My notes\n" * 100, "not a tape"),
        "through a text mode": (whole.replace(b"\n", b"\r\n"), "not a tape"),
        "cut in its header": (whole[: header_end // 2], "ends inside its header"),
        "corrupted": (bytes(flipped), "fails its check"),
        "with its beginning lost": (whole[header_end:], "not a tape"),
        "newer version": (tape_start(json.dumps(header).encode(), version=3), "version 3"),
        "newer feature": (tape_start(json.dumps({**header, "requires": ["zstd", "video"]}).encode()), "video"),
        "header of four gigabytes": (struct.pack("<8sHI", b"\x89RBTAPE\n", 2, 2**32 - 1), "cannot be"),
        "header that is no JSON": (tape_start(b"{]"), "not understood"),
        "header that is no UTF-8": (tape_start(b'{"created_at":"\xff"}'), "not understood"),
        "header nested deeply": (tape_start(deep), ""),
        "of something else": (tape_start(json.dumps(other).encode()) + chunk(b"", 0), "not the tape of a call"),
        "of a call that cannot be": (tape_start(json.dumps(wrong).encode()) + chunk(b"", 0), "not the tape of a call"),
        "chunk of four gigabytes": (start + head(2**32 - 1, 2**32 - 1), "cannot be"),
        "compression bomb": (start + bomb * 10, "refused"),
        "chunk that lies about its length": (start + chunk(zstandard.compress(bytes(1 << 20)), 16), "not as long"),
        "chunk that is not packed": (start + chunk(b"x" * 100, 100), "cannot be unpacked"),
        "records without sense": (start + chunk(zstandard.compress(records), len(records)), "Object missing"),
    }


SPOILT = spoilt(tape_start(b'{"metadata":{}}') + bytes(100))  # their names are those of any tape


@pytest.mark.parametrize("name", SPOILT)
def test_a_tape_that_cannot_be_replayed_exits_with_1_and_says_why(tape, replay, name):
    content, said = spoilt(tape.read_bytes())[name]
    tape.write_bytes(content)
    status, out, _ = replay(tape, SID)
    assert status == 1
    assert "failed: " in out.splitlines()[1]
    assert said in out
    assert out.count("identical") == 1, "the other one is replayed all the same"


def test_a_tape_on_which_nothing_is_yet_is_no_failure(tape, replay):
    whole = tape.read_bytes()
    tape.write_bytes(whole[: 14 + struct.unpack_from("<I", whole, 10)[0] + 4])
    status, out, _ = replay(tape)
    assert status == 0
    assert "nothing was recorded" in out


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_tape_that_was_not_written_to_its_end_is_replayed_as_far_as_it_goes(tape, replay, share):
    whole = tape.read_bytes()
    tape.write_bytes(whole[: int(len(whole) * share)])
    status, out, _ = replay(tape)
    assert status == 0
    assert "identical, as far as it goes" in out
