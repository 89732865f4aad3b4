"""Files at rest that nobody reads without the key, and that can still be written in any place: for recordings.

A sealed file begins with

    magic           8 bytes   89 "RBSEAL" 0A
    version         u16       1
    key id          8 bytes   see `TapeKey.key_id`
    salt            16 bytes
    check           u32       CRC-32 of everything before; little-endian, as all numbers

and goes on with blocks, each for 64 KiB of the content, the last one for what is left:

    nonce           12 bytes  random, another one each time the block is written
    sealed          AES-256-GCM of the block's content, and its tag of 16 bytes

Key: HKDF-SHA-256 of the set key, salt: as above, info: "realtime-bridge file". Associated data: all before the first
block, then the block's number (u64). A block of nothing but zeros was never written: a hole, which reads as zeros.

A block that was changed, moved or half written is not given out: reading it raises SealError. That blocks are missing at
the file's end cannot be seen; what is in it tells (a WAV file's header knows its length).
"""

from __future__ import annotations

import os
import struct
from io import SEEK_CUR, SEEK_END, SEEK_SET, BytesIO, RawIOBase
from pathlib import Path
from typing import BinaryIO, Final, cast
from zlib import crc32

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from typing_extensions import Buffer

from realtime_bridge.errors import BridgeError
from realtime_bridge.tape.keys import SALT_BYTES, TapeKey, TapeKeys

MAGIC: Final = b"\x89RBSEAL\n"
VERSION: Final = 1
PURPOSE: Final = "file"  # of the derived key
BLOCK_BYTES: Final = 64 * 1024
_START = struct.Struct("<8sH8s16s")
_CHECK = struct.Struct("<I")
_START_BYTES = _START.size + _CHECK.size
_NONCE_BYTES = 12
_OVERHEAD_BYTES = _NONCE_BYTES + 16
_SLOT_BYTES = BLOCK_BYTES + _OVERHEAD_BYTES


class SealError(BridgeError):
    """A sealed file cannot be read: its key is not at hand, it is of another version, or it was changed or torn."""


class SealedFile(RawIOBase):
    """A file whose content is sealed; used as the `FileIO` below it would be. One block is held in memory.

    What is written reaches the file below at `flush`, or when another block is touched. Closes the file below.
    """

    def __init__(self, below: BinaryIO | RawIOBase, start: bytes, cipher: AESGCM, size: int) -> None:
        """Use `new` or `opened`."""
        super().__init__()
        self._below = cast("BinaryIO", below)
        self._start = start
        self._cipher = cipher
        self._size = size
        self._position = 0
        self._number = -1  # of the block at hand
        self._block = bytearray()  # its content, of full length
        self._changed = False

    @classmethod
    def new(cls, below: BinaryIO | RawIOBase, key: TapeKey) -> SealedFile:
        """In an empty file that can be read and written. Raises OSError."""
        salt = os.urandom(SALT_BYTES)
        start = _START.pack(MAGIC, VERSION, bytes.fromhex(key.key_id), salt)
        start += _CHECK.pack(crc32(start))
        _write(cast("BinaryIO", below), start)
        return cls(below, start, key.cipher(salt, PURPOSE), 0)

    @classmethod
    def opened(cls, below: BinaryIO | RawIOBase, keys: TapeKeys) -> SealedFile:
        """What lies in a sealed file, from its beginning. Raises OSError and SealError."""
        stream = cast("BinaryIO", below)
        start = stream.read(_START_BYTES)
        if len(start) < _START_BYTES or not is_sealed(start):
            raise SealError("not a sealed file, or one that ends in its first bytes")
        _, version, key_id, salt = _START.unpack_from(start)
        if version != VERSION:
            raise SealError(f"a sealed file of version {version}, and this program reads version {VERSION}")
        if crc32(start[: _START.size]) != _CHECK.unpack_from(start, _START.size)[0]:
            raise SealError("a sealed file whose first bytes are damaged")
        key = keys.get(key_id.hex())
        if key is None:
            raise SealError(f"sealed with the key {key_id.hex()}, which is not among those given (RECORDING_KEY)")
        whole, rest = divmod(stream.seek(0, SEEK_END) - _START_BYTES, _SLOT_BYTES)
        size = whole * BLOCK_BYTES + max(0, rest - _OVERHEAD_BYTES)
        return cls(below, start, key.cipher(salt, PURPOSE), size)

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def fileno(self) -> int:
        """Of the file below: to have it synced."""
        return self._below.fileno()

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        base = {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """All of it, up to the end. Raises OSError and SealError."""
        left = self._size - self._position
        buffer = bytearray(max(0, left if size < 0 else min(size, left)))
        self.readinto(buffer)
        return bytes(buffer)

    def readinto(self, buffer: Buffer, /) -> int:
        """As much as there is. Raises OSError and SealError."""
        target = memoryview(buffer).cast("B")
        target = target[: max(0, self._size - self._position)]
        size = len(target)
        while target:
            number, at = divmod(self._position, BLOCK_BYTES)
            self._turn_to(number)
            piece = self._block[at : at + len(target)]
            target[: len(piece)] = piece
            target = target[len(piece) :]
            self._position += len(piece)
        return size

    def write(self, data: Buffer, /) -> int:
        """All of it. Raises OSError, and SealError where a block that is there already cannot be read."""
        rest = memoryview(data).cast("B")
        written = len(rest)
        while rest:
            number, at = divmod(self._position, BLOCK_BYTES)
            self._turn_to(number)
            piece = rest[: BLOCK_BYTES - at]
            self._block[at : at + len(piece)] = piece
            self._changed = True
            self._position += len(piece)
            self._grow(self._position)
            rest = rest[len(piece) :]
        return written

    def flush(self) -> None:
        if not self.closed and self._changed:
            self._put_down()
        super().flush()

    def close(self) -> None:
        if not self.closed:
            try:
                super().close()  # flushes
            finally:
                self._below.close()

    def _grow(self, size: int) -> None:
        if size <= self._size:
            return
        last, rest = divmod(self._size, BLOCK_BYTES)
        self._size = size
        if rest and last != self._number:
            # It was the last block and short; now its place must be filled.
            self._write_block(last, self._read_block(last, rest))

    def _turn_to(self, number: int) -> None:
        if number == self._number:
            return
        if self._changed:
            self._put_down()
        self._block = self._read_block(number, self._size - number * BLOCK_BYTES)
        self._number = number

    def _put_down(self) -> None:
        length = min(BLOCK_BYTES, self._size - self._number * BLOCK_BYTES)
        self._write_block(self._number, self._block[:length])
        self._changed = False

    def _read_block(self, number: int, length: int) -> bytearray:
        """The block's content, filled up with zeros; `length`: how much of it there is at most."""
        if length <= 0:
            return bytearray(BLOCK_BYTES)
        self._below.seek(_START_BYTES + number * _SLOT_BYTES)
        slot = _read(self._below, min(length, BLOCK_BYTES) + _OVERHEAD_BYTES)
        if not slot.strip(b"\0"):
            return bytearray(BLOCK_BYTES)
        try:
            content = self._cipher.decrypt(slot[:_NONCE_BYTES], slot[_NONCE_BYTES:], self._associated(number))
        except (InvalidTag, ValueError):
            raise SealError(f"block {number} of a sealed file was changed, or not written to its end") from None
        return bytearray(content.ljust(BLOCK_BYTES, b"\0"))

    def _write_block(self, number: int, content: bytearray) -> None:
        nonce = os.urandom(_NONCE_BYTES)
        self._below.seek(_START_BYTES + number * _SLOT_BYTES)
        _write(self._below, nonce + self._cipher.encrypt(nonce, bytes(content), self._associated(number)))

    def _associated(self, number: int) -> bytes:
        return self._start + struct.pack("<Q", number)


def _read(file: BinaryIO, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := file.read(size - len(data))):
        data += more
    return data


def _write(file: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def is_sealed(beginning: bytes) -> bool:
    """Does a file that begins so need a key?"""
    return beginning.startswith(MAGIC)


def seal(content: bytes, key: TapeKey) -> bytes:
    """A whole sealed file."""
    below = BytesIO()
    file = SealedFile.new(below, key)
    file.write(content)
    file.flush()
    return below.getvalue()


def unseal(data: bytes, keys: TapeKeys) -> bytes:
    """What lies in a sealed file; of any other, itself. Raises SealError."""
    if not is_sealed(data):
        return data
    return SealedFile.opened(BytesIO(data), keys).read()


def open_unsealed(path: Path, keys: TapeKeys) -> BinaryIO:
    """A file for reading, sealed or not. Raises OSError and SealError."""
    file = path.open("rb")
    try:
        sealed = is_sealed(file.read(len(MAGIC)))
        file.seek(0)
        return cast("BinaryIO", SealedFile.opened(file, keys)) if sealed else file
    except BaseException:
        file.close()
        raise
