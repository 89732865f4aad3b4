"""One WebSocket to a realtime model: frames in by callback, frames out without waiting.

picows carries it, since the audio of a call is a hundred small frames a second (see the benchmarks in `tests/bench`).
What a peer may do to us is bounded here: the size of a message, what piles up unsent, how long it may stay silent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from picows import (
    WSAutoPingStrategy,
    WSCloseCode,
    WSError,
    WSFrame,
    WSHandshakeError,
    WSListener,
    WSMsgType,
    WSTransport,
    ws_connect,
)

from realtime_bridge.errors import TransportError
from realtime_bridge.transport.base import ModelLost
from realtime_bridge.transport.endpoint import Endpoint

log = logging.getLogger(__name__)

MESSAGE_BYTES_MAX = 16 * 1024 * 1024  # an audio delta is some 10 kB; a retrieved item may hold minutes of audio
UNSENT_BYTES_MAX = 4 * 1024 * 1024  # a minute of caller audio: the model's end has stopped reading
SILENCE_S_MAX = 20.0  # without any frame, then a ping, which has as long again to be answered
CLOSE_S_MAX = 2.0

_REFUSED_FOR_GOOD = {400, 401, 403, 404, 410}


class ModelConnection(Protocol):
    """An open connection to a model: a `ModelSocket`, or what stands in for one."""

    def listen(self, on_frame: Callable[[bytes], None], on_lost: Callable[[ModelLost], None]) -> None:
        """Somebody else listens from now on."""
        ...

    def send(self, frame: bytes) -> None:
        """Send one text message, without waiting; dropped when the connection is gone."""
        ...

    async def close(self) -> None:
        """Say goodbye and close; idempotent, at most a few seconds. No callback comes after this."""
        ...


class OpenModel(Protocol):
    """Opens a connection to the model. Raises TransportError.

    `on_frame` gets each text message whole; `on_lost` is called once, when the connection is gone without `close()`.
    Both are called on the event loop, never from within `send`, and must return at once.
    """

    def __call__(
        self, *, on_frame: Callable[[bytes], None], on_lost: Callable[[ModelLost], None]
    ) -> Awaitable[ModelConnection]: ...


class ModelSocket(WSListener):
    """An open socket, a `ModelConnection`. Its listeners are called as `OpenModel` says, from the socket's own callback."""

    def __init__(self, on_frame: Callable[[bytes], None], on_lost: Callable[[ModelLost], None]) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._transport: WSTransport | None = None
        self._parts = bytearray()
        self._over = False

    @classmethod
    async def open(
        cls,
        endpoint: Endpoint,
        *,
        on_frame: Callable[[bytes], None],
        on_lost: Callable[[ModelLost], None],
        timeout_s: float = 10.0,
    ) -> ModelSocket:
        """Connect and upgrade. Raises TransportError; its message never holds the key."""
        try:
            async with asyncio.timeout(timeout_s):
                _, listener = await ws_connect(
                    lambda: cls(on_frame, on_lost),
                    endpoint.url,
                    extra_headers=endpoint.headers,
                    websocket_handshake_timeout=timeout_s,
                    max_frame_size=MESSAGE_BYTES_MAX,
                    enable_auto_ping=True,
                    auto_ping_idle_timeout=SILENCE_S_MAX,
                    auto_ping_reply_timeout=SILENCE_S_MAX,
                    auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
                    logger_name=__name__,
                )
        except WSHandshakeError as e:
            status = e.response.status if e.response is not None else None
            code = int(status) if status is not None else None
            raise TransportError(
                f"the model refused the connection: HTTP {code}",
                code=code,
                retryable=code not in _REFUSED_FOR_GOOD,
            ) from e
        except TimeoutError as e:
            raise TransportError(f"the model did not answer within {timeout_s:g} s") from e
        except (OSError, WSError) as e:
            raise TransportError(f"the model cannot be reached: {e}") from e
        assert isinstance(listener, cls)
        return listener

    def listen(self, on_frame: Callable[[bytes], None], on_lost: Callable[[ModelLost], None]) -> None:
        """Somebody else listens from now on."""
        self._on_frame = on_frame
        self._on_lost = on_lost

    def send(self, frame: bytes) -> None:
        """Send one text message; dropped when the socket is gone."""
        if self._over or self._transport is None:
            return
        self._transport.send(WSMsgType.TEXT, frame)
        if self._transport.underlying_transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
            lost = ModelLost(message="the model has stopped reading")
            asyncio.get_running_loop().call_soon(self._lost, lost)
            self._transport.disconnect(graceful=False)

    async def close(self) -> None:
        """Say goodbye and close; idempotent, at most a few seconds."""
        transport = self._transport
        self._over = True
        if transport is None or transport.is_disconnected:
            return
        transport.send_close(WSCloseCode.OK)
        try:
            async with asyncio.timeout(CLOSE_S_MAX):
                await transport.wait_disconnected()
        except TimeoutError:
            transport.disconnect(graceful=False)
        except WSError as e:
            log.debug("the model's socket ended with an error while closing: %s", e)

    # ---- picows calls these --------------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self._over:
            return
        kind = frame.msg_type
        if kind is WSMsgType.TEXT and frame.fin:
            self._on_frame(frame.get_payload_as_bytes())
        elif kind in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self._collect(transport, frame)
        elif kind is WSMsgType.CLOSE:
            self._closed_by_model(transport, frame)
        elif kind is WSMsgType.BINARY:
            log.warning("the model sent a binary message of %d bytes; ignored", frame.payload_size)

    def on_ws_disconnected(self, transport: WSTransport) -> None:  # noqa: ARG002 - picows' signature
        self._lost(ModelLost(message="the model's socket broke"))

    def _collect(self, transport: WSTransport, frame: WSFrame) -> None:
        self._parts += frame.get_payload_as_memoryview()
        if len(self._parts) > MESSAGE_BYTES_MAX:
            self._lost(ModelLost(message=f"the model sent a message of more than {MESSAGE_BYTES_MAX} bytes"))
            transport.disconnect(graceful=False)
        elif frame.fin:
            message, self._parts = bytes(self._parts), bytearray()
            self._on_frame(message)

    def _closed_by_model(self, transport: WSTransport, frame: WSFrame) -> None:
        code = frame.get_close_code()
        number = code.value if isinstance(code, WSCloseCode) else int(code)  # type: ignore[redundant-expr]  # or an int
        reason = (frame.get_close_message() or b"").decode("utf-8", "replace")
        self._lost(closed_by_model(number, reason))
        transport.disconnect()

    def _lost(self, lost: ModelLost) -> None:
        if self._over:
            return
        self._over = True
        self._on_lost(lost)


def closed_by_model(code: int, reason: str) -> ModelLost:
    """What a close frame from the model means."""
    message = f"the model closed the socket: {code} {reason}".rstrip()
    # 1008: policy violation, the way a server says that the key or the request is not acceptable.
    return ModelLost(message=message, code=code, retryable=code != WSCloseCode.POLICY_VIOLATION.value)


_closing: set[asyncio.Task[None]] = set()  # asyncio keeps only weak references to tasks


def close_soon(socket: ModelConnection) -> None:
    """Close a connection in the background: the goodbye takes a network round trip that nobody needs to wait for."""
    closing = asyncio.get_running_loop().create_task(socket.close())
    _closing.add(closing)
    closing.add_done_callback(_closing.discard)
