"""The way to the model over the life of a call: one socket at a time, another when it is lost, a spare when asked for.

Lost sockets are replaced with growing pauses, scattered so that a thousand calls do not come back at the same instant
(AWS Architecture Blog, "Exponential Backoff And Jitter"), until a limit: a caller who hears nothing for that long has
hung up. What the fresh session must be told is the session core's business.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

from realtime_bridge.errors import InternalError, MisuseError, TransportError
from realtime_bridge.transport.base import ModelConnected, ModelLost, SpareReady, TransportReport
from realtime_bridge.transport.model_socket import ModelConnection, OpenModel, close_soon
from realtime_bridge.transport.spare import SpareModel

log = logging.getLogger(__name__)

PAUSE_S_FIRST = 0.2
PAUSE_S_MAX = 5.0
GIVE_UP_S = 30.0


class ModelLink:
    """`on_frame` gets the frames of the current socket, `report` ModelConnected, ModelLost and SpareReady."""

    def __init__(
        self, open_model: OpenModel, *, on_frame: Callable[[bytes], None], report: Callable[[TransportReport], None]
    ) -> None:
        self._open_model = open_model
        self._on_frame = on_frame
        self._report = report
        self._socket: ModelConnection | None = None
        self._spare: SpareModel | None = None
        self._coming_back: asyncio.Task[None] | None = None
        self._attempts = 0
        self._closed = False

    @property
    def is_up(self) -> bool:
        return self._socket is not None

    async def open(self) -> None:
        """The first socket. Raises TransportError; nothing is tried again here."""
        if self._attempts:
            raise MisuseError("this transport was connected before; make a new one")
        self._attempts = 1
        socket = await self._open_model(on_frame=self._on_frame, on_lost=self._on_lost)
        if self._closed:
            await socket.close()
            raise TransportError("closed while the model was being reached", retryable=False)
        self._socket = socket
        self._report(ModelConnected(attempt=1))

    def send(self, frame: bytes) -> None:
        """Dropped while there is no socket."""
        if self._socket is not None:
            self._socket.send(frame)

    def rotate(self, session_config: dict[str, Any]) -> None:
        """Open a spare session beside the current one; SpareReady follows, unless it fails."""
        if self._closed:
            return
        if self._spare is not None:
            self._spare.give_up()
        self._spare = SpareModel(
            self._open_model, session_config, on_ready=lambda: None if self._closed else self._report(SpareReady())
        )

    def switch(self) -> None:
        """The spare becomes the socket. Raises InternalError when none is ready."""
        spare, self._spare = self._spare, None
        if spare is None:
            raise InternalError("there is no spare model session to switch to")
        old, self._socket = self._socket, spare.take(self._on_frame, self._on_lost)
        self._attempts += 1
        if old is not None:
            close_soon(old)

    def close_soon(self) -> None:
        """Close whatever is open, without waiting; idempotent. Nothing is reported from here on."""
        self._closed = True
        if self._coming_back is not None:
            self._coming_back.cancel()
        if self._spare is not None:
            self._spare.give_up()
        socket, self._socket = self._socket, None
        if socket is not None:
            close_soon(socket)

    async def close(self) -> None:
        """The same, waiting for the goodbye, at most a few seconds."""
        socket, self._socket = self._socket, None
        self.close_soon()
        if socket is not None:
            await socket.close()

    def _on_lost(self, lost: ModelLost) -> None:
        if self._closed:
            return
        self._socket = None
        self._report(lost)
        if lost.retryable and not self._closed:
            self._coming_back = asyncio.get_running_loop().create_task(self._come_back(lost))

    async def _come_back(self, lost: ModelLost) -> None:
        began = asyncio.get_running_loop().time()
        pause_s = PAUSE_S_FIRST
        while True:
            self._attempts += 1
            try:
                socket = await self._open_model(on_frame=self._on_frame, on_lost=self._on_lost)
            except TransportError as e:
                waited_s = asyncio.get_running_loop().time() - began
                if not e.retryable or waited_s + pause_s > GIVE_UP_S:
                    log.warning("the model is given up after %.1f s: %s", waited_s, e)
                    self._report(ModelLost(message=f"{lost.message}; then: {e}", code=e.code, retryable=False))
                    return
                log.info("the model cannot be reached, next try within %.1f s: %s", pause_s, e)
            else:
                self._socket = socket
                self._report(ModelConnected(attempt=self._attempts))
                return
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - scatter, not secrecy
            pause_s = min(2 * pause_s, PAUSE_S_MAX)
