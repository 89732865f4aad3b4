"""The tape's format: what is written comes back, however it is cut; damage is found and named."""

import io
import json
import struct
import zlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.errors import MisuseError
from realtime_bridge.tape import PAYLOAD_BYTES_MAX, Source, TapeError, TapeRecord, TapeWriter, read_tape

CREATED_AT = datetime(2026, 11, 21, 9, 30, 0, 250_000, tzinfo=UTC)
HEAD_BYTES = 21

records = st.lists(
    st.builds(TapeRecord, st.floats(0, 1e6), st.sampled_from(Source), st.binary(max_size=300)),
    max_size=12,
)


def tape_of(records, metadata=None):
    writer = TapeWriter(created_at=CREATED_AT, metadata=metadata or {})
    for record in records:
        writer.append(record.time, record.source, record.payload)
    return writer.take()


def header_bytes():
    return len(tape_of([]))


def ends_of(records):
    """Where the header ends, and each record."""
    ends = [header_bytes()]
    for record in records:
        ends.append(ends[-1] + HEAD_BYTES + len(record.payload))
    return ends


class Trickle(io.RawIOBase):
    """A stream that gives its bytes in pieces of the sizes it is told, then one by one."""

    def __init__(self, data, sizes):
        self._data = io.BytesIO(data)
        self._sizes = iter(sizes)

    def read(self, size=-1):
        return self._data.read(min(size, next(self._sizes, 1)))


@given(records)
def test_what_is_written_is_read_back_in_order(records):
    tape = read_tape(tape_of(records))
    assert list(tape) == records
    assert tape.torn is None


def test_a_tape_tells_when_and_by_whom_it_was_made():
    header = read_tape(tape_of([], {"agent": "Front desk", "nested": {"käse": [1, None]}})).header
    assert header.created_at == CREATED_AT
    assert header.metadata == {"agent": "Front desk", "nested": {"käse": [1, None]}}
    assert header.sources["0"] == "phone"


def test_a_program_that_knows_only_the_description_can_read_a_tape():
    data = tape_of([TapeRecord(1.5, Source.MODEL, b"{}")], {"a": 1})
    magic, version, size = struct.unpack_from("<8sHI", data)
    header = json.loads(data[14 : 14 + size])
    assert (magic, version, header["metadata"]) == (b"\x89RBTAPE\n", 1, {"a": 1})
    assert zlib.crc32(data[: 14 + size]) == int.from_bytes(data[14 + size : 18 + size], "little")
    at = 18 + size
    length, check, time, source, head_check = struct.unpack_from("<IIdBI", data, at)
    assert (length, time, header["sources"][str(source)]) == (2, 1.5, "model")
    assert check == zlib.crc32(b"{}")
    assert head_check == zlib.crc32(data[at : at + 17])
    assert data[at + 21 :] == b"{}"


@given(records, st.lists(st.integers(1, 50), max_size=30))
def test_how_a_stream_is_split_does_not_matter(records, sizes):
    assert list(read_tape(Trickle(tape_of(records), sizes))) == records


@given(records, st.lists(st.integers(0, 5), max_size=6))
def test_when_bytes_are_taken_does_not_matter(records, takes):
    writer = TapeWriter(created_at=CREATED_AT, metadata={})
    data = b""
    for i, record in enumerate(records):
        writer.append(record.time, record.source, record.payload)
        if i in takes:
            data += writer.take()
    assert data + writer.take() == tape_of(records)


@given(records, st.data())
def test_a_tape_cut_anywhere_gives_every_whole_record_and_says_where_it_is_torn(records, data):
    whole = tape_of(records)
    ends = ends_of(records)
    cut = data.draw(st.integers(ends[0], len(whole)))
    tape = read_tape(whole[:cut])
    kept = sum(end <= cut for end in ends[1:])
    assert list(tape) == records[:kept]
    if cut in ends:
        assert tape.torn is None
    else:
        assert tape.torn is not None
        assert tape.torn.offset == ends[kept]


@given(records, st.integers(0, 100_000), st.integers(1, 100))
def test_zeros_that_a_dying_machine_leaves_behind_are_a_torn_end(records, cut, zeros):
    whole = tape_of(records)
    ends = ends_of(records)
    cut = ends[0] + cut % (len(whole) - ends[0] + 1)
    left = whole[:cut] + bytes(zeros)
    # Zeros in place of zeros are no damage: a record may be whole although its last bytes never reached the disk.
    kept = sum(left[:end] == whole[:end] for end in ends[1:])
    tape = read_tape(left)
    assert list(tape) == records[:kept]
    assert (tape.torn is None) == (len(left) == ends[kept])


@given(records.filter(len), st.data())
def test_any_flipped_bit_in_the_middle_is_found_and_its_record_named(records, data):
    damaged_tape = bytearray(tape_of([*records, TapeRecord(9.0, Source.PHONE, b"last")]))
    ends = ends_of(records)
    at = data.draw(st.integers(ends[0], ends[-1] - 1))
    damaged_tape[at] ^= 1 << data.draw(st.integers(0, 7))
    damaged = max(i for i, end in enumerate(ends) if end <= at)
    read = []
    with pytest.raises(TapeError, match=f"at byte {ends[damaged]} ") as caught:
        read.extend(read_tape(bytes(damaged_tape)))
    assert caught.value.offset == ends[damaged]
    assert read == records[:damaged]


def test_after_damage_nothing_more_is_given_out():
    data = bytearray(tape_of([TapeRecord(0.0, Source.PHONE, b"abc"), TapeRecord(1.0, Source.PHONE, b"def")]))
    data[header_bytes() + HEAD_BYTES] ^= 1
    tape = read_tape(bytes(data))
    with pytest.raises(TapeError):
        next(tape)
    assert list(tape) == []


@given(st.integers(0, 200), st.integers(0, 7))
def test_a_damaged_header_is_refused(at, bit):
    data = bytearray(tape_of([]))
    data[at % len(data)] ^= 1 << bit
    with pytest.raises(TapeError):
        read_tape(bytes(data))


@given(st.binary(max_size=100))
def test_what_is_no_tape_is_refused(data):
    with pytest.raises(TapeError):
        read_tape(data)


def test_a_tape_that_ends_in_its_header_is_refused():
    data = tape_of([])
    for cut in range(len(data)):
        with pytest.raises(TapeError, match="inside its header"):
            read_tape(data[:cut])


def test_a_newer_version_is_refused_by_name():
    data = bytearray(tape_of([]))
    data[8] = 2
    with pytest.raises(TapeError, match="version 2"):
        read_tape(bytes(data))


@pytest.mark.parametrize(("size", "source"), [(PAYLOAD_BYTES_MAX + 1, 0), (3, 99)])
def test_a_record_that_cannot_be_is_refused_although_its_checks_hold(size, source):
    head = struct.pack("<IIdB", size, zlib.crc32(b"abc"), 0.0, source)
    with pytest.raises(TapeError, match="cannot be"):
        list(read_tape(tape_of([]) + head + struct.pack("<I", zlib.crc32(head)) + b"abc"))


def test_a_payload_beyond_the_limit_is_refused_and_the_tape_stays_whole():
    writer = TapeWriter(created_at=CREATED_AT, metadata={})
    with pytest.raises(MisuseError, match="too long"):
        writer.append(0.0, Source.PHONE, bytes(PAYLOAD_BYTES_MAX + 1))
    writer.append(1.0, Source.PHONE, b"x")
    assert list(read_tape(writer.take())) == [TapeRecord(1.0, Source.PHONE, b"x")]


def test_the_largest_payload_comes_back():
    payload = bytes(range(256)) * (PAYLOAD_BYTES_MAX // 256)
    assert next(read_tape(tape_of([TapeRecord(0.0, Source.TO_MODEL, payload)]))).payload == payload


@pytest.mark.parametrize(
    ("created_at", "metadata", "said"),
    [
        (datetime(2026, 11, 21), {}, "time zone"),  # noqa: DTZ001 - that is the mistake
        (CREATED_AT, {"x": object()}, "JSON"),
        (CREATED_AT, {"x": "y" * 2**20}, "too long"),
    ],
)
def test_a_header_that_cannot_be_written_is_refused(created_at, metadata, said):
    with pytest.raises(MisuseError, match=said):
        TapeWriter(created_at=created_at, metadata=metadata)


def test_outputs_are_told_from_inputs():
    assert [source for source in Source if source.is_output] == [Source.TO_PHONE, Source.TO_MODEL, Source.FROM_SESSION]
