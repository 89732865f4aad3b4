"""The tape's format: what is written comes back, however it is cut; damage is found and named."""

import io
import json
import struct
import zlib
from datetime import UTC, datetime
from itertools import chain

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.errors import MisuseError
from realtime_bridge.tape import PAYLOAD_BYTES_MAX, Source, TapeError, TapeRecord, TapeWriter, read_tape

CREATED_AT = datetime(2026, 11, 21, 9, 30, 0, 250_000, tzinfo=UTC)
HEAD_BYTES = 16

records = st.lists(
    st.builds(TapeRecord, st.floats(0, 1e6), st.sampled_from(Source), st.binary(max_size=300)),
    max_size=12,
)
# Of a chunk each; an empty list is no chunk.
chunks = st.lists(records.filter(len), max_size=5)


def start_of_tape(metadata=None):
    return TapeWriter(created_at=CREATED_AT, metadata=metadata or {}).take()


START = start_of_tape()


def flat(chunks):
    return list(chain.from_iterable(chunks))


def pieces_of(chunks, metadata=None):
    """The header, each chunk, and the end."""
    writer = TapeWriter(created_at=CREATED_AT, metadata=metadata or {})
    pieces = [writer.take()]
    for chunk in chunks:
        for record in chunk:
            writer.append(record.time, record.source, record.payload)
        pieces.append(writer.take())
    return [*pieces, writer.end()]


def tape_of(*chunks):
    return b"".join(pieces_of(chunks))


def chunk_of(plain, *, claimed=None, body=None):
    """A chunk whose checks hold, whatever it claims to be."""
    body = zstandard.ZstdCompressor().compress(plain) if body is None else body
    head = struct.pack("<III", len(body), len(plain) if claimed is None else claimed, zlib.crc32(body))
    return head + struct.pack("<I", zlib.crc32(head)) + body


def record_of(payload, *, size=None, time=0.0, source=0):
    return struct.pack("<IdB", len(payload) if size is None else size, time, source) + payload


class Trickle(io.RawIOBase):
    """A stream that gives its bytes in pieces of the sizes it is told, then one by one."""

    def __init__(self, data, sizes):
        self._data = io.BytesIO(data)
        self._sizes = iter(sizes)

    def read(self, size=-1):
        return self._data.read(min(size, next(self._sizes, 1)))


@given(chunks)
def test_what_is_written_is_read_back_in_order(chunks):
    tape = read_tape(tape_of(*chunks))
    assert list(tape) == flat(chunks)
    assert tape.torn is None
    assert list(tape) == []


def test_a_tape_tells_when_and_by_whom_it_was_made():
    header = read_tape(start_of_tape({"agent": "Front desk", "nested": {"käse": [1, None]}})).header
    assert header.created_at == CREATED_AT
    assert header.metadata == {"agent": "Front desk", "nested": {"käse": [1, None]}}
    assert header.sources["0"] == "phone"


def test_a_program_that_knows_only_the_description_can_read_a_tape():
    start, chunk, end = pieces_of([[TapeRecord(1.5, Source.MODEL, b"{}")]], {"a": 1})
    magic, version, size = struct.unpack_from("<8sHI", start)
    header = json.loads(start[14 : 14 + size])
    assert (magic, version, header["metadata"]) == (b"\x89RBTAPE\n", 2, {"a": 1})
    assert (header["requires"], header["seal"]) == (["zstd"], None)
    assert zlib.crc32(start[: 14 + size]) == int.from_bytes(start[14 + size :], "little")
    body_length, plain_length, check, head_check = struct.unpack_from("<IIII", chunk)
    assert head_check == zlib.crc32(chunk[:12])
    assert check == zlib.crc32(chunk[16:])
    assert body_length == len(chunk) - 16
    plain = zstandard.ZstdDecompressor().decompress(chunk[16:])
    assert plain_length == len(plain) == 15
    length, time, source = struct.unpack_from("<IdB", plain)
    assert (length, time, header["sources"][str(source)], plain[13:]) == (2, 1.5, "model", b"{}")
    assert struct.unpack("<IIII", end) == (0, 0, 0, zlib.crc32(bytes(12)))


@given(chunks, st.lists(st.integers(1, 50), max_size=30))
def test_how_a_stream_is_split_does_not_matter(chunks, sizes):
    assert list(read_tape(Trickle(tape_of(*chunks), sizes))) == flat(chunks)


@given(chunks, st.data())
def test_a_tape_cut_anywhere_gives_every_whole_chunk_and_says_where_it_is_torn(chunks, data):
    pieces = pieces_of(chunks)
    cut = data.draw(st.integers(len(START), len(b"".join(pieces))))
    tape = read_tape(b"".join(pieces)[:cut])
    ends = [len(b"".join(pieces[: i + 1])) for i in range(len(pieces))]
    kept = sum(end <= cut for end in ends)
    assert list(tape) == flat(chunks[: kept - 1])
    if kept == len(pieces):
        assert tape.torn is None
    else:
        assert tape.torn is not None
        assert tape.torn.offset == ends[kept - 1]


@given(chunks, st.integers(0, 100_000), st.integers(1, 100))
def test_zeros_that_a_dying_machine_leaves_behind_are_a_torn_end(chunks, cut, zeros):
    pieces = pieces_of(chunks)[:-1]
    whole = b"".join(pieces)
    cut = len(START) + cut % (len(whole) - len(START) + 1)
    left = whole[:cut] + bytes(zeros)
    # Zeros in place of zeros are no damage: a chunk may be whole although its last bytes never reached the disk.
    kept = sum(left[: len(b"".join(pieces[: i + 1]))] == b"".join(pieces[: i + 1]) for i in range(len(pieces)))
    tape = read_tape(left)
    assert list(tape) == flat(chunks[: kept - 1])
    assert tape.torn is not None


@given(chunks.filter(len), st.data())
def test_any_flipped_bit_in_the_middle_is_found_and_its_chunk_named(chunks, data):
    pieces = pieces_of([*chunks, [TapeRecord(9.0, Source.PHONE, b"last")]])
    damaged_tape = bytearray(b"".join(pieces))
    bit = data.draw(st.integers(8 * len(START), 8 * len(b"".join(pieces[:-2])) - 1))
    damaged_tape[bit // 8] ^= 1 << bit % 8
    ends = [len(b"".join(pieces[: i + 1])) for i in range(len(pieces))]
    whole = sum(end <= bit // 8 for end in ends)
    tape = read_tape(bytes(damaged_tape))
    read = []
    with pytest.raises(TapeError) as caught:
        read.extend(tape)
    assert caught.value.offset == ends[whole - 1]
    assert read == flat(chunks[: whole - 1])
    assert list(tape) == []


@given(st.integers(0, 200), st.integers(0, 7))
def test_a_damaged_header_is_refused(at, bit):
    data = bytearray(START)
    data[at % len(data)] ^= 1 << bit
    with pytest.raises(TapeError):
        read_tape(bytes(data))


@given(st.binary(max_size=100))
def test_what_is_no_tape_is_refused(data):
    with pytest.raises(TapeError):
        read_tape(data)


def test_a_tape_that_ends_in_its_header_is_refused():
    for cut in range(len(START)):
        with pytest.raises(TapeError, match="inside its header"):
            read_tape(START[:cut])


@pytest.mark.parametrize(("version", "said"), [(3, "version 3.*newer realtime-bridge"), (1, "version 1, and this")])
def test_another_version_is_refused_by_name(version, said):
    data = bytearray(START)
    data[8] = version
    with pytest.raises(TapeError, match=said):
        read_tape(bytes(data))


def with_header(**fields):
    header = json.dumps({"created_at": "2026-11-21T09:30:00Z", "sources": {}, "metadata": {}} | fields).encode()
    start = struct.pack("<8sHI", b"\x89RBTAPE\n", 2, len(header)) + header
    return start + struct.pack("<I", zlib.crc32(start))


def test_a_feature_that_is_not_known_is_refused_by_name():
    with pytest.raises(TapeError, match=r"requires video; a newer"):
        read_tape(with_header(requires=["zstd", "video"]))


def test_what_a_later_program_adds_to_the_header_does_no_harm():
    assert read_tape(with_header(requires=["zstd"], colour="blue", sources={"9": "video"})).header.sources == {
        "9": "video"
    }


# ---- hostile tapes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "plain",
    [
        record_of(b"", size=PAYLOAD_BYTES_MAX + 1),
        record_of(b"abc", size=4),
        record_of(b"abc", source=99),
        record_of(b"abc", time=float("nan")),
        record_of(b"abc", time=float("inf")),
        record_of(b"abc", time=-1.0),
    ],
)
def test_a_record_that_cannot_be_is_refused_although_its_checks_hold(plain):
    with pytest.raises(TapeError, match="cannot be"):
        list(read_tape(START + chunk_of(plain)))


def test_a_chunk_that_ends_inside_a_record_is_refused():
    with pytest.raises(TapeError, match="inside a record"):
        list(read_tape(START + chunk_of(record_of(b"abc") + b"xyz")))


@pytest.mark.parametrize(
    ("chunk", "said"),
    [
        (chunk_of(record_of(b"abc"), claimed=2**32 - 1), "cannot be"),
        (chunk_of(record_of(b"abc"), claimed=15), "not as long as it says"),
        (chunk_of(record_of(b"abc"), claimed=17), "not as long as it says"),
        (chunk_of(b"", claimed=3, body=b"no frame"), "cannot be unpacked"),
        (chunk_of(b"", claimed=3, body=b""), "cannot be unpacked"),
        (chunk_of(b"abc", claimed=0), "not as long as it says"),
        (chunk_of(b"", claimed=3, body=zstandard.ZstdCompressor().compress(b"abc")[:-1]), "cannot be unpacked"),
        (chunk_of(b"", claimed=3, body=zstandard.ZstdCompressor().compress(b"abc") + b"more"), "cannot be unpacked"),
        (
            chunk_of(b"", claimed=3, body=zstandard.ZstdCompressor(write_content_size=False).compress(b"abc")),
            "not as long as it says",
        ),
    ],
)
def test_a_chunk_that_is_not_what_it_says_is_refused(chunk, said):
    with pytest.raises(TapeError, match=said):
        list(read_tape(START + chunk))


def test_a_tape_that_grows_without_end_is_refused():
    bomb = chunk_of(record_of(bytes(2**24 - 100)))
    assert len(bomb) < 2000
    tape = read_tape(START + 100 * bomb)
    with pytest.raises(TapeError, match="would grow to"):
        list(tape)


def test_what_follows_the_end_is_not_read():
    data = tape_of([TapeRecord(0.0, Source.PHONE, b"x")])
    assert len(list(read_tape(data + chunk_of(record_of(b"more"))))) == 1


@given(st.binary(max_size=200))
def test_whatever_lies_behind_the_header_nothing_but_a_tape_error_is_raised(rest):
    try:
        list(read_tape(START + rest))
        list(read_tape(START + chunk_of(rest)))
    except TapeError:
        pass


# ---- writing ---------------------------------------------------------------------------------------------------------------


def test_a_payload_beyond_the_limit_is_refused_and_the_tape_stays_whole():
    writer = TapeWriter(created_at=CREATED_AT, metadata={})
    with pytest.raises(MisuseError, match="too long"):
        writer.append(0.0, Source.PHONE, bytes(PAYLOAD_BYTES_MAX + 1))
    writer.append(1.0, Source.PHONE, b"x")
    assert list(read_tape(writer.take())) == [TapeRecord(1.0, Source.PHONE, b"x")]


def test_what_is_taken_seldom_becomes_several_chunks():
    writer = TapeWriter(created_at=CREATED_AT, metadata={})
    for i in range(3):
        writer.append(float(i), Source.PHONE, bytes(range(256)) * (PAYLOAD_BYTES_MAX // 512))
    assert [record.time for record in read_tape(writer.end())] == [0.0, 1.0, 2.0]


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
    assert [s for s in Source if s.is_output] == [Source.TO_PHONE, Source.TO_MODEL, Source.FROM_SESSION]
