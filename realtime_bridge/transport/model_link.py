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
from dataclasses import dataclass
from typing import Any

from realtime_bridge.errors import InternalError, MisuseError, TransportError
from realtime_bridge.transport.base import ModelConnected, ModelLost, SpareReady, TransportReport
from realtime_bridge.transport.model_socket import ModelConnection, OpenModel, close_soon
from realtime_bridge.transport.spare import SpareModel

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """A model that was lost is tried again at once, then after pauses that double."""

    pause_s_first: float = 0.2
    pause_s_max: float = 2.0  # a caller waits
    give_up_s: float = 30.0  # of trouble
    steady_s: float = 10.0  # a connection that held for so long was the end of the trouble
    spare_ready_s_max: float = 15.0  # for a spare session to be open and confirmed


class ModelLink:
    """`on_frame` gets the frames of the current socket, `report` ModelConnected, ModelLost and SpareReady."""

    def __init__(
        self,
        open_model: OpenModel,
        *,
        on_frame: Callable[[bytes], None],
        report: Callable[[TransportReport], None],
        limits: LinkLimits | None = None,
    ) -> None:
        self._open_model = open_model
        self._on_frame = on_frame
        self._report = report
        self._limits = limits or LinkLimits()
        self._socket: ModelConnection | None = None
        self._spare: SpareModel | None = None
        self._coming_back: asyncio.Task[None] | None = None
        self._goodbye: asyncio.Task[None] | None = None
        self._attempts = 0
        self._up_since = 0.0
        self._trouble_since: float | None = None
        self._pause_s = 0.0  # before the next attempt
        self._closed = False

    @property
    def is_up(self) -> bool:
        return self._socket is not None

    async def open(self) -> None:
        """The first socket. Raises TransportError; nothing is tried again here."""
        if self._attempts:
            raise MisuseError("this transport was connected before; make a new one")
        await self._connect()

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
            self._open_model,
            session_config,
            on_ready=lambda ends: None if self._closed else self._report(SpareReady(expires_at=ends)),
            ready_s_max=self._limits.spare_ready_s_max,
        )

    def switch(self) -> bool:
        """The spare becomes the socket. False: the current one was lost a moment ago, and another is on its way already.

        Raises InternalError when no spare is ready.
        """
        spare, self._spare = self._spare, None
        if spare is None:
            raise InternalError("there is no spare model session to switch to")
        old = self._socket
        if old is None:
            spare.give_up()
            return False
        self._socket = spare.take(self._on_frame, self._on_lost)
        self._up_since = asyncio.get_running_loop().time()
        self._attempts += 1
        close_soon(old)
        return True

    def drop(self, lost: ModelLost) -> None:
        """The session on this socket is of no use: leave it, and come back to another one if `lost` is retryable."""
        socket, self._socket = self._socket, None
        if socket is not None:
            close_soon(socket)
            self._up_since = asyncio.get_running_loop().time()  # however long it held, it was trouble
            self._on_lost(lost)

    def close_soon(self) -> None:
        """Close whatever is open, without waiting; idempotent. Nothing is reported from here on."""
        socket, self._socket = self._socket, None
        self._stop()
        if socket is not None:
            self._goodbye = close_soon(socket)

    async def close(self) -> None:
        """The same, waiting for the goodbye, at most a few seconds."""
        self.close_soon()
        if self._goodbye is not None:
            await asyncio.wait([self._goodbye])

    def _stop(self) -> None:
        self._closed = True
        if self._coming_back is not None:
            self._coming_back.cancel()
        if self._spare is not None:
            self._spare.give_up()

    async def _connect(self) -> None:
        """Raises TransportError, also for a socket that is lost as soon as it is open."""
        self._attempts += 1
        frames: list[bytes] = []
        losses: list[ModelLost] = []
        socket = await self._open_model(on_frame=frames.append, on_lost=losses.append)
        if losses:
            raise TransportError(losses[0].message, code=losses[0].code, retryable=losses[0].retryable)
        if self._closed:
            close_soon(socket)
            raise TransportError("closed while the model was being reached", retryable=False)
        socket.listen(self._on_frame, self._on_lost)
        self._socket = socket
        self._up_since = asyncio.get_running_loop().time()
        self._report(ModelConnected(attempt=self._attempts))
        for frame in frames:
            if self._socket is socket:
                self._on_frame(frame)

    def _on_lost(self, lost: ModelLost) -> None:
        if self._closed:
            return
        log.warning("the model is lost: %s", lost.message)
        self._socket = None
        now = asyncio.get_running_loop().time()
        if self._trouble_since is None or now - self._up_since >= self._limits.steady_s:
            self._trouble_since, self._pause_s = now, 0.0
        self._report(lost)
        if lost.retryable and not self._closed:
            self._coming_back = asyncio.get_running_loop().create_task(self._come_back(lost, self._trouble_since))

    async def _come_back(self, lost: ModelLost, trouble_since: float) -> None:
        latest = TransportError(lost.message, code=lost.code)
        loop = asyncio.get_running_loop()
        while latest.retryable and loop.time() + self._pause_s - trouble_since <= self._limits.give_up_s:
            await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - scatter, not secrecy
            self._pause_s = min(max(2 * self._pause_s, self._limits.pause_s_first), self._limits.pause_s_max)
            try:
                await self._connect()
            except TransportError as e:
                latest = e
            except Exception as e:
                log.exception("the attempt to reach the model failed")
                latest = TransportError(str(e), retryable=False)
            else:
                return
            log.info("the model cannot be reached: %s", latest)
        log.warning("the model is given up after %.1f s: %s", loop.time() - trouble_since, latest)
        if not self._closed:
            self._report(ModelLost(message=f"{lost.message}; then: {latest}", code=latest.code, retryable=False))
