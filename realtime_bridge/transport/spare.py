"""A second model session, opened beside the running one so that the change to it costs the caller nothing.

It is brought as far as a confirmed configuration and then waits; the conversation is told to it after the switch.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from realtime_bridge.errors import InternalError, ProtocolError, TransportError
from realtime_bridge.transport.base import ModelLost
from realtime_bridge.transport.model_socket import ModelConnection, OpenModel, close_soon
from realtime_bridge.wire import client, decode_server_event, encode, server
from realtime_bridge.wire.session import expires_at

log = logging.getLogger(__name__)


class SpareModel:
    """Opens at once, in the background; gives up quietly if it fails, since the running session is not touched by it."""

    def __init__(
        self,
        open_model: OpenModel,
        session_config: dict[str, Any],
        *,
        on_ready: Callable[[float | None], None],
        ready_s_max: float,
    ) -> None:
        """`on_ready` is told when the model will end the session, Unix seconds, if it has said so."""
        self._open_model = open_model
        self._session = {"type": "realtime", **session_config}
        self._on_ready = on_ready
        self._ready_s_max = ready_s_max
        self._socket: ModelConnection | None = None
        self._ready = False
        self._lost: ModelLost | None = None
        self._expires_at: float | None = None
        # What the model says to the configuration; None: it agrees.
        self._answer: asyncio.Future[TransportError | None] = asyncio.get_running_loop().create_future()
        self._opening = asyncio.get_running_loop().create_task(self._open())

    def take(self, on_frame: Callable[[bytes], None], on_lost: Callable[[ModelLost], None]) -> ModelConnection:
        """Hand the socket over. Only after `on_ready`."""
        if self._socket is None or not self._ready:
            raise InternalError("the spare model session is not ready")
        self._socket.listen(on_frame, on_lost)
        if self._lost is not None:
            asyncio.get_running_loop().call_soon(on_lost, self._lost)
        return self._socket

    def give_up(self) -> None:
        self._opening.cancel()
        if self._socket is not None:
            close_soon(self._socket)

    async def _open(self) -> None:
        try:
            async with asyncio.timeout(self._ready_s_max):
                self._socket = await self._open_model(on_frame=self._on_frame, on_lost=self._on_lost)
                self._socket.send(encode(client.SessionUpdate(session=self._session)))
                refusal = await self._answer
        except TimeoutError:
            refusal = TransportError(f"it did not confirm its configuration within {self._ready_s_max:g} s")
        except TransportError as e:
            refusal = e
        except Exception:
            log.exception("the attempt to open a spare model session failed")
            return
        if refusal is None:
            self._ready = True
            self._on_ready(self._expires_at)
            return
        log.warning("no spare model session: %s", refusal)
        if self._socket is not None:
            close_soon(self._socket)

    def _on_frame(self, frame: bytes) -> None:
        try:
            event = decode_server_event(frame)
        except ProtocolError as e:
            log.warning("the spare model session sent a malformed event: %s", e)
            return
        if isinstance(event, server.SessionCreated | server.SessionUpdated):
            self._expires_at = expires_at(event.session) or self._expires_at
        if isinstance(event, server.SessionUpdated):
            self._answered(None)
        elif isinstance(event, server.ErrorEvent):
            self._answered(TransportError(event.error.message, code=event.error.code))

    def _on_lost(self, lost: ModelLost) -> None:
        self._lost = lost
        self._answered(TransportError(lost.message, code=lost.code))

    def _answered(self, refusal: TransportError | None) -> None:
        if not self._answer.done():
            self._answer.set_result(refusal)
