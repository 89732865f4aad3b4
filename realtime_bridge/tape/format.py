"""The tape: what went into a call's machines, in order, with its time.

Why it exists: the machines are pure, so a call *is* the list of its inputs. Whoever keeps that list can run the call
again, look at every step, and prove that a changed program still does the same. What the machines answered lies on the
tape too, to be compared with what they answer in a replay.

All numbers are little-endian. A tape begins with

    magic           8 bytes   89 "RBTAPE" 0A
    version         u16       2
    header length   u32       at most 1 MiB
    header          JSON      {"created_at": RFC 3339, "requires": ["zstd", ...], "sources": {"0": "phone", ...},
                               "metadata": {...}, "seal": null or {"key_id": hex, "salt": base64}}
    header check    u32       CRC-32 of everything before

and goes on with chunks, to the end of the file:

    body length     u32
    plain length    u32       of the body, once opened and unpacked; 0 is the end of the tape
    body check      u32       CRC-32 of the body
    head check      u32       CRC-32 of the 12 bytes before
    body                      one frame of Zstandard (RFC 8878) that tells its content's size; sealed, if there is a seal

Unpacked, a chunk is a row of whole records:

    payload length  u32       at most 16 MiB
    time            f64       seconds since the tape began, on a monotonic clock
    source          u8        see `Source`
    payload

Each chunk stands for itself: it needs none of those before it. A tape whose last chunk is not the end of plain length 0
was not written to its end (the process was killed); all its whole chunks are good. The head has a check of its own
because a reader must be able to believe a length before it follows it: only so can a tape that just ends be told from one
that was damaged. File systems may leave zeros behind what was written when the machine itself dies; a bad chunk with
nothing but zeros after it counts as the end, too.

A sealed tape ("requires" names "aes-256-gcm") has no metadata in its header: its first chunk holds them, as JSON, instead
of records. Bodies are sealed by AES-256-GCM (NIST SP 800-38D) after packing, the end's empty body too, so that nobody can
cut a tape short unseen. Key: HKDF-SHA-256 (RFC 5869) of the set key, salt: as in the header, info: "realtime-bridge tape".
Nonce: the chunk's number from 0, 12 bytes. Associated data: all bytes before the first chunk, then the plain length.

A program meets newer tapes in two ways. Another version is another format. A name under "requires" that it does not know
is a feature without which the tape would be misread. It refuses both, and says which.

Pure but for the stream that `read_tape` is given.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from enum import IntEnum
from io import BytesIO
from typing import Any, BinaryIO, Final, NoReturn
from zlib import crc32

import msgspec
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from realtime_bridge.errors import BridgeError, MisuseError
from realtime_bridge.tape.keys import SALT_BYTES, TapeKey, TapeKeys

MAGIC: Final = b"\x89RBTAPE\n"  # the first byte shows at once when a text mode has mangled the file
VERSION: Final = 2
PACKED: Final = "zstd"
SEALED: Final = "aes-256-gcm"
PURPOSE: Final = "tape"  # of the derived key
PAYLOAD_BYTES_MAX: Final = 16 * 1024 * 1024  # a client event of the Realtime API may hold 15 MiB of audio
CHUNK_BYTES_FULL: Final = 512 * 1024  # a chunk takes no more records then
PLAIN_BYTES_MAX: Final = PAYLOAD_BYTES_MAX + 1024 * 1024  # of a chunk: its last record may be the largest there is
BODY_BYTES_MAX: Final = PLAIN_BYTES_MAX + 256 * 1024
HEADER_BYTES_MAX: Final = 1024 * 1024
# Of a whole tape: four hours of a call are about 1.3 GB, unpacked. And what is small on disk may not grow without end:
# calls shrink to between a half and a fiftieth, silence most.
TAPE_BYTES_MAX: Final = 4 * 1024**3
GROWTH_MAX: Final = 256
GROWTH_FREE_BYTES: Final = 4 * PLAIN_BYTES_MAX
READ_BYTES: Final = 64 * 1024
ZSTD_LEVEL: Final = 1

_PREFIX = struct.Struct("<8sHI")
_CHUNK = struct.Struct("<III")
_RECORD = struct.Struct("<IdB")
_U32 = struct.Struct("<I")
_HEAD_BYTES = _CHUNK.size + _U32.size
_TAG_BYTES = 16
_pack_record = _RECORD.pack


class Source(IntEnum):
    """Where a record comes from, or where it went. The payload's form is the business of whoever writes it."""

    PHONE = 0  # a message of the phone
    MODEL = 1  # a message of the model
    PROGRAM = 2  # a call of the program: interrupt, mute, send a message
    TIMER = 3  # a deadline of the machines came
    SESSION = 4  # an input of the session core, as `session.journal` writes it; the opening first
    NOTE = 5  # for people and programs that look for something: JSON with a "kind"; no machine's input
    TO_PHONE = 6  # the bridge's outputs, for comparison
    TO_MODEL = 7
    FROM_SESSION = 8  # the session core's

    @property
    def is_output(self) -> bool:
        """True for what the machines answered; a replay compares these and feeds the others."""
        return self >= Source.TO_PHONE


_SOURCES = {source.value: source for source in Source}


class TapeError(BridgeError):
    """A tape cannot be read on: it is no tape, of a version that is not known, sealed with a key that is not at hand, or
    damaged at `offset` (bytes)."""

    def __init__(self, message: str, *, offset: int) -> None:
        super().__init__(f"{message} (at byte {offset} of the tape)")
        self.offset = offset


class Seal(msgspec.Struct, frozen=True, kw_only=True):
    """What a sealed tape was sealed with."""

    key_id: str
    salt: bytes


class TapeHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a tape tells of itself. `metadata` is free: any JSON object."""

    created_at: datetime  # wall clock, with its zone
    sources: dict[str, str]
    metadata: dict[str, Any]
    requires: tuple[str, ...] = (PACKED,)
    seal: Seal | None = None


class TapeRecord(msgspec.Struct, frozen=True):
    """One input or output. `time`: seconds since the tape began."""

    time: float
    source: Source
    payload: bytes


class TornTail(msgspec.Struct, frozen=True, kw_only=True):
    """The tape was not written to its end: the first `offset` bytes are whole, what follows is not."""

    offset: int
    reason: str


class TapeWriter:
    """Encodes a tape. `append` records, and `take` the bytes to be written; `end` takes the last ones.

    Where one thread appends and another one packs and writes, the first `cut`s, the second one `pack`s, in that order.
    """

    def __init__(
        self, *, created_at: datetime, metadata: Mapping[str, Any], key: TapeKey | None = None, salt: bytes = b""
    ) -> None:
        """`key`: seals the tape, with a random `salt` of 16 bytes that no other file has.

        Raises MisuseError when `created_at` has no time zone, `metadata` is no JSON or longer than 1 MiB, or `key` comes
        without its salt.
        """
        if created_at.tzinfo is None:
            raise MisuseError("created_at needs a time zone")
        if key is not None and len(salt) != SALT_BYTES:
            raise MisuseError(f"a tape is sealed with a salt of {SALT_BYTES} bytes, not of {len(salt)}")
        try:
            told = msgspec.json.encode(dict(metadata))
        except (TypeError, ValueError, RecursionError) as e:
            raise MisuseError(f"metadata must be a JSON object: {e}") from e
        if len(told) > HEADER_BYTES_MAX // 2:
            raise MisuseError(f"metadata is too long: {len(told)} bytes, at most {HEADER_BYTES_MAX // 2}")
        header = TapeHeader(
            created_at=created_at,
            sources={str(source.value): source.name.lower() for source in Source},
            metadata={} if key else dict(metadata),
            requires=(PACKED, SEALED) if key else (PACKED,),
            seal=Seal(key_id=key.key_id, salt=salt) if key else None,
        )
        encoded = msgspec.json.encode(header)
        start = _PREFIX.pack(MAGIC, VERSION, len(encoded)) + encoded
        self._start = start + _U32.pack(crc32(start))
        self._cipher = None if key is None else key.cipher(salt, PURPOSE)
        self._buffers = [bytearray()]
        self._waiting_bytes = 0
        self._number = 0
        self._unwritten = self._start  # goes before the next chunk
        if key is not None:
            self._unwritten = self._start + self._chunk(told)

    def append(self, time: float, source: Source, payload: bytes) -> int:
        """Add one record. Returns how many bytes wait to be taken. Costs about half a microsecond.

        Raises MisuseError when the payload is longer than `PAYLOAD_BYTES_MAX`; nothing is added then.
        """
        size = len(payload)
        if size > PAYLOAD_BYTES_MAX:
            raise MisuseError(f"a payload of {size} bytes is too long for a tape, at most {PAYLOAD_BYTES_MAX}")
        buffer = self._buffers[-1]
        if len(buffer) >= CHUNK_BYTES_FULL:
            buffer = bytearray()
            self._buffers.append(buffer)
        buffer += _pack_record(size, time, source)
        buffer += payload
        self._waiting_bytes += _RECORD.size + size
        return self._waiting_bytes

    def take(self) -> bytes:
        """All bytes since the last `take`, to be written behind those before: the header first, then whole chunks."""
        return self.pack(self.cut())

    def end(self) -> bytes:
        """What is left, and the tape's end. Nothing may follow."""
        return self.take() + self._chunk(b"")

    def cut(self) -> list[bytearray]:
        """The records since the last `cut`, for `pack`."""
        records, self._buffers = self._buffers, [bytearray()]
        self._waiting_bytes = 0
        return records

    def pack(self, records: Iterable[bytearray]) -> bytes:
        """What `cut` gave, as bytes to be written. Of every `cut`, in its order, one at a time."""
        unwritten, self._unwritten = self._unwritten, b""
        return unwritten + b"".join(self._chunk(chunk) for chunk in records if chunk)

    def _chunk(self, plain: bytes | bytearray) -> bytes:
        plain_length = _U32.pack(len(plain))
        body = _packed(plain) if plain else b""
        if self._cipher is not None:
            body = self._cipher.encrypt(_nonce(self._number), body, self._start + plain_length)
        self._number += 1
        head = _CHUNK.pack(len(body), len(plain), crc32(body))
        return head + _U32.pack(crc32(head)) + body


def read_tape(source: bytes | BinaryIO, *, keys: TapeKeys | None = None) -> TapeReader:
    """Open a tape for reading, from bytes or from a stream of them (which need not be able to seek).

    Raises TapeError when it does not begin with a whole header, needs what this program does not know, or is sealed with
    a key that is not among `keys`.
    """
    return TapeReader(BytesIO(source) if isinstance(source, bytes) else source, keys or TapeKeys())


class TapeReader:
    """Iterates over a tape's whole records, once. Holds one chunk at a time in memory.

    A tape that was not written to its end is no error: the iteration ends with its last whole chunk, and `torn` says so
    from then on. A damaged chunk in the middle raises TapeError, after all records before it have been given out.
    """

    def __init__(self, stream: BinaryIO, keys: TapeKeys) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._offset = 0  # of the buffer's first byte
        self._ended = False
        self._start = b""
        self._cipher: AESGCM | None = None
        self._unpacker = zstandard.ZstdDecompressor()
        self._number = 0
        self._plain_bytes = 0
        self._plain = b""
        self._at = 0  # in `_plain`
        self.torn: TornTail | None = None
        self.header: TapeHeader = self._read_header(keys)

    def __iter__(self) -> Iterator[TapeRecord]:
        return self

    def __next__(self) -> TapeRecord:
        while self._at == len(self._plain):
            self._plain, self._at = self._next_chunk(), 0
        plain, payload_at = self._plain, self._at + _RECORD.size
        if payload_at > len(plain):
            raise self._error("a chunk ends inside a record")
        size, time, number = _RECORD.unpack_from(plain, self._at)
        source = _SOURCES.get(number)
        if source is None or not 0 <= time < float("inf"):
            raise self._error(f"a record from source {number} at {time} s cannot be on a tape")
        end = payload_at + size
        if size > PAYLOAD_BYTES_MAX or end > len(plain):
            raise self._error(f"a record of {size} bytes cannot be on a tape")
        self._at = end
        return TapeRecord(time, source, plain[payload_at:end])

    def _read_header(self, keys: TapeKeys) -> TapeHeader:
        if not self._holds(_PREFIX.size):
            raise self._error("not a tape, or one that ends inside its header")
        magic, version, size = _PREFIX.unpack_from(self._buffer)
        if magic != MAGIC:
            raise self._error("not a tape")
        if version != VERSION:
            newer = "; a newer realtime-bridge reads it" if version > VERSION else ""
            raise self._error(f"a tape of version {version}, and this program reads version {VERSION}{newer}")
        if size > HEADER_BYTES_MAX:
            raise self._error(f"a header of {size} bytes cannot be")
        end = _PREFIX.size + size
        if not self._holds(end + _U32.size):
            raise self._error("the tape ends inside its header")
        start = bytes(self._buffer[: end + _U32.size])
        if crc32(start[:end]) != _U32.unpack_from(start, end)[0]:
            raise self._error("the header fails its check")
        try:
            header = msgspec.json.decode(start[_PREFIX.size : end], type=TapeHeader)
        except (msgspec.DecodeError, RecursionError) as e:
            raise self._error(f"the header is not understood: {e}") from e
        unknown = sorted(set(header.requires) - {PACKED, SEALED})
        if unknown:
            raise self._error(f"a tape that requires {', '.join(unknown)}; a newer realtime-bridge reads it")
        if header.seal is None:
            self._drop(len(start))
            return header
        return self._open_seal(header, header.seal, start, keys)

    def _open_seal(self, header: TapeHeader, seal: Seal, start: bytes, keys: TapeKeys) -> TapeHeader:
        key = keys.get(seal.key_id)
        if key is None:
            raise self._error(f"sealed with the key {seal.key_id[:16]}, which is not among those given (RECORDING_KEY)")
        self._cipher = key.cipher(seal.salt, PURPOSE)
        self._start = start
        self._drop(len(start))
        try:
            told = self._next_chunk()
        except StopIteration:
            raise self._error("the tape ends inside its sealed header") from None
        try:
            return msgspec.structs.replace(header, metadata=msgspec.json.decode(told, type=dict[str, Any]))
        except (msgspec.DecodeError, RecursionError) as e:
            raise self._error(f"the sealed header is not understood: {e}") from e

    def _next_chunk(self) -> bytes:
        """The next chunk, unpacked. Raises StopIteration at the end, whole or torn."""
        if self._ended:
            raise StopIteration
        if not self._holds(1):
            self._stop_torn("the tape was not written to its end")
        if not self._holds(_HEAD_BYTES):
            self._stop_torn("the last chunk's head is not whole")
        head = self._buffer[: _CHUNK.size]
        if crc32(head) != _U32.unpack_from(self._buffer, _CHUNK.size)[0]:
            self._stop_damaged("a chunk's head fails its check", _HEAD_BYTES)
        size, plain_size, check = _CHUNK.unpack(head)
        if size > BODY_BYTES_MAX or plain_size > PLAIN_BYTES_MAX:
            raise self._error(f"a chunk of {size} bytes, {plain_size} unpacked, cannot be")
        if not self._holds(_HEAD_BYTES + size):
            self._stop_torn("the last chunk is not whole")
        body = bytes(memoryview(self._buffer)[_HEAD_BYTES : _HEAD_BYTES + size])
        if crc32(body) != check:
            self._stop_damaged("a chunk fails its check", _HEAD_BYTES + size)
        self._plain_bytes += plain_size
        read = self._offset + _HEAD_BYTES + size
        if self._plain_bytes > min(TAPE_BYTES_MAX, GROWTH_FREE_BYTES + GROWTH_MAX * read):
            raise self._error(f"{read} bytes of tape that would grow to {self._plain_bytes} and more are refused")
        plain = self._opened(body, plain_size)
        self._drop(_HEAD_BYTES + size)
        if not plain:
            self._ended = True
            raise StopIteration
        return plain

    def _opened(self, body: bytes, plain_size: int) -> bytes:
        if self._cipher is not None:
            try:
                body = self._cipher.decrypt(_nonce(self._number), body, self._start + _U32.pack(plain_size))
            except InvalidTag:
                raise self._error("a chunk's seal is broken: it was changed, or belongs elsewhere") from None
        self._number += 1
        if plain_size == 0 and not body:
            return b""
        try:
            # The size is looked at first, because the decoder makes room for what the frame claims.
            if zstandard.frame_content_size(body) == plain_size:
                plain = self._unpacker.decompress(body, max_output_size=plain_size, allow_extra_data=False)
                if plain_size and len(plain) == plain_size:
                    return plain
        except zstandard.ZstdError as e:
            raise self._error(f"a chunk cannot be unpacked: {e}") from e
        raise self._error("a chunk is not as long as it says")

    def _holds(self, size: int) -> bool:
        """Read until the buffer holds `size` bytes; False when the stream ends before."""
        while len(self._buffer) < size:
            data = self._stream.read(max(READ_BYTES, size - len(self._buffer)))
            if not data:
                return False
            self._buffer += data
        return True

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self._offset += size

    def _stop_torn(self, reason: str) -> NoReturn:
        self._ended = True
        self.torn = TornTail(offset=self._offset, reason=reason)
        raise StopIteration

    def _stop_damaged(self, reason: str, size: int) -> NoReturn:
        """The next `size` bytes are bad: the tape's torn end if nothing but zeros follows, damage otherwise."""
        rest = bytes(self._buffer[size:])
        while not rest.strip(b"\0"):
            rest = self._stream.read(READ_BYTES)
            if not rest:
                self._stop_torn(reason)
        raise self._error(reason)

    def _error(self, message: str) -> TapeError:
        self._ended = True
        self._plain, self._at = b"", 0
        return TapeError(message, offset=self._offset)


# A compressor keeps its tables between uses; one that is idle is anybody's. (A deque's pop and append are atomic.)
_compressors: deque[zstandard.ZstdCompressor] = deque()


def _packed(plain: bytes | bytearray) -> bytes:
    try:
        compressor = _compressors.pop()
    except IndexError:
        compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    packed = compressor.compress(plain)
    _compressors.append(compressor)
    return packed


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "little")
