"""The bridge, run again from the tapes of calls."""

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
    other.write_bytes(writer.take())
    return other


def test_a_call_replays_to_the_same_answers(tape):
    assert verify_tape(tape) == []


def test_there_is_something_to_compare(tape):
    sources = [record.source for record in read_tape(tape.read_bytes())]
    assert {Source.PHONE, Source.MODEL, Source.PROGRAM, Source.TIMER} <= set(sources)
    assert sources.count(Source.TO_PHONE) > 20
    assert sources.count(Source.TO_MODEL) > 100


@pytest.mark.parametrize("share", [0.1, 0.37, 0.5, 0.81, 0.999])
def test_a_tape_may_end_anywhere(tape, tmp_path, share):
    whole = tape.read_bytes()
    torn = tmp_path / "torn.tape"
    torn.write_bytes(whole[: int(len(whole) * share)])
    assert verify_tape(torn) == []


def test_an_answer_that_is_no_longer_given_is_a_difference(tape, tmp_path):
    """Without the model's word that the caller speaks, the bridge does not take back what the phone plays."""

    def hushed(record):
        speaks = record.source is Source.MODEL and b'"input_audio_buffer.speech_started"' in record.payload
        return TapeRecord(record.time, record.source, b'{"type":"nothing"}') if speaks else record

    differences = verify_tape(rewritten(tape, tmp_path, hushed))
    [clear] = [d for d in differences if any(b'"clear"' in frame for _, frame in d.taped)]
    assert not any(b'"clear"' in frame for _, frame in clear.replayed)
    assert str(clear).startswith(f"at {clear.time:.3f} s, from the model: ")
    assert 'the tape has to the phone: {"event":"clear"' in str(clear)
    assert len(differences) > 1  # the truncates' numbers, for one


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

    first = verify_tape(rewritten(tape, tmp_path, interrupt))[0]
    assert (first.time, first.source, first.payload, first.taped) == (*_fields(extra), ())
    assert first.replayed[0][0] is Source.TO_PHONE
    assert "the tape has nothing" in str(first)


def test_an_answer_of_other_bytes_is_a_difference(tape, tmp_path):
    audio = [r for r in read_tape(tape.read_bytes()) if r.source is Source.TO_PHONE and r.payload.startswith(b"#")]
    old = audio[len(audio) // 2]
    new = TapeRecord(old.time, old.source, b"#" + b"0" * 32)
    [difference] = verify_tape(rewritten(tape, tmp_path, lambda r: new if r == old else r))
    assert difference.time == old.time
    assert (Source.TO_PHONE, new.payload) in difference.taped
    assert (Source.TO_PHONE, old.payload) in difference.replayed


def test_frames_that_the_call_could_not_read_change_nothing(tape, tmp_path):
    broken = rewritten(
        tape, tmp_path, lambda r: [TapeRecord(r.time, Source.MODEL, b"{"), r] if r.source is Source.MODEL else r
    )
    assert verify_tape(broken) == []


def test_inputs_of_other_machines_are_passed_over(tape, tmp_path):
    shared = rewritten(
        tape, tmp_path, lambda r: [r, TapeRecord(r.time, Source.SESSION, b"{}")] if r.source is Source.TO_MODEL else r
    )
    assert verify_tape(shared) == []


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
