"""Tapes and files at rest: nobody reads them without the key, and nobody changes them unseen."""

import base64
import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.errors import MisuseError
from realtime_bridge.tape import (
    SealedFile,
    SealError,
    Source,
    TapeError,
    TapeKey,
    TapeKeys,
    TapeRecord,
    TapeWriter,
    open_unsealed,
    read_tape,
    seal,
    unseal,
)
from realtime_bridge.tape.sealed import BLOCK_BYTES, MAGIC

CREATED_AT = datetime(2026, 11, 21, tzinfo=UTC)
KEY, OTHER = TapeKey(b"k" * 32), TapeKey(b"o" * 32)
KEYS = TapeKeys([KEY])
SALT = b"s" * 16
SECRET = b"my card is 4111"
RECORDS = [TapeRecord(float(i), Source.PHONE, SECRET + b"%d" % i) for i in range(3)]


def sealed_tape(key=KEY, salt=SALT):
    """Its start with the metadata, a chunk for each record, the end."""
    writer = TapeWriter(created_at=CREATED_AT, metadata={"from_number": "+15550100"}, key=key, salt=salt)
    pieces = [writer.take()]
    for record in RECORDS:
        writer.append(record.time, record.source, record.payload)
        pieces.append(writer.take())
    return [*pieces, writer.end()]


# ---- keys ------------------------------------------------------------------------------------------------------------------


def test_a_key_is_the_base64_of_32_bytes():
    secret = bytes(range(224, 256))
    usual, url_safe = base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode()
    assert usual != url_safe
    assert {TapeKey.from_setting(text).key_id for text in (usual, f" {url_safe}\n")} == {TapeKey(secret).key_id}


@pytest.mark.parametrize("text", ["", "sesame", "c2VzYW1l", "ä" * 44, base64.b64encode(bytes(33)).decode()])
def test_what_is_no_key_is_refused_and_not_repeated(text):
    with pytest.raises(MisuseError) as caught:
        TapeKey.from_setting(text)
    assert "32 bytes" in str(caught.value)
    assert not text or text not in str(caught.value)


def test_a_key_does_not_tell_itself():
    assert "kkkk" not in repr(KEY) + str(KEY)
    assert KEY.key_id != OTHER.key_id


def test_old_keys_still_open():
    texts = [base64.b64encode(letter * 32).decode() for letter in (b"o", b"k")]
    assert list(read_tape(b"".join(sealed_tape()), keys=TapeKeys.from_settings(texts[0], texts[1:]))) == RECORDS
    assert not TapeKeys.from_settings(None)


# ---- tapes -----------------------------------------------------------------------------------------------------------------


def test_a_sealed_tape_comes_back_with_its_key_and_tells_nothing_without():
    data = b"".join(sealed_tape())
    tape = read_tape(data, keys=KEYS)
    assert tape.header.metadata == {"from_number": "+15550100"}
    assert list(tape) == RECORDS
    assert tape.torn is None
    assert b"5550100" not in data
    assert b"card" not in data
    for keys in (None, TapeKeys([OTHER])):
        with pytest.raises(TapeError, match=f"sealed with the key {KEY.key_id}"):
            read_tape(data, keys=keys)


def test_no_two_tapes_are_sealed_alike():
    first, second = (b"".join(sealed_tape(salt=salt)[1:]) for salt in (b"s" * 16, b"t" * 16))
    assert first != second


def test_a_seal_needs_its_salt():
    with pytest.raises(MisuseError, match="salt"):
        sealed_tape(salt=b"")


def test_a_sealed_tape_of_a_killed_process_is_read_as_far_as_it_goes():
    tape = read_tape(b"".join(sealed_tape()[:3]), keys=KEYS)
    assert list(tape) == RECORDS[:2]
    assert tape.torn is not None


def test_chunks_cannot_be_swapped_dropped_or_brought_from_elsewhere():
    start, one, two, three, end = sealed_tape()
    other = sealed_tape(salt=b"t" * 16)
    for pieces in (
        [start, two, one, three, end],
        [start, one, three, end],
        [start, one, two, other[3], end],
        [start, end],
    ):
        with pytest.raises(TapeError, match="seal is broken"):
            list(read_tape(b"".join(pieces), keys=KEYS))


def test_a_tape_without_a_seal_cannot_pose_as_a_sealed_one_s_end():
    start, one, *_ = sealed_tape()
    writer = TapeWriter(created_at=CREATED_AT, metadata={})
    writer.take()
    with pytest.raises(TapeError, match="seal is broken"):
        list(read_tape(start + one + writer.end(), keys=KEYS))


# ---- files -----------------------------------------------------------------------------------------------------------------

writes = st.lists(
    st.tuples(st.integers(0, 4 * BLOCK_BYTES), st.binary(min_size=1, max_size=50), st.sampled_from([1, 1000, 3000])),
    max_size=8,
)


@given(writes, st.booleans())
def test_a_sealed_file_holds_what_an_open_one_would(writes, reopened):
    plain, below = io.BytesIO(), io.BytesIO()
    sealed = SealedFile.new(below, KEY)
    for at, data, times in writes:
        for file in (plain, sealed):
            file.seek(at)
            file.write(data * times)
        if reopened:
            sealed.flush()
            below = io.BytesIO(below.getvalue())
            sealed = SealedFile.opened(below, KEYS)
        sealed.seek(max(0, at - 10))
        assert sealed.read(100) == plain.getvalue()[max(0, at - 10) :][:100]
    sealed.flush()
    assert unseal(below.getvalue(), KEYS) == plain.getvalue()
    assert all(data * 3 not in below.getvalue() for _, data, times in writes if times > 1 and len(data) > 4)


def test_what_was_never_written_is_a_hole_and_reads_as_zeros(tmp_path):
    path = tmp_path / "file"
    with SealedFile.new(path.open("x+b", buffering=0), KEY) as file:
        file.seek(200 * BLOCK_BYTES)
        file.write(b"far")
    assert path.stat().st_blocks * 512 < 10 * BLOCK_BYTES
    with open_unsealed(path, KEYS) as file:
        assert file.read() == bytes(200 * BLOCK_BYTES) + b"far"


def test_what_is_not_sealed_is_read_as_it_is(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"plain")
    with open_unsealed(path, TapeKeys()) as file:
        assert file.read() == b"plain"
    assert unseal(b"plain", TapeKeys()) == b"plain"
    assert unseal(b"", TapeKeys()) == b""


@given(st.integers(len(MAGIC), 3 * BLOCK_BYTES), st.integers(0, 7))
def test_a_changed_bit_anywhere_is_found(at, bit):
    data = bytearray(SEALED)
    data[at] ^= 1 << bit
    with pytest.raises(SealError):
        unseal(bytes(data), KEYS)


SEALED = seal(b"abc" * BLOCK_BYTES, KEY)


def test_blocks_cannot_be_swapped():
    slot = BLOCK_BYTES + 28
    start, one, two, three = SEALED[: -3 * slot], *(SEALED[-i * slot :][:slot] for i in (3, 2, 1))
    assert unseal(start + one + two + three, KEYS) == b"abc" * BLOCK_BYTES
    with pytest.raises(SealError, match="block 0"):
        unseal(start + two + one + three, KEYS)


@pytest.mark.parametrize("cut", [9, 20, 37])
def test_a_sealed_file_that_ends_in_its_first_bytes_is_refused(cut):
    with pytest.raises(SealError):
        unseal(SEALED[:cut], KEYS)


def test_a_block_that_was_not_written_to_its_end_is_refused():
    with pytest.raises(SealError, match="not written to its end"):
        unseal(SEALED[:-1], KEYS)


def test_without_its_key_a_file_says_which_one_it_needs():
    with pytest.raises(SealError, match=KEY.key_id):
        unseal(SEALED, TapeKeys([OTHER]))


def test_another_version_is_refused_by_name():
    with pytest.raises(SealError, match="version 2"):
        unseal(SEALED[:8] + b"\x02" + SEALED[9:], KEYS)
