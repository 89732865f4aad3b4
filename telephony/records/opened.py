"""A call's files as they were before they were sealed: copies for people, who have other programs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import BinaryIO

from realtime_bridge.tape import TapeKeys, TapeWriter, open_unsealed, read_tape

_WRITE_AT_ONCE_BYTES = 256 * 1024


def copy_opened(source: Path, target: Path, keys: TapeKeys) -> None:
    """Copy a file of a call's folder, opened if it is sealed, readable by this program's user alone.

    Raises OSError, and SealError or TapeError for a file that cannot be opened, or not to its end: what could is there.
    """
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as copy:
        if source.suffix == ".tape":
            with source.open("rb") as tape:
                _copy_tape(tape, copy, keys)
        else:
            with open_unsealed(source, keys) as opened:
                shutil.copyfileobj(opened, copy)


def _copy_tape(source: BinaryIO, copy: BinaryIO, keys: TapeKeys) -> None:
    """As it is, where it is not sealed."""
    tape = read_tape(source, keys=keys)
    if tape.header.seal is None:
        source.seek(0)
        shutil.copyfileobj(source, copy)
        return
    writer = TapeWriter(created_at=tape.header.created_at, metadata=tape.header.metadata)
    for record in tape:
        if writer.append(record.time, record.source, record.payload) >= _WRITE_AT_ONCE_BYTES:
            copy.write(writer.take())
    copy.write(writer.take() if tape.torn else writer.end())
