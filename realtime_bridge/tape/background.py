"""Writing to disk without ever keeping a call waiting.

Why it exists: a call's event loop must not touch the disk, which may be slow, full or gone. It hands over jobs; the
threads of an executor do them, in order. What waits is bounded. When the disk does not keep up, or fails, the file is
given up, with a problem reported once, and the call goes on.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from io import FileIO, RawIOBase
from pathlib import Path
from threading import Lock
from typing import ParamSpec, TypeAlias, TypeVar

Job: TypeAlias = Callable[[RawIOBase], None]

P = ParamSpec("P")
T = TypeVar("T")

BACKLOG_BYTES_MAX = 2 * 1024 * 1024
CLOSE_S = 5.0


class InlineDisk(Executor):
    """A "disk" for programs in virtual time, which outrun any real one: each job is done at once, by its caller."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as e:  # noqa: BLE001 - an executor's errors lie in its futures
            future.set_exception(e)
        return future


class BackgroundFile:
    """A new file, for its owner's eyes only, which the jobs given to `submit` fill.

    All methods belong to one thread, the event loop's; `on_problem` is called there too, at most once, with a sentence.
    Many files may share an executor, and it needs no more than one thread. End with `close`.
    """

    def __init__(
        self,
        path: Path,
        disk: Executor,
        *,
        on_problem: Callable[[str], None],
        backlog_bytes_max: int = BACKLOG_BYTES_MAX,
        wrap: Callable[[FileIO], RawIOBase] | None = None,
    ) -> None:
        """Does not touch the disk yet: the first job finds the file just created. One that exists is never opened.

        `wrap`: makes of it what the jobs are given, as a `SealedFile`; it closes the file.
        """
        self.path = path
        self._wrap = wrap
        self._disk = disk
        self._on_problem = on_problem
        self._backlog_bytes_max = backlog_bytes_max
        self._open = True
        self._reported = False
        self._closed: Future[None] = Future()
        self._closed.set_running_or_notify_cancel()  # so that who stops waiting for it does not cancel it
        self._file: RawIOBase | None = None  # the worker's own
        self._lock = Lock()  # guards what follows
        self._jobs: deque[tuple[Job | None, int]] = deque()  # None: close the file
        self._backlog_bytes = 0
        self._at_work = False
        self._failure: Exception | None = None

    @property
    def is_open(self) -> bool:
        """False once the file is closed or given up: jobs are ignored then."""
        return self._open

    def submit(self, job: Job, size_bytes: int) -> None:
        """Have `job` done to the file, after those before it. `size_bytes`: the memory it holds until then."""
        if not self._open:
            return
        with self._lock:
            failure, backlog_bytes = self._failure, self._backlog_bytes
        if failure is not None:
            self.give_up(str(failure))
        elif backlog_bytes > self._backlog_bytes_max:
            self.give_up(f"the disk does not keep up, {backlog_bytes} bytes wait")
        else:
            self._enqueue(job, size_bytes)

    def give_up(self, reason: str) -> None:
        """Write what waits already and no more, and report why."""
        self._finish()
        self._report(reason)

    def end(self) -> None:
        """Write what waits already and no more."""
        self._finish()

    async def close(self) -> None:
        """Finish what waits, sync the file and close it. Returns within `CLOSE_S`; idempotent."""
        self._finish()
        done, _ = await asyncio.wait([asyncio.wrap_future(self._closed)], timeout=CLOSE_S)
        if not done:
            self._report(f"the disk does not keep up, it could not be closed in {CLOSE_S:g} s")
        with self._lock:
            failure = self._failure
        if failure is not None:
            self._report(str(failure))

    def _finish(self) -> None:
        if self._open:
            self._open = False
            self._enqueue(None, 0)

    def _report(self, reason: str) -> None:
        if not self._reported:
            self._reported = True
            self._on_problem(f"the recording {self.path.name} is not whole: {reason}")

    def _enqueue(self, job: Job | None, size_bytes: int) -> None:
        with self._lock:
            self._jobs.append((job, size_bytes))
            self._backlog_bytes += size_bytes
            at_work, self._at_work = self._at_work, True
        if at_work:
            return
        try:
            self._disk.submit(self._work)
        except RuntimeError as e:  # the executor is shut down: all that is left is to close the file
            self._failure = e
            self._work()

    # ---- the worker's side -------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """Do what waits; one thread at a time is here."""
        while True:
            with self._lock:
                if not self._jobs:
                    self._at_work = False
                    return
                job, size_bytes = self._jobs.popleft()
                failed = self._failure is not None
            try:
                if job is None:
                    self._close_file(sync=not failed)
                elif not failed:
                    job(self._created())
            except Exception as e:  # noqa: BLE001 - a thread of an executor: all that fails must reach the loop's side
                with self._lock:
                    self._failure = self._failure or e
            with self._lock:
                self._backlog_bytes -= size_bytes
            if job is None:
                self._closed.set_result(None)

    def _created(self) -> RawIOBase:
        if self._file is None:
            file = FileIO(self.path, "x+", opener=_open_private)
            self._file = file if self._wrap is None else self._wrap(file)
        return self._file

    def _close_file(self, *, sync: bool) -> None:
        if self._file is not None:
            with self._file:
                if sync:
                    self._file.flush()
                    os.fsync(self._file.fileno())


def write_whole(file: RawIOBase, data: bytes) -> None:
    """Write all of `data` at the file's position. Raises OSError."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
