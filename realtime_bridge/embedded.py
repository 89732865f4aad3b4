"""uvicorn inside a program of its own: no signal handlers, no polling.

Whoever starts it learns when it listens, and says when it is to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn


class EmbeddedServer(uvicorn.Server):
    """Run `serve(sockets=[…])` as a task; `ready` is set when it listens, and `stop`, once set, ends it.

    Without a socket of its own (`[]`) it serves what it is given by `take`.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self.stop = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.ready.set()

    async def main_loop(self) -> None:
        await self.stop.wait()

    async def take(self, connection: socket.socket) -> None:
        """Serve a connection that was accepted elsewhere. Raises OSError for one that is broken already."""
        config = self.config

        def protocol() -> asyncio.Protocol:  # as uvicorn makes them for its own listeners
            return config.http_protocol_class(  # type: ignore[call-arg]  # as there
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )

        await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the program's own business."""
        yield
