"""Whether anybody has written to an SQLite file since the last look: two `stat`s instead of a transaction.

With WAL, each commit of each process changes the file beside the database. Times of files come in steps of some
milliseconds, so a file that was written a moment ago may be written again without a trace: it counts as changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

STEP_NS_MAX: Final = 100_000_000
LOOKS_MAX: Final = 20  # after so many it is "changed" anyway: not every file system keeps good times

_Trace = tuple[tuple[int, int], ...]


class FileWatch:
    """`has_changed` is for somebody who then reads all that is new."""

    def __init__(self, path: Path, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._paths = (path, path.with_name(path.name + "-wal"))
        self._clock_ns = clock_ns
        self._trace: _Trace = ()
        self._looks = 0

    def has_changed(self) -> bool:
        """Since this was last True."""
        trace = tuple(_of(path) for path in self._paths)
        is_fresh = max(written for written, _ in trace) > self._clock_ns() - STEP_NS_MAX
        self._looks += 1
        if trace == self._trace and not is_fresh and self._looks < LOOKS_MAX:
            return False
        self._trace, self._looks = trace, 0
        return True


def _of(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_size
