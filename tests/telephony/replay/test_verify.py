"""The bridge, run again from the tapes of calls."""

import re

import pytest
from support.small_call import small_call

from realtime_bridge.errors import ProtocolError
from realtime_bridge.tape import Source, TapeError, TapeRecord, TapeWriter, read_tape
from telephony.replay.verify import verify_tape
from telephony.testing import Link


@pytest.fixture(scope="module")
def tape(tmp_path_factory):
    """The tape of a call with a greeting that is interrupted, over a network that wavers."""
    call = small_call(tmp_path_factory.mktemp("data"), to_server=Link(40, 30), to_phone=Link(40, 30))
    assert call.result.failure is None
    assert len(call.record.barge_ins) == 1
    return call.folder.tape


def rewritten(path, tmp_path, change, metadata=None):
    """The same tape, with each record replaced by what `change` makes of it: one record, several in a list, or none."""
    reader = read_tape(path.read_bytes())
    writer = TapeWriter(created_at=reader.header.created_at, metadata=metadata or reader.header.metadata)
    for record in reader:
        new = change(record)
        for kept in new if isinstance(new, list) else [new] if new is not None else []:
            writer.append(kept.time, kept.source, kept.payload)
    other = tmp_path / "other.tape"
    other.write_bytes(writer.end())
    return other


def test_a_call_replays_to_the_same_answers(tape):
    verification = verify_tape(tape)
    assert verification.identical
    assert (verification.counts, verification.differences, verification.torn) == ({}, [], None)
    assert verification.seconds > 4


def test_there_is_something_to_compare(tape):
    sources = [record.source for record in read_tape(tape.read_bytes())]
    assert {Source.PHONE, Source.MODEL, Source.PROGRAM, Source.TIMER} <= set(sources)
    assert sources.count(Source.TO_PHONE) > 20
    assert sources.count(Source.TO_MODEL) > 100
    assert sources.count(Source.SESSION) > 50
    assert sources.count(Source.FROM_SESSION) > 50


@pytest.mark.parametrize("share", [0.1, 0.37, 0.5, 0.81, 0.999])
def test_a_tape_may_end_anywhere(tape, tmp_path, share):
    whole = tape.read_bytes()
    torn = tmp_path / "torn.tape"
    torn.write_bytes(whole[: int(len(whole) * share)])
    assert verify_tape(torn).identical


def test_an_answer_may_be_missing_at_the_end_only_if_the_call_was_not_written_to_its_end(tape, tmp_path):
    whole = list(read_tape(tape.read_bytes()))
    last = next(r for r in reversed(whole) if r.source is Source.FROM_SESSION)
    shorter = rewritten(tape, tmp_path, lambda r: None if r == last else r)
    assert verify_tape(shorter).counts == {"end": 1}
    shorter.write_bytes(shorter.read_bytes()[:-16])  # the tape's end
    assert verify_tape(shorter).identical


def test_an_answer_that_is_no_longer_given_is_a_difference(tape, tmp_path):
    """Without the model's word that the caller speaks, the bridge does not take back what the phone plays."""

    def hushed(record):
        speaks = record.source is Source.MODEL and b'"input_audio_buffer.speech_started"' in record.payload
        return TapeRecord(record.time, record.source, b'{"type":"nothing"}') if speaks else record

    verification = verify_tape(rewritten(tape, tmp_path, hushed))
    assert {"clear", "truncation"} <= set(verification.counts)
    clear = next(d for d in verification.differences if d.what == "clear")
    assert clear.taped[0] is Source.TO_PHONE
    assert clear.replayed is None
    assert re.match(r"0:0\d\.\d{3} clear: no longer there\n  after the model's nothing: ", str(clear))
    assert 'the tape has to the phone: {"event":"clear"' in str(clear)


def test_an_answer_that_was_not_given_is_a_difference(tape, tmp_path):
    """A second interruption, which the call did not have, while the greeting plays."""
    began = next(r.time for r in read_tape(tape.read_bytes()) if b'"response.output_audio.delta"' in r.payload)
    extra = TapeRecord(began + 0.5, Source.PROGRAM, b'{"type":"bridge.interrupt"}')
    placed = []

    def interrupt(record):
        if record.time < extra.time or record.source.is_output or placed:
            return record
        placed.append(True)
        return [extra, record]

    first = verify_tape(rewritten(tape, tmp_path, interrupt)).differences[0]
    assert (first.what, first.time, first.source, first.payload, first.taped) == ("clear", *_fields(extra), None)
    assert first.replayed[0] is Source.TO_PHONE
    assert "clear: was not there" in str(first)


def test_an_answer_of_other_bytes_is_a_difference(tape, tmp_path):
    audio = [r for r in read_tape(tape.read_bytes()) if r.source is Source.TO_PHONE and r.payload.startswith(b"#")]
    old = audio[len(audio) // 2]
    new = TapeRecord(old.time, old.source, old.payload.replace(old.payload[1:33], b"0" * 32))
    verification = verify_tape(rewritten(tape, tmp_path, lambda r: new if r == old else r))
    [difference] = verification.differences
    assert (difference.what, difference.time) == ("media", old.time)
    assert difference.taped == (Source.TO_PHONE, new.payload)
    assert difference.replayed == (Source.TO_PHONE, old.payload)
    assert verification.counts == {"media": 1}


def test_of_many_differences_the_first_are_kept_and_all_are_counted(tape, tmp_path, monkeypatch):
    monkeypatch.setattr("telephony.replay.verify.DIFFERENCES_KEPT", 3)
    audio = [r for r in read_tape(tape.read_bytes()) if r.source is Source.TO_MODEL and b'"input_audio' in r.payload]

    def changed(record):
        return TapeRecord(record.time, record.source, record.payload.replace(b"#", b"#0"))

    verification = verify_tape(rewritten(tape, tmp_path, lambda r: changed(r) if r in audio[5:15] else r))
    assert verification.counts == {"caller_audio": 10}
    assert [d.time for d in verification.differences] == [r.time for r in audio[5:8]]


def test_frames_that_the_call_could_not_read_change_nothing(tape, tmp_path):
    broken = rewritten(
        tape, tmp_path, lambda r: [TapeRecord(r.time, Source.MODEL, b"{"), r] if r.source is Source.MODEL else r
    )
    assert verify_tape(broken).identical


def test_notes_are_no_input(tape, tmp_path):
    note = b'{"kind":"recording_paused"}'
    noted = rewritten(
        tape, tmp_path, lambda r: [r, TapeRecord(r.time, Source.NOTE, note)] if r.source is Source.TO_MODEL else r
    )
    assert verify_tape(noted).identical


def test_a_session_that_says_something_else_is_a_difference(tape, tmp_path):
    """The caller's words were others: the session tells of others."""

    def misheard(record):
        if record.source is not Source.SESSION or b"Stop, please." not in record.payload:
            return record
        return TapeRecord(record.time, record.source, record.payload.replace(b"Stop, please.", b"Go on, please."))

    verification = verify_tape(rewritten(tape, tmp_path, misheard))
    assert "history" in verification.counts
    [first, *_] = [d for d in verification.differences if d.what == "history"]
    assert 'from the session: {"do":"emit"' in str(first)
    assert "Stop, please." in str(first)
    assert "Go on, please." in str(first)


def test_a_session_s_input_before_its_opening_is_refused(tape, tmp_path):
    headless = rewritten(tape, tmp_path, lambda r: None if b'"type":"opening"' in r.payload else r)
    with pytest.raises(ProtocolError, match="before its opening"):
        verify_tape(headless)


@pytest.mark.parametrize("time", [float("nan"), float("inf"), -1.0])
def test_a_time_that_cannot_be_is_refused(tape, tmp_path, time):
    with pytest.raises(TapeError, match="cannot be on a tape"):
        verify_tape(rewritten(tape, tmp_path, lambda r: TapeRecord(time, r.source, r.payload)))


@pytest.mark.parametrize("at", [700.0, 1e9, 1e300])
def test_a_leap_in_time_that_would_be_filled_with_silence_is_refused(tape, tmp_path, at):
    with pytest.raises(ProtocolError, match="is of no call"):
        verify_tape(rewritten(tape, tmp_path, lambda r: TapeRecord(at if r.time > 2 else r.time, r.source, r.payload)))


@pytest.mark.parametrize(
    ("source", "payload"),
    [
        (Source.PHONE, b"[" * 100_000),
        (Source.PROGRAM, b"[" * 100_000),
        (Source.SESSION, b'{"type":"opening","agent":' + b'{"a":' * 100_000),
        (Source.PHONE, b"\xff"),
        (Source.PROGRAM, b'"\xff"'),
        (Source.SESSION, b'{"type":"opening","agent":{"name":"\xff"}}'),
        (Source.SESSION, b'{"type":"opening"}'),
    ],
    ids=["deep phone", "deep program", "deep session", "phone", "program", "session", "opening"],
)
def test_an_input_that_cannot_be_read_is_refused(tape, tmp_path, source, payload):
    with pytest.raises(ProtocolError):
        verify_tape(rewritten(tape, tmp_path, lambda r: [TapeRecord(r.time, source, payload), r]))


def test_the_tape_of_something_else_is_refused(tape, tmp_path):
    other = rewritten(tape, tmp_path, lambda r: r, metadata={"call_sid": "CA1"})
    with pytest.raises(ProtocolError, match=r"not the tape of a call.*at metadata"):
        verify_tape(other)


def test_an_input_that_no_bridge_takes_is_refused(tape, tmp_path):
    bad = TapeRecord(0.0, Source.PROGRAM, b'{"type":"bridge.dance"}')
    with pytest.raises(ProtocolError, match="not understood"):
        verify_tape(rewritten(tape, tmp_path, lambda r: [bad, r]))


def test_answers_to_nothing_are_refused(tape, tmp_path):
    outputs = rewritten(tape, tmp_path, lambda r: r if r.source.is_output else None)
    with pytest.raises(ProtocolError, match="begins with an answer"):
        verify_tape(outputs)


def test_what_is_no_tape_is_refused(tmp_path):
    path = tmp_path / "call.tape"
    path.write_bytes(b"RIFF")
    with pytest.raises(TapeError):
        verify_tape(path)


def _fields(record):
    return record.time, record.source, record.payload
