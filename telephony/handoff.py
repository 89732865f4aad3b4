"""How the media socket leaves the HTTP server: uvicorn parses the upgrade request, picows takes the connection.

uvicorn gives an upgraded connection to its `ws` protocol class before the application sees it. The one here keeps the
media path for picows, which costs half of the CPU per call, and lets uvicorn's own class serve every other path; so both
live on one port. Twilio cannot send before the upgrade is answered (RFC 6455, section 4.1), so no data is in between.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Any, Final, cast

from picows.picows import (  # type: ignore[attr-defined]  # not in picows' stubs: one minor version, guarded by a test
    WSAutoPingStrategy,
    WSProtocol,
)
from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from telephony.stream import MediaEndpoint

MEDIA_PATH: Final = "/twilio/media"
REQUEST_BYTES_MAX: Final = 8 * 1024  # of the upgrade request's head
READ_BUFFER_BYTES: Final = 16 * 1024
HANDSHAKE_SECONDS_MAX: Final = 5.0

# picows reports every connection at level INFO; what matters of it is said by `telephony.stream`.
_socket_log = logging.getLogger("telephony.stream.picows")
_socket_log.setLevel(logging.WARNING)


def media_handoff(endpoint: MediaEndpoint) -> type[asyncio.Protocol]:
    """For uvicorn's `ws` setting, which calls it as it would call a protocol class."""
    return cast("type[asyncio.Protocol]", functools.partial(MediaHandoff, endpoint))


class MediaHandoff(asyncio.Protocol):
    """Lives for one upgrade request; then it has set another protocol on the transport."""

    def __init__(
        self, endpoint: MediaEndpoint, *, config: Config, server_state: ServerState, app_state: dict[str, Any]
    ) -> None:
        self._endpoint = endpoint
        self._make_asgi_protocol = functools.partial(
            WebSocketsSansIOProtocol, config=config, server_state=server_state, app_state=app_state
        )
        self._transport: asyncio.Transport | None = None
        self._successor: asyncio.BaseProtocol | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """uvicorn calls this once, with the whole request, and sets this object as the transport's protocol after it.

        Hence the successor follows on the loop's next turn. Data that a transport delivers before that is passed on.
        """
        assert self._transport is not None
        if self._successor is None:
            media = data.split(b" ", 2)[1].partition(b"?")[0] == MEDIA_PATH.encode()
            if media and len(data) > REQUEST_BYTES_MAX:
                self._transport.write(b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n")
                self._transport.close()
                return
            self._successor = self._phone_protocol() if media else self._make_asgi_protocol()
            self._successor.connection_made(self._transport)
            asyncio.get_running_loop().call_soon(self._transport.set_protocol, self._successor)
        _feed(self._successor, data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._successor is not None:
            self._successor.connection_lost(exc)

    def _phone_protocol(self) -> asyncio.BufferedProtocol:
        limits = self._endpoint.limits
        protocol = WSProtocol(
            host_port=None,
            ws_path=None,
            is_client_side=False,
            ws_listener_factory=self._endpoint.upgrade,
            logger=_socket_log,
            disconnect_on_exception=True,
            websocket_handshake_timeout=HANDSHAKE_SECONDS_MAX,
            enable_auto_ping=True,
            auto_ping_idle_timeout=limits.idle_seconds,
            auto_ping_reply_timeout=limits.pong_seconds,
            auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
            enable_auto_pong=True,
            max_frame_size=limits.frame_bytes_max,
            extra_headers=None,
            read_buffer_init_size=READ_BUFFER_BYTES,
        )
        return cast("asyncio.BufferedProtocol", protocol)


def _feed(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    if isinstance(protocol, asyncio.Protocol):
        protocol.data_received(data)
        return
    assert isinstance(protocol, asyncio.BufferedProtocol)
    view = memoryview(data)
    while view:
        buffer = memoryview(cast("bytearray", protocol.get_buffer(len(view))))
        part = view[: len(buffer)]
        buffer[: len(part)] = part
        protocol.buffer_updated(len(part))
        view = view[len(part) :]
