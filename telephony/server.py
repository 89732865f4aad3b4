"""The phone server as an async context manager: `async with PhoneServer(app) as server: server.url`.

uvicorn without its signal handlers and without polling, so that it runs inside any program: the command line, the demo,
a test. Leaving the context ends calls in order (close code 1001), then connections, within a few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Final, Self, cast

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from realtime_bridge.embedded import EmbeddedServer
from realtime_bridge.errors import InternalError, TransportError
from telephony.handoff import media_handoff
from telephony.settings import Settings, check_exposure
from telephony.stream import MediaEndpoint

FIRST_REQUEST_SECONDS_MAX: Final = 10.0
SHUTDOWN_SECONDS_MAX: Final = 5
BACKLOG: Final = 512


class PhoneServer:
    """Serves an application of `create_app`, its media sockets included, on one port."""

    def __init__(self, app: FastAPI, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """`port` 0 takes a free one; `url` tells which. Raises SettingsError when strangers could reach `host` and
        nothing tells them from Twilio."""
        check_exposure(cast("Settings", app.state.settings), host)
        self.media = cast("MediaEndpoint", app.state.media)
        self.url = ""
        self._app = app
        self._host = host
        self._port = port
        self._server = EmbeddedServer(
            uvicorn.Config(
                app,
                http=_Http,
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
            listener = stack.enter_context(_listen(self._host, self._port))
            await stack.enter_async_context(self._app.router.lifespan_context(self._app))
            self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="phone server")
            stack.push_async_callback(self._stop)
            started = asyncio.create_task(self._server.ready.wait())
            await asyncio.wait([started, self._task], return_when=asyncio.FIRST_COMPLETED)
            started.cancel()
            if not self._server.ready.is_set():
                raise InternalError("the server ended while it started") from self._task.exception()
            host, port = listener.getsockname()[:2]
            self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
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

    async def _stop(self) -> None:
        assert self._task is not None
        await self.media.close()
        self._server.stop.set()
        await asyncio.wait([self._task])


def run_until_signalled(main: Coroutine[Any, Any, None]) -> None:
    """Run a program that leaves by being cancelled, until SIGINT or SIGTERM; on uvloop where there is one.

    The first signal cancels `main`, whose context managers end what they began; another one cuts that short.
    """
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        asyncio.run(_until_signalled(main))
    else:
        uvloop.run(_until_signalled(main))


async def _until_signalled(main: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.get_running_loop()
    program = loop.create_task(main)
    signals = []

    def stop(number: int) -> None:
        signals.append(number)
        program.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number)
    try:
        await program
    except asyncio.CancelledError:
        if not signals:
            raise


class _Http(H11Protocol):
    """uvicorn waits for a first request for ever; here a connection that never asks for anything is closed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        super().connection_made(transport)
        self.loop.call_later(FIRST_REQUEST_SECONDS_MAX, self._first_request_overdue)

    def _first_request_overdue(self) -> None:
        request: object = self.scope  # None before the first, whatever the type says
        if request is None and not self.transport.is_closing():
            self.transport.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as e:
        raise TransportError(f"cannot listen on {host}, port {port}: {e}", retryable=False) from e
