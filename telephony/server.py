"""The phone server as an async context manager: `async with PhoneServer(app) as server: server.url`.

uvicorn without its signal handlers and without polling, so that it runs inside any program: the command line, the demo,
a test. Leaving the context ends calls in order (close code 1001), then connections, within a few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Self, cast

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

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
        self._host = host
        self._port = port
        self._server = _Server(
            uvicorn.Config(
                app,
                http=_Http,
                ws=media_handoff(self.media),
                lifespan="on",
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

    async def __aenter__(self) -> Self:
        """Listen. Raises TransportError when the address cannot be had."""
        listener = _listen(self._host, self._port)
        host, port = listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._task = asyncio.create_task(self._serve(listener), name="phone server")
        started = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait([started, self._task], return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if self._task.done():
            self._task.result()
            raise InternalError("the server ended while it started")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None
        await self.media.close()
        self._server.stop.set()
        await self._task

    async def wait_failed(self) -> None:
        """Returns, or raises, only when the server ends by itself."""
        assert self._task is not None
        await asyncio.shield(self._task)

    async def _serve(self, listener: socket.socket) -> None:
        try:
            await self._server.serve(sockets=[listener])
        except SystemExit as e:  # uvicorn's answer to an application that does not start
            raise InternalError("the application did not start; its error is in the log") from e
        finally:
            listener.close()


def run_server(app: FastAPI, *, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, on uvloop where there is one. `on_ready` is given the server's URL."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        new_loop = asyncio.new_event_loop
    else:
        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_serve_until_told_to_stop(app, host, port, on_ready))


async def _serve_until_told_to_stop(app: FastAPI, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, told.set)
    async with PhoneServer(app, host=host, port=port) as server:
        on_ready(server.url)
        waits = [asyncio.ensure_future(told.wait()), asyncio.ensure_future(server.wait_failed())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)  # a failure is raised on leaving the server


class _Server(uvicorn.Server):
    """uvicorn's server, told by events when to stop instead of by signals and polling."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self.stop = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        await self.stop.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


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
