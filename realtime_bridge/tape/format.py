"""The tape: what went into a call's machines, in order, with its time.

Why it exists: the machines are pure, so a call *is* the list of its inputs. Whoever keeps that list can run the call
again, look at every step, and prove that a changed program still does the same. What the machines answered may lie on
the tape too, to be compared with what they answer in a replay.

All numbers are little-endian:

    magic           8 bytes   89 "RBTAPE" 0A
    version         u16       1
    header length   u32
    header          JSON      {"created_at": RFC 3339, "sources": {"0": "phone", ...}, "metadata": {...}}
    header check    u32       CRC-32 of everything before

and then records, to the end of the file:

    payload length  u32
    payload check   u32       CRC-32 of the payload
    time            f64       seconds since the tape began, on a monotonic clock
    source          u8        see `Source`
    head check      u32       CRC-32 of the 17 bytes before
    payload

The head has a check of its own because a reader must be able to believe a length before it follows it: only so can a
tape that just ends (the process was killed) be told from one that was damaged. File systems may leave zeros behind
what was written when the machine itself dies; a bad record with nothing but zeros after it counts as the end, too.

Pure but for the stream that `read_tape` is given.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from datetime import datetime
from enum import IntEnum
from io import BytesIO
from typing import Any, BinaryIO, NoReturn
from zlib import crc32

import msgspec

from realtime_bridge.errors import BridgeError, MisuseError

MAGIC = b"\x89RBTAPE\n"  # the first byte shows at once when a text mode has mangled the file
VERSION = 1
PAYLOAD_BYTES_MAX = 16 * 1024 * 1024  # a client event of the Realtime API may hold 15 MiB of audio
HEADER_BYTES_MAX = 1024 * 1024
READ_BYTES = 64 * 1024

_PREFIX = struct.Struct("<8sHI")
_HEAD = struct.Struct("<IIdB")
_CHECK = struct.Struct("<I")
_HEAD_BYTES = _HEAD.size + _CHECK.size

_pack_head = _HEAD.pack
_pack_check = _CHECK.pack


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
    """A tape cannot be read on: it is no tape, of a version that is not known, or damaged at `offset` (bytes)."""

    def __init__(self, message: str, *, offset: int) -> None:
        super().__init__(f"{message} (at byte {offset} of the tape)")
        self.offset = offset


class TapeHeader(msgspec.Struct, frozen=True, kw_only=True):
    """What a tape tells of itself. `metadata` is free: any JSON object."""

    created_at: datetime  # wall clock, with its zone
    sources: dict[str, str]
    metadata: dict[str, Any]


class TapeRecord(msgspec.Struct, frozen=True):
    """One input or output. `time`: seconds since the tape began."""

    time: float
    source: Source
    payload: bytes


class TornTail(msgspec.Struct, frozen=True, kw_only=True):
    """The tape ends inside a record: the first `offset` bytes are whole, what follows was never written to its end."""

    offset: int
    reason: str


class TapeWriter:
    """Encodes a tape. Bytes gather until `take` fetches them; the first ones are the tape's header."""

    def __init__(self, *, created_at: datetime, metadata: Mapping[str, Any]) -> None:
        """Raises MisuseError when `created_at` has no time zone or `metadata` is no JSON or longer than 1 MiB."""
        if created_at.tzinfo is None:
            raise MisuseError("created_at needs a time zone")
        sources = {str(source.value): source.name.lower() for source in Source}
        try:
            header = msgspec.json.encode(
                TapeHeader(created_at=created_at, sources=sources, metadata=dict(metadata)),
            )
        except (TypeError, ValueError, RecursionError) as e:
            raise MisuseError(f"metadata must be a JSON object: {e}") from e
        if len(header) > HEADER_BYTES_MAX:
            raise MisuseError(f"metadata is too long: {len(header)} bytes, at most {HEADER_BYTES_MAX}")
        start = _PREFIX.pack(MAGIC, VERSION, len(header)) + header
        self._buffer = bytearray(start + _pack_check(crc32(start)))

    def append(self, time: float, source: Source, payload: bytes) -> int:
        """Add one record. Returns how many bytes wait to be taken. Costs about a microsecond.

        Raises MisuseError when the payload is longer than `PAYLOAD_BYTES_MAX`; nothing is added then.
        """
        size = len(payload)
        if size > PAYLOAD_BYTES_MAX:
            raise MisuseError(f"a payload of {size} bytes is too long for a tape, at most {PAYLOAD_BYTES_MAX}")
        head = _pack_head(size, crc32(payload), time, source)
        buffer = self._buffer
        buffer += head
        buffer += _pack_check(crc32(head))
        buffer += payload
        return len(buffer)

    def take(self) -> bytes:
        """All bytes since the last `take`: whole records, to be written behind those before."""
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken


def read_tape(source: bytes | BinaryIO) -> TapeReader:
    """Open a tape for reading, from bytes or from a stream of them (which need not be able to seek).

    Raises TapeError when it does not begin with a whole header.
    """
    return TapeReader(BytesIO(source) if isinstance(source, bytes) else source)


class TapeReader:
    """Iterates over a tape's whole records, once. Holds one record at a time in memory.

    A tape that ends inside a record is no error: the iteration ends before it, and `torn` says so from then on. A
    damaged record in the middle raises TapeError, after all records before it have been given out.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._buffer = bytearray()
        self._offset = 0  # of the buffer's first byte
        self._ended = False
        self.torn: TornTail | None = None
        self.header: TapeHeader = self._read_header()

    def __iter__(self) -> Iterator[TapeRecord]:
        return self

    def __next__(self) -> TapeRecord:
        if self._ended or not self._holds(1):
            raise StopIteration
        if not self._holds(_HEAD_BYTES):
            self._stop_torn("the last record's head is not whole")
        head = self._buffer[: _HEAD.size]
        if crc32(head) != _CHECK.unpack_from(self._buffer, _HEAD.size)[0]:
            self._stop_damaged("a record's head fails its check", _HEAD_BYTES)
        size, check, time, number = _HEAD.unpack(head)
        source = _SOURCES.get(number)
        if size > PAYLOAD_BYTES_MAX or source is None:
            raise self._error(f"a record of {size} bytes from source {number} cannot be")
        if not self._holds(_HEAD_BYTES + size):
            self._stop_torn("the last record's payload is not whole")
        payload = bytes(memoryview(self._buffer)[_HEAD_BYTES : _HEAD_BYTES + size])
        if crc32(payload) != check:
            self._stop_damaged("a record's payload fails its check", _HEAD_BYTES + size)
        self._drop(_HEAD_BYTES + size)
        return TapeRecord(time, source, payload)

    def _read_header(self) -> TapeHeader:
        if not self._holds(_PREFIX.size):
            raise self._error("not a tape, or one that ends inside its header")
        magic, version, size = _PREFIX.unpack_from(self._buffer)
        if magic != MAGIC:
            raise self._error("not a tape")
        if version != VERSION:
            raise self._error(f"a tape of version {version}; this program reads version {VERSION}")
        if size > HEADER_BYTES_MAX:
            raise self._error(f"a header of {size} bytes cannot be")
        end = _PREFIX.size + size
        if not self._holds(end + _CHECK.size):
            raise self._error("the tape ends inside its header")
        start = bytes(self._buffer[:end])
        if crc32(start) != _CHECK.unpack_from(self._buffer, end)[0]:
            raise self._error("the header fails its check")
        try:
            header = msgspec.json.decode(start[_PREFIX.size :], type=TapeHeader)
        except msgspec.DecodeError as e:
            raise self._error(f"the header is not understood: {e}") from e
        self._drop(end + _CHECK.size)
        return header

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
        return TapeError(message, offset=self._offset)
