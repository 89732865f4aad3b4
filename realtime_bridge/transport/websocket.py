"""The plain transport: a realtime model over a WebSocket, audio handed to the program.

For browsers, desktop programs and tests. The program plays the audio, so nothing here knows what was heard.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pybase64
from openai import AsyncOpenAI

from realtime_bridge.errors import MisuseError, ProtocolError, TransportError
from realtime_bridge.transport.base import (
    ModelConnected,
    ModelLost,
    TransportClosed,
    TransportListener,
    TransportProblem,
)
from realtime_bridge.transport.endpoint import realtime_endpoint
from realtime_bridge.transport.model_socket import ModelSocket
from realtime_bridge.wire import ClientEvent, append_frame, client, decode_server_event, encode, server

CONFIRM_S_MAX = 10.0


class WebSocketTransport:
    """See `RealtimeTransport`. Audio in both directions is in the session's formats (PCM16 24 kHz unless configured)."""

    plays_audio = False

    def __init__(self, *, model: str, openai: AsyncOpenAI | None = None) -> None:
        """`openai`: its base URL, key and headers are used; default: one made from the environment."""
        self._model = model
        self._openai = openai
        self._socket: ModelSocket | None = None
        self._listener: TransportListener | None = None
        self._confirmed: asyncio.Future[None] | None = None
        self._attempts = 0
        self._muted = False
        self._closed = False

    async def connect(self, listener: TransportListener, *, session: dict[str, Any]) -> None:
        if self._closed:
            raise MisuseError("this transport was closed; make a new one")
        self._listener = listener
        openai = self._openai or AsyncOpenAI()
        endpoint = await realtime_endpoint(openai, model=self._model)
        self._socket = await ModelSocket.open(endpoint, on_frame=self._on_frame, on_lost=self._on_lost)
        self._attempts += 1
        listener(ModelConnected(attempt=self._attempts))
        self._confirmed = asyncio.get_running_loop().create_future()
        self.send(client.SessionUpdate(session={"type": "realtime", **session}))
        try:
            async with asyncio.timeout(CONFIRM_S_MAX):
                await self._confirmed
        except TimeoutError as e:
            await self._socket.close()
            raise TransportError(f"the model did not confirm the session within {CONFIRM_S_MAX:g} s") from e

    def send(self, event: ClientEvent) -> None:
        if self._closed or self._socket is None:
            self._report_problem("an event was sent to a transport that is not connected")
            return
        self._socket.send(encode(event))

    def send_audio(self, audio: bytes) -> None:
        if self._socket is not None and not self._closed and audio:
            self._socket.send(append_frame(pybase64.b64encode(bytes(len(audio)) if self._muted else audio)))

    def interrupt(self) -> None:
        """Cancels the response in progress. What was played is the program's to truncate."""
        self.send(client.ResponseCancel())

    def set_muted(self, muted: bool) -> None:
        self._muted = muted

    async def close(self, reason: str = "closed by the program") -> None:
        if self._closed:
            return
        self._closed = True
        if self._socket is not None:
            await self._socket.close()
        if self._listener is not None:
            self._listener(TransportClosed(reason=reason))

    def _on_frame(self, frame: bytes) -> None:
        assert self._listener is not None
        try:
            event = decode_server_event(frame)
        except ProtocolError as e:
            self._listener(TransportProblem(message=f"the model sent a malformed event: {e}", where=e.where))
            return
        if self._confirmed is not None and not self._confirmed.done():
            if isinstance(event, server.SessionUpdated):
                self._confirmed.set_result(None)
            elif isinstance(event, server.ErrorEvent):
                self._confirmed.set_exception(
                    TransportError(
                        f"the model refused the session: {event.error.message}",
                        code=event.error.code,
                        retryable=False,
                    )
                )
        self._listener(event)

    def _on_lost(self, lost: ModelLost) -> None:
        if self._confirmed is not None and not self._confirmed.done():
            self._confirmed.set_exception(TransportError(lost.message, code=lost.code, retryable=lost.retryable))
        elif self._listener is not None and not self._closed:
            self._listener(lost)

    def _report_problem(self, message: str) -> None:
        if self._listener is not None:
            self._listener(TransportProblem(message=message))
