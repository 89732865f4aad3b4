"""A tape on disk, written while the call runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from datetime import datetime
from functools import partial
from io import RawIOBase
from pathlib import Path
from typing import Any

from realtime_bridge.errors import MisuseError
from realtime_bridge.tape.background import BACKLOG_BYTES_MAX, BackgroundFile, write_whole
from realtime_bridge.tape.format import Source, TapeWriter
from realtime_bridge.tape.keys import SALT_BYTES, TapeKey

CHUNK_BYTES = 64 * 1024
CHUNK_S = 0.5  # what a killed process loses, at most


class TapeFile:
    """Appends records to a new tape. Never waits for the disk and never fails: problems end the tape, not the call.

    A record that cannot be kept ends the tape there, since one with a hole in it would replay another call.
    """

    def __init__(
        self,
        path: Path,
        disk: Executor,
        *,
        created_at: datetime,
        metadata: Mapping[str, Any],
        on_problem: Callable[[str], None],
        key: TapeKey | None = None,
        backlog_bytes_max: int = BACKLOG_BYTES_MAX,
    ) -> None:
        """`disk` and `on_problem` as for `BackgroundFile`; `created_at`, `metadata` and `key` as for `TapeWriter`, and
        what that raises."""
        salt = b"" if key is None else os.urandom(SALT_BYTES)
        self._writer = TapeWriter(created_at=created_at, metadata=metadata, key=key, salt=salt)
        self._file = BackgroundFile(path, disk, on_problem=on_problem, backlog_bytes_max=backlog_bytes_max)
        self._chunk_ends_at = CHUNK_S
        self._flush(0.0)  # the header at once: from here on the tape can be read

    @property
    def is_open(self) -> bool:
        """False once the tape is closed or has ended for a problem; records are ignored then."""
        return self._file.is_open

    def append(self, time: float, source: Source, payload: bytes) -> None:
        """Add one record. `time`: seconds since the tape began, monotonic."""
        if not self._file.is_open:
            return
        try:
            waiting_bytes = self._writer.append(time, source, payload)
        except MisuseError as e:
            self.give_up(str(e))
            return
        if waiting_bytes >= CHUNK_BYTES or time >= self._chunk_ends_at:
            self._flush(time)

    def give_up(self, reason: str) -> None:
        """End the tape here, and report why."""
        if self._file.is_open:
            self._flush(self._chunk_ends_at)
            self._file.give_up(reason)

    def end(self) -> None:
        """Write no more: nobody is to read it."""
        self._file.end()

    async def close(self) -> None:
        """Write what is left and close the file; bounded, idempotent."""
        if self._file.is_open:
            self._flush(self._chunk_ends_at)
            self._file.submit(self._write_end, 0)
        await self._file.close()

    def _flush(self, time: float) -> None:
        records = self._writer.cut()
        self._chunk_ends_at = time + CHUNK_S
        self._file.submit(partial(self._write, records), sum(map(len, records)))

    # ---- the worker's side: packing takes a while, and needs no loop -------------------------------------------------

    def _write(self, records: list[bytearray], file: RawIOBase) -> None:
        write_whole(file, self._writer.pack(records))

    def _write_end(self, file: RawIOBase) -> None:
        write_whole(file, self._writer.end())
