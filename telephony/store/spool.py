"""Records that the database could not take, as files, until it can.

One file per record, named so that they sort in the order of their writing, and whole or not there: written aside,
flushed to the disk, then renamed. Processes may share a directory and empty it together, each in order: who finds a file
gone knows that its record is stored. A record may be stored twice (a crash comes between storing and removing), so what
stores records must bear repetition.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from realtime_bridge.errors import BridgeError

BYTES_MAX: Final = 256 * 1024 * 1024
FILES_MAX: Final = 100_000
READ_AT_ONCE_MAX: Final = 100
DAMAGED: Final = "damaged"  # the folder of records that nobody can store
_SUFFIX: Final = ".json"


class SpoolFullError(BridgeError):
    """The spool holds as much as it may."""


@dataclass(frozen=True, slots=True)
class Spooled:
    """A record in the spool. `data`: as it was put, unless the disk damaged it."""

    name: str
    data: bytes


class Spool:
    """For one thread at a time, and not the event loop's: all methods reach for the disk, and may raise OSError."""

    def __init__(self, directory: Path, *, bytes_max: int = BYTES_MAX, files_max: int = FILES_MAX) -> None:
        """Makes the directory, for this user's eyes only: records hold phone numbers."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.directory = directory
        self._bytes_max = bytes_max
        self._files_max = files_max
        self._numbers = itertools.count()
        self._last_ns = 0
        self._files = self._bytes = 0  # as of the last `measure`, and what was put since then
        self.measure()

    def put(self, data: bytes) -> str:
        """Keep a record; it is on the disk when this returns its name. Raises SpoolFullError."""
        if self._files >= self._files_max or self._bytes + len(data) > self._bytes_max:
            raise SpoolFullError(
                f"{self.directory} is full: {self._files} records, {self._bytes} bytes; at most {self._files_max} "
                f"records and {self._bytes_max} bytes are kept. Bring the database back, and they are stored"
            )
        # Rises, even where the clock is set back while this process runs.
        self._last_ns = max(time.time_ns(), self._last_ns + 1)
        name = f"{self._last_ns:020d}-{os.getpid()}-{next(self._numbers)}{_SUFFIX}"
        aside = self.directory / f".{name}"
        try:
            with aside.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            aside.rename(self.directory / name)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise
        _flush(self.directory)
        self._files += 1
        self._bytes += len(data)
        return name

    @property
    def files(self) -> int:
        """How many records there are, as far as this process knows."""
        return self._files

    def measure(self) -> int:
        """How many records there are, those of other processes included."""
        sizes = []
        for entry in self._entries():
            with contextlib.suppress(FileNotFoundError):
                sizes.append(entry.stat().st_size)
        self._files, self._bytes = len(sizes), sum(sizes)
        return self._files

    def oldest(self, limit: int = READ_AT_ONCE_MAX) -> list[Spooled]:
        """The first records, in order."""
        found = []
        for name in sorted(entry.name for entry in self._entries())[:limit]:
            with contextlib.suppress(FileNotFoundError):  # another process was faster
                found.append(Spooled(name, (self.directory / name).read_bytes()))
        return found

    def everything(self) -> Iterator[tuple[Path, bytes]]:
        """All records that are there, those set aside included; in no order, and none that others take meanwhile."""
        for directory in (self.directory, self.directory / "damaged"):
            for path in directory.glob(f"[!.]*{_SUFFIX}") if directory.is_dir() else ():
                with contextlib.suppress(FileNotFoundError):
                    yield path, path.read_bytes()

    def is_there(self, name: str) -> bool:
        """False: another process has stored it."""
        return (self.directory / name).exists()

    def remove(self, name: str) -> None:
        """It is stored."""
        with contextlib.suppress(FileNotFoundError):
            (self.directory / name).unlink()

    def set_aside(self, name: str) -> Path:
        """It cannot be stored: leave it to people. Returns where it lies from now on."""
        damaged = self.directory / DAMAGED
        damaged.mkdir(exist_ok=True, mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            (self.directory / name).rename(damaged / name)
        return damaged / name

    def _entries(self) -> list[os.DirEntry[str]]:
        with os.scandir(self.directory) as entries:
            return [
                entry
                for entry in entries
                if entry.name.endswith(_SUFFIX) and not entry.name.startswith(".") and entry.is_file()
            ]


def _flush(directory: Path) -> None:
    """A name is on the disk only when its directory is."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
