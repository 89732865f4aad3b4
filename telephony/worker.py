"""One worker of several: serves what the supervisor hands it, and tells it how busy it is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any, Final

from telephony.server import PhoneServer
from telephony.signals import Signals
from telephony.worker_link import REPORT_SECONDS, WorkerEnd, WorkerState

log = logging.getLogger(__name__)

RETIRE_SECONDS_MAX: Final = 15.0  # uvicorn keeps a silent connection for 5, we one that has not asked yet for 10
LOOK_SECONDS: Final = 0.05


@contextlib.asynccontextmanager
async def joined(server: PhoneServer, descriptor: int, signals: Signals) -> AsyncIterator[None]:
    """While it lasts, the supervisor at the other end of the link has its connections served by `server`.

    A worker that is to retire, or whose supervisor has died, is told so as by SIGTERM.
    """
    tasks: set[asyncio.Task[Any]] = set()

    def do(work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def orphaned() -> None:
        log.error("the supervisor is gone: this worker lets its calls finish, and ends")
        signals.send(signal.SIGTERM)

    link = WorkerEnd(
        socket.socket(fileno=descriptor),
        on_connection=lambda connection: do(server.take(connection)),
        on_retire=lambda: do(_retire(server, signals)),
        on_orphaned=orphaned,
    )
    with link:
        do(_report(server, link))
        try:
            yield
        finally:
            for task in tuple(tasks):
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)


async def _report(server: PhoneServer, link: WorkerEnd) -> None:
    media = server.media
    while True:
        state = WorkerState.READY if media.has_room else WorkerState.FULL
        if media.draining:
            state = WorkerState.DRAINING
        link.report(state, calls=media.calls, connections=server.http_connections)
        await asyncio.sleep(REPORT_SECONDS)


async def _retire(server: PhoneServer, signals: Signals) -> None:
    """A fresh worker has taken over. What is being asked here is still answered as ever; then the calls may finish."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(RETIRE_SECONDS_MAX):
            while server.http_connections:  # noqa: ASYNC110 - seldom, and not for long
                await asyncio.sleep(LOOK_SECONDS)
    server.succeeded = True
    signals.send(signal.SIGTERM)
