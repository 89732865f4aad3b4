"""Between the supervisor and one worker: connections and one word go down, how busy it is goes up.

The supervisor accepts every connection and hands it to the worker that has least to do. (Measured: workers that accept from
one shared socket take a burst of calls one and all, and the kernel's own spreading over SO_REUSEPORT sockets leaves one
worker with a quarter of what another one has; either also loses what waits in the queue of a worker that dies.)
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

WORKER_ENV: Final = "REALTIME_BRIDGE_WORKER"  # in a worker: its number, and the file descriptor of its link
MULTIPROC_DIR: Final = "PROMETHEUS_MULTIPROC_DIR"  # `prometheus_client`'s own name for where workers' numbers are
REPORT_SECONDS: Final = 0.2
_CONNECTION: Final = b"c"
_RETIRE: Final = b"r"
_REPORT: Final = struct.Struct("<BIII")


class WorkerState(IntEnum):
    """Lower ones are given connections first; a starting one gets none."""

    READY = 0
    FULL = 1  # its callers get the busy answer
    DRAINING = 2
    STARTING = 3


@dataclass(frozen=True, slots=True)
class WorkerReport:
    state: WorkerState
    calls: int
    connections: int  # that are no calls
    taken: int  # connections that it was given, ever


class SupervisorEnd:
    """The supervisor's side. `on_report` is called for each report, on the event loop."""

    def __init__(self, on_report: Callable[[WorkerReport], None]) -> None:
        self._link, self.workers_side = socket.socketpair()
        self._link.setblocking(False)
        self._on_report = on_report
        self._received = bytearray()
        asyncio.get_running_loop().add_reader(self._link.fileno(), self._read)

    def give(self, connection: socket.socket) -> bool:
        """Hand a connection over, without waiting; False when the worker does not take it. The caller still closes its own."""
        try:
            socket.send_fds(self._link, [_CONNECTION], [connection.fileno()])
        except OSError:  # its queue is full, or it is dead
            return False
        return True

    def retire(self) -> None:
        """No connection follows: it is to finish what it has, and end."""
        with contextlib.suppress(OSError):  # it is dead, and needs no word
            self._link.send(_RETIRE)

    def close(self) -> None:
        if self._link.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._link.fileno())
            self._link.close()
        self.workers_side.close()

    def _read(self) -> None:
        try:
            data = self._link.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:  # it is dead or dying; whoever watches the process knows more
            asyncio.get_running_loop().remove_reader(self._link.fileno())
            return
        self._received += data
        while len(self._received) >= _REPORT.size:
            state, calls, connections, taken = _REPORT.unpack_from(self._received)
            del self._received[: _REPORT.size]
            self._on_report(WorkerReport(WorkerState(state), calls, connections, taken))


class WorkerEnd:
    """The worker's side. What the supervisor says is told on the event loop; `on_orphaned`: it is dead."""

    def __init__(
        self,
        link: socket.socket,
        *,
        on_connection: Callable[[socket.socket], None],
        on_retire: Callable[[], None],
        on_orphaned: Callable[[], None],
    ) -> None:
        self._link = link
        self._link.setblocking(False)
        self._on_connection = on_connection
        self._on_retire = on_retire
        self._on_orphaned = on_orphaned
        self._taken = 0

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_reader(self._link.fileno(), self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._link.fileno())
        self._link.close()

    def report(self, state: WorkerState, *, calls: int, connections: int) -> None:
        with contextlib.suppress(
            OSError
        ):  # the supervisor is dead, and told of elsewhere; or behind, and gets the next
            self._link.send(_REPORT.pack(state, calls, connections, self._taken))

    def _read(self) -> None:
        try:
            word, descriptors, _, _ = socket.recv_fds(self._link, 1, 1)
        except BlockingIOError:
            return
        except OSError:
            word, descriptors = b"", []
        self._taken += len(descriptors)
        for descriptor in descriptors:
            self._on_connection(socket.socket(fileno=descriptor))
        if word == _RETIRE:
            self._on_retire()
        elif not word:
            asyncio.get_running_loop().remove_reader(self._link.fileno())
            self._on_orphaned()


def worker_identity() -> tuple[int, int] | None:
    """(number, file descriptor of the link) in a worker, None elsewhere."""
    value = os.environ.get(WORKER_ENV)
    if value is None:
        return None
    number, _, descriptor = value.partition(":")
    return int(number), int(descriptor)
