"""The phone server as an async context manager: `async with PhoneServer(app) as server: server.url`.

uvicorn without its signal handlers and without polling, so that it runs inside any program: the command line, the demo,
a test. Leaving the context ends calls in order (close code 1001), then connections, within a few seconds. `drain` comes
before that where callers shall not notice: it lets calls finish, and has a goodbye said to those that do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, cast

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from realtime_bridge.embedded import EmbeddedServer
from realtime_bridge.errors import InternalError
from telephony import metrics
from telephony.handoff import media_handoff
from telephony.listener import BACKLOG, listen, url_of
from telephony.settings import Settings, check_exposure
from telephony.stream import MediaEndpoint

log = logging.getLogger(__name__)

SayGoodbye: TypeAlias = Callable[[], Awaitable[None]]  # to every call that is left, and hang up

FIRST_REQUEST_SECONDS_MAX: Final = 10.0
SILENT_CONNECTIONS_MAX: Final = 2000  # that have not asked yet; one more takes the oldest one's place
SHUTDOWN_SECONDS_MAX: Final = 5
GOODBYE_SECONDS_MAX: Final = 45.0  # what the steering of a call allows for it, by default
EXPECTED_SECONDS_MAX: Final = (
    10.0  # for the media of calls whose webhook was answered; another process may have it by now
)
LOOK_SECONDS: Final = 0.1  # how often a server that drains looks whether calls are left


class PhoneServer:
    """Serves an application of `create_app`, its media sockets included, on one port."""

    def __init__(self, app: FastAPI, *, host: str = "127.0.0.1", port: int = 0, listens: bool = True) -> None:
        """`port` 0 takes a free one; `url` tells which. Raises SettingsError when strangers could reach `host` and
        nothing tells them from Twilio. `listens` False: it serves what `take` brings, and has no URL."""
        check_exposure(cast("Settings", app.state.settings), host)
        self.media = cast("MediaEndpoint", app.state.media)
        self.url = ""
        self.succeeded = False  # another process is given all connections by now, those of expected calls too
        self._app = app
        self._host = host
        self._port = port
        self._listens = listens
        self._server = EmbeddedServer(
            uvicorn.Config(
                app,
                http=cast("type[asyncio.Protocol]", functools.partial(_Http, silent={})),
                ws=media_handoff(self.media),
                lifespan="off",  # entered here, so that its errors reach whoever starts the server
                log_config=None,
                access_log=False,
                proxy_headers=False,  # PUBLIC_URL says where the server is; no header may
                server_header=False,
                date_header=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS_MAX,
            )
        )
        self._task: asyncio.Task[None] | None = None
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Start the application and listen. Raises TransportError when the address cannot be had, and what the
        application's start raises."""
        async with contextlib.AsyncExitStack() as stack:
            listeners = [stack.enter_context(listen(self._host, self._port))] if self._listens else []
            await stack.enter_async_context(self._app.router.lifespan_context(self._app))
            self._task = asyncio.create_task(self._server.serve(sockets=listeners), name="phone server")
            stack.push_async_callback(self._stop)
            started = asyncio.create_task(self._server.ready.wait())
            await asyncio.wait([started, self._task], return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
            if not self._server.ready.is_set():
                raise InternalError("the server ended while it started") from self._task.exception()
            self.url = url_of(listeners[0]) if listeners else ""
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def wait_failed(self) -> None:
        """Returns, or raises, only when the server ends by itself."""
        assert self._task is not None
        await asyncio.shield(self._task)

    async def take(self, connection: socket.socket) -> None:
        """Serve a connection that another process has accepted."""
        try:
            await self._server.take(connection)
        except OSError as e:
            log.debug("a connection was over before it began: %s", e)
            connection.close()

    @property
    def http_connections(self) -> int:
        """Open connections that are no media sockets."""
        return len(self._server.server_state.connections)

    async def drain(self, seconds_max: float, say_goodbye: SayGoodbye) -> None:
        """Take no more calls, let those that are there finish for `seconds_max`, then have the others told goodbye.

        Goes on listening: a webhook is answered by what callers get when there is no room, and the media of a call whose
        webhook was answered before is still taken. Leave the context afterwards.
        """
        self.media.draining = True
        metrics.DRAINING.set(1)
        log.info("draining: %d calls may go on for %g s", self.media.calls, seconds_max)
        if await self._calls_end_within(seconds_max) or not self.media.calls:
            return
        log.warning("%d calls are told goodbye, since the server stops", self.media.calls)
        try:
            async with asyncio.timeout(GOODBYE_SECONDS_MAX):
                await say_goodbye()
                await self._calls_end_within(GOODBYE_SECONDS_MAX)
        except TimeoutError:
            log.error("%d calls did not end within %g s", self.media.calls, GOODBYE_SECONDS_MAX)  # noqa: TRY400 - no trace

    async def _calls_end_within(self, seconds: float) -> bool:
        """Whether no call is left, nor one whose media is still to come."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while self.media.calls if self.succeeded else self.media.calls_to_end:
            if loop.time() >= began + seconds:
                return False
            await asyncio.sleep(LOOK_SECONDS)
        return True

    async def _stop(self) -> None:
        assert self._task is not None
        await self.media.close()
        self._server.stop.set()
        await asyncio.wait([self._task])


class _Http(H11Protocol):
    """uvicorn waits for a first request for ever, on as many connections as come; here one that never asks for anything is
    closed, and sooner where there are many."""

    def __init__(self, *arguments: Any, silent: dict[_Http, None], **options: Any) -> None:
        """`silent`: those that have not asked yet, oldest first; shared by all of a server."""
        super().__init__(*arguments, **options)
        self._silent = silent

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        super().connection_made(transport)
        if len(self._silent) >= SILENT_CONNECTIONS_MAX:
            next(iter(self._silent)).hang_up()
        self._silent[self] = None
        self.loop.call_later(FIRST_REQUEST_SECONDS_MAX, self.hang_up)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        request: object = self.scope  # None before the first, whatever the type says
        if request is not None:
            self._silent.pop(self, None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._silent.pop(self, None)
        super().connection_lost(exc)

    def hang_up(self) -> None:
        """Unless it has asked for something."""
        if self in self._silent:
            del self._silent[self]
            self.transport.abort()
