"""A sealed recording over HTTP, opened on the way, whole or in part (RFC 9110, 14): nothing unsealed touches a disk."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from io import SEEK_END
from pathlib import Path
from typing import BinaryIO, Final

from fastapi import Response
from fastapi.responses import StreamingResponse

from realtime_bridge.tape import TapeKeys
from realtime_bridge.tape.sealed import is_sealed, open_unsealed

CHUNK_BYTES: Final = 256 * 1024
START_BYTES: Final = 64  # enough to see whether a file is sealed
_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")


def needs_key(path: Path) -> bool:
    """Raises OSError."""
    with path.open("rb") as file:
        return is_sealed(file.read(START_BYTES))


async def unsealed_response(
    path: Path, keys: TapeKeys, byte_range: str | None, headers: Mapping[str, str], media_type: str
) -> Response:
    """`byte_range`: the Range header, of one range. Raises OSError, and SealError for a file that no key opens."""
    file = await asyncio.to_thread(open_unsealed, path, keys)
    size = await asyncio.to_thread(file.seek, 0, SEEK_END)
    start, end = _span(byte_range, size)
    head = {**headers, "accept-ranges": "bytes"}
    if start >= end and size:
        file.close()
        return Response(status_code=416, headers=head | {"content-range": f"bytes */{size}"})
    head["content-length"] = str(end - start)
    if byte_range is not None:
        head["content-range"] = f"bytes {start}-{end - 1}/{size}"
    status = 200 if byte_range is None else 206
    return StreamingResponse(_chunks(file, start, end), status, head, media_type=media_type)


def _span(byte_range: str | None, size: int) -> tuple[int, int]:
    """First byte and the one past the last."""
    found = None if byte_range is None else _RANGE.fullmatch(byte_range)
    if found is None:
        return 0, size
    first, last = found.groups()
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1) if last else size


async def _chunks(file: BinaryIO, start: int, end: int) -> AsyncIterator[bytes]:
    with file:
        await asyncio.to_thread(file.seek, start)
        while start < end and (chunk := await asyncio.to_thread(file.read, min(CHUNK_BYTES, end - start))):
            start += len(chunk)
            yield chunk
