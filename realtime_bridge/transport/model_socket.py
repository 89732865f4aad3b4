"""One WebSocket to a realtime model: frames in by callback, frames out without waiting.

picows carries it, since the audio of a call is a hundred small frames a second (see the benchmarks in `tests/bench`).
What a peer may do to us is bounded here: the size of a message, what piles up unsent, how long it may stay silent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, cast

import msgspec
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
from picows.picows import WSCloseHandshake
from picows.url import WSParsedURL

from realtime_bridge.errors import TransportError
from realtime_bridge.transport.base import ModelLost
from realtime_bridge.transport.endpoint import Endpoint

log = logging.getLogger(__name__)

REASON_CHARS_MAX = 200  # of an error's text that comes from the peer

# Statuses that another attempt will not change; redirects, because the key goes to no other address.
_REFUSED_FOR_GOOD = {301, 302, 303, 307, 308, 400, 401, 403, 404, 410}
# Codes in the body of an HTTP error, and of error events (https://platform.openai.com/docs/guides/error-codes).
_NO_MORE = {"insufficient_quota", "invalid_api_key", "account_deactivated", "billing_hard_limit_reached"}
# RFC 6455, section 7.4.1: 1008 is a violated policy. IANA's registry of close codes: 3000 unauthorized, 3003 forbidden;
# OpenAI closes with "3000 invalid_request_error.invalid_api_key".
_CLOSED_FOR_GOOD = {1008, 3000, 3003}
_NO_CODE = 1005  # RFC 6455, section 7.1.5


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """What a model may take of us."""

    open_s_max: float = 10.0  # to answer the upgrade
    message_bytes_max: int = (
        16 * 1024 * 1024
    )  # an audio delta is some 10 kB; a retrieved item may hold minutes of audio
    unsent_bytes_max: int = 4 * 1024 * 1024  # a minute of caller audio: the model's end has stopped reading
    silence_s_max: float = 20.0  # without any frame, then a ping, which has as long again to be answered
    close_s_max: float = 2.0  # to answer our goodbye


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
    """An open socket, a `ModelConnection`. Its listeners are called as `OpenModel` says."""

    def __init__(
        self, on_frame: Callable[[bytes], None], on_lost: Callable[[ModelLost], None], limits: SocketLimits
    ) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._dialled: socket.socket | None = None  # until the model has answered the upgrade
        self._transport: WSTransport | None = None
        self._parts: bytearray | None = None  # of a message in fragments
        self._parts_are_text = False
        self._sent_binary = False
        self._over = False  # nothing is sent or received any more
        self._telling: asyncio.Handle | None = None  # `on_lost`, about to be called

    @classmethod
    async def open(
        cls,
        endpoint: Endpoint,
        *,
        on_frame: Callable[[bytes], None],
        on_lost: Callable[[ModelLost], None],
        limits: SocketLimits | None = None,
    ) -> ModelSocket:
        """Connect and upgrade. Raises TransportError; its message never holds the key."""
        socket = cls(on_frame, on_lost, limits or SocketLimits())
        try:
            await socket._connect(endpoint)
        except BaseException:
            socket._abandon()
            raise
        return socket

    def listen(self, on_frame: Callable[[bytes], None], on_lost: Callable[[ModelLost], None]) -> None:
        """Somebody else listens from now on."""
        self._on_frame = on_frame
        self._on_lost = on_lost

    def send(self, frame: bytes) -> None:
        """Send one text message; dropped when the socket is gone."""
        # Of a client's frame picows sends a masked copy, so frames of any size are safe, unlike a server's: see
        # telephony/stream.py.
        if not self._over and self._transport is not None:
            self._transport.send(WSMsgType.TEXT, frame)

    async def close(self) -> None:
        """Say goodbye and close; idempotent, at most a few seconds."""
        self._over = True
        if self._telling is not None:
            self._telling.cancel()
        await self._say_goodbye()

    # ---- opening -------------------------------------------------------------------------------------------------------

    async def _connect(self, endpoint: Endpoint) -> None:
        limits = self._limits
        try:
            async with asyncio.timeout(limits.open_s_max):
                await ws_connect(
                    lambda: self,
                    endpoint.url,
                    extra_headers=endpoint.headers,
                    websocket_handshake_timeout=limits.open_s_max,
                    max_frame_size=limits.message_bytes_max,
                    max_redirects=0,
                    enable_auto_ping=True,
                    auto_ping_idle_timeout=limits.silence_s_max,
                    auto_ping_reply_timeout=limits.silence_s_max,
                    auto_ping_strategy=WSAutoPingStrategy.PING_WHEN_IDLE,
                    logger_name=_PicowsLog(log, {}),
                    socket_factory=self._dial,
                )
            if self._transport is None:
                raise TransportError("the model hung up instead of answering the upgrade")
        except WSHandshakeError as e:
            raise _refused_upgrade(e) from e
        except TimeoutError as e:
            raise TransportError(f"the model did not answer within {limits.open_s_max:g} s") from e
        except ssl.SSLCertVerificationError as e:
            raise TransportError(f"the model's certificate is not trusted: {e}", retryable=False) from e
        except OSError as e:
            raise TransportError(f"the model cannot be reached: {e}") from e
        except (WSError, ValueError) as e:  # of the URL
            raise TransportError(f"the model cannot be reached: {_short(e)}", retryable=False) from e

    async def _dial(self, url: WSParsedURL) -> socket.socket:
        """One address after the other, as `loop.create_connection` does; but here the socket is known to `_abandon`."""
        error = OSError(f"{url.host} has no address")
        for family, kind, protocol, _, address in await self._loop.getaddrinfo(
            url.host, url.port, type=socket.SOCK_STREAM
        ):
            dialled = socket.socket(family, kind, protocol)
            dialled.setblocking(False)
            try:
                await self._loop.sock_connect(dialled, address)
            except OSError as e:
                dialled.close()
                error = e
            except BaseException:
                dialled.close()
                raise
            else:
                self._dialled = dialled
                return dialled
        raise error

    def _abandon(self) -> None:
        """Nobody waits for this socket any more. If it opens all the same, it is closed at once."""
        self._over = True
        if self._transport is not None:
            self._transport.disconnect(graceful=False)
        elif self._dialled is not None:
            # picows would wait for the model's answer to the upgrade: this is the end of the stream instead.
            with contextlib.suppress(OSError):  # it is closed already
                self._dialled.shutdown(socket.SHUT_RDWR)
        self._dialled = None

    # ---- picows calls these --------------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._dialled = None
        if self._over:
            transport.disconnect(graceful=False)
        else:
            transport.underlying_transport.set_write_buffer_limits(high=self._limits.unsent_bytes_max)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if self._over or transport.is_close_frame_sent:  # picows has sent one if the model broke the protocol
            if kind is WSMsgType.CLOSE:
                transport.disconnect()
        elif kind is WSMsgType.TEXT and frame.fin and self._parts is None:
            self._on_frame(frame.get_payload_as_bytes())
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self._collect(frame)
        elif kind is WSMsgType.CLOSE:
            self._closed_by_model(frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._end(ModelLost(message=self._why_it_ended(transport)))
        _in_background(_look_at_the_end(transport))

    def pause_writing(self) -> None:
        """More than `unsent_bytes_max` waits for the network."""
        self._end(ModelLost(message="the model has stopped reading"))
        self._abandon()

    def resume_writing(self) -> None:
        pass

    # ---- inside --------------------------------------------------------------------------------------------------------

    def _collect(self, frame: WSFrame) -> None:
        """A message in fragments (RFC 6455, section 5.4), or one that is not text."""
        begins = frame.msg_type is not WSMsgType.CONTINUATION
        if begins != (self._parts is None):
            self._break_off("the model sent fragments out of order", WSCloseCode.PROTOCOL_ERROR)
            return
        if self._parts is None:
            self._parts, self._parts_are_text = bytearray(), frame.msg_type is WSMsgType.TEXT
        self._parts += frame.get_payload_as_memoryview()
        if len(self._parts) > self._limits.message_bytes_max:
            message = f"the model sent a message of more than {self._limits.message_bytes_max} bytes"
            self._break_off(message, WSCloseCode.MESSAGE_TOO_BIG)
        elif frame.fin:
            message_bytes, self._parts = bytes(self._parts), None
            if self._parts_are_text:
                self._on_frame(message_bytes)
            elif not self._sent_binary:
                self._sent_binary = True
                log.warning("the model sends binary messages, one of %d bytes; ignored", len(message_bytes))

    def _break_off(self, message: str, code: WSCloseCode) -> None:
        assert self._transport is not None
        self._transport.send_close(code)
        self._end(ModelLost(message=message))
        self._abandon()

    def _closed_by_model(self, frame: WSFrame) -> None:
        code = cast(
            "int", frame.get_close_code()
        )  # a WSCloseCode, or a number that has no name there; 0: none was sent
        reason = (frame.get_close_message() or b"").decode("utf-8", "replace")
        self._end(closed_by_model(int(code) or _NO_CODE, reason))
        _in_background(self._say_goodbye())

    async def _say_goodbye(self) -> None:
        """Send a close frame, or answer one, and wait for the server to end the connection (RFC 6455, section 7.1.1)."""
        transport = self._transport
        if transport is None or transport.is_disconnected:
            return
        transport.send_close(WSCloseCode.OK)
        try:
            async with asyncio.timeout(self._limits.close_s_max):
                await transport.wait_disconnected()
        except TimeoutError:
            transport.disconnect(graceful=False)
        except Exception as e:  # noqa: BLE001 - whatever picows noted when the socket broke
            log.debug("the model's socket ended with an error while closing: %s", e)

    def _why_it_ended(self, transport: WSTransport) -> str:
        handshake = cast("WSCloseHandshake | None", transport.close_handshake)
        ours = None if handshake is None else handshake.sent
        if ours is None:
            return "the model's socket broke"
        if ours.code == WSCloseCode.GOING_AWAY:  # picows's word for a ping that was not answered
            return f"the model has not answered for {2 * self._limits.silence_s_max:g} s"
        if ours.code == WSCloseCode.INTERNAL_ERROR:
            return "what listens to the model's socket has failed; the log says how"
        return f"the model broke the WebSocket protocol: {ours.reason or ours.code}"

    def _end(self, lost: ModelLost) -> None:
        """The connection is gone, or of no use any more: tell so, outside of whatever is going on now."""
        if not self._over:
            self._over = True
            self._telling = self._loop.call_soon(self._tell, lost)

    def _tell(self, lost: ModelLost) -> None:
        self._on_lost(lost)


def closed_by_model(code: int, reason: str) -> ModelLost:
    """What a close frame from the model means."""
    message = f"the model closed the socket: {code} {reason}".rstrip()
    return ModelLost(message=message, code=code, retryable=code not in _CLOSED_FOR_GOOD)


def close_soon(socket: ModelConnection) -> asyncio.Task[None]:
    """Close a connection in the background: the goodbye takes a network round trip that nobody needs to wait for.

    Nothing comes from it any more.
    """
    socket.listen(_nobody, _nobody)
    return _in_background(socket.close())


def _nobody(_: object) -> None:
    pass


class _PicowsLog(logging.LoggerAdapter[logging.Logger]):
    """Without what picows logs below DEBUG: it holds the upgrade request, key and all."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the library's name
        return level >= logging.DEBUG and super().isEnabledFor(level)


class _ErrorCode(msgspec.Struct):
    code: str


class _ErrorBody(msgspec.Struct):
    """`{"error": {"code": …, "message": …}}`; the message is left out, since it may name a part of the key."""

    error: _ErrorCode


def _refused_upgrade(e: WSHandshakeError) -> TransportError:
    status = None if e.response is None else int(e.response.status)
    if status in (None, 101):
        return TransportError(f"the model cannot be reached, its answer is no upgrade to WebSocket: {_short(e)}")
    try:
        name = msgspec.json.decode(e.raw_body or b"", type=_ErrorBody).error.code[:REASON_CHARS_MAX]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        name = ""
    return TransportError(
        f"the model refused the connection: HTTP {status} {name}".rstrip(),
        code=status,
        retryable=status not in _REFUSED_FOR_GOOD and name not in _NO_MORE,
    )


def _short(e: Exception) -> str:
    return str(e)[:REASON_CHARS_MAX]


async def _look_at_the_end(transport: WSTransport) -> None:
    """picows keeps what went wrong for whoever asks, and asyncio complains about errors that nobody asked for."""
    with contextlib.suppress(Exception):
        await transport.wait_disconnected()


_background: set[asyncio.Task[None]] = set()  # asyncio keeps only weak references to tasks


def _in_background(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.get_running_loop().create_task(work)
    _background.add(task)
    task.add_done_callback(_background.discard)
    return task
