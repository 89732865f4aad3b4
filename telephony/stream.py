"""The media socket: from a WebSocket's frames to one call, and back.

One `PhoneSocket` per connection reads frames, has the codec judge them, and tells a `PhoneCall` what the phone said; the
call answers through the `PhoneLine`. A `MediaEndpoint` per server decides who may connect and who may start. The socket
itself is picows', taken over from the HTTP server by `telephony.handoff`; no task, queue or copy lies between a frame's
arrival and the call.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, cast

from picows import (
    WSCloseCode,
    WSFrame,
    WSListener,
    WSMsgType,
    WSTransport,
    WSUpgradeRequest,
    WSUpgradeResponse,
    WSUpgradeResponseWithListener,
)
from picows.picows import WSCloseHandshake
from websockets.frames import CloseCode

from realtime_bridge.errors import ProtocolError
from telephony import metrics
from telephony.limits import MessageRate, ProblemGate
from telephony.logs import call_context, call_logger
from telephony.tokens import CallTokens, TokenVerdict
from telephony.twilio.media_stream import FRAME_BYTES_MAX, MediaStreamReader
from telephony.twilio.messages import (
    BinaryFrameError,
    Connected,
    Dtmf,
    Mark,
    Media,
    MediaFormatError,
    MediaStreamError,
    PhoneMessage,
    Start,
    Stop,
)
from telephony.twilio.signature import SIGNATURE_HEADER, SignatureCheck

log = logging.getLogger(__name__)

CallMessage: TypeAlias = Media | Dtmf | Mark | Stop

_SID: Final = re.compile(
    r"\w{1,64}", re.ASCII
)  # fit for logs and file names; Twilio's are two letters and 32 hex digits
CLOSE_REASON_BYTES_MAX: Final = 123  # RFC 6455, section 5.5: a control frame holds 125 bytes, and the code takes two
RATE_CHECK_FRAMES: Final = 256  # the clock is read once per so many frames
# picows 2.3 copies a server's frame up to this size into one write. Of a longer one it queues the header by reference and
# overwrites it with the next frame's, so a stream to a slow phone breaks; and asyncio then misses the high-water mark.
COPIED_BYTES_MAX: Final = 8 * 1024
_TEXT: Final = WSMsgType.TEXT  # a global: the frame path asks for it with each frame
EARLY_MESSAGES_MAX: Final = 500  # ten seconds of audio, while it is asked whether the call may begin
HEADER_BYTES: Final = 14  # what picows wants in front of a buffer of ours


class PhoneLine(Protocol):
    """What a call may do with its phone's socket. Nothing here raises once the socket is closed; it does nothing."""

    def send(self, frame: bytes) -> None:
        """Send one text frame, without waiting."""
        ...

    def close(self, code: int, reason: str) -> None:
        """End the connection in order, within a few seconds. No message reaches the call after this."""
        ...

    @property
    def unsent_bytes(self) -> int:
        """What waits in this machine because the network does not take it; 0 after the end."""
        ...


class PhoneCall(Protocol):
    """What the socket tells a call, synchronously, from the socket's own callback: return at once, never raise."""

    def on_message(self, message: CallMessage, frame: bytes) -> None:
        """`frame` is the message as it came, for the record. After `Stop`, close the line."""
        ...

    def on_problem(self, problem: ProtocolError) -> None:
        """The phone broke the protocol, and it was survived. Repeated problems of one kind are reported less often."""
        ...

    def on_disconnect(self, reason: str) -> None:
        """The connection is gone, whoever ended it. Called exactly once, last."""
        ...


AnswerCall: TypeAlias = Callable[[Start, PhoneLine], PhoneCall]
Clock: TypeAlias = Callable[[], float]
# For a server of several workers: judges a token that any of them may have issued, given what this one knows of it.
RedeemShared: TypeAlias = Callable[[str, str, TokenVerdict], Awaitable[TokenVerdict]]


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What one phone, and all of them together, may take."""

    start_seconds_max: float = 10.0  # from the upgrade to `start`
    waiting_sockets_max: int = 1000  # open sockets that have not sent `start`; one more takes the oldest one's place
    frame_bytes_max: int = 4 * FRAME_BYTES_MAX  # closes the socket; the codec names and survives FRAME_BYTES_MAX
    call_seconds_max: float | None = None  # from `start`; the last resort, without a word to the caller
    messages_per_second: float = 200.0  # Twilio sends 50
    messages_burst: int = 4096  # what may pile up behind a stalled network
    unsent_bytes_max: int = 8 * 1024 * 1024  # about eight minutes of audio that the phone's network does not take
    idle_seconds: float = 15.0  # without any data before a ping is sent
    pong_seconds: float = 10.0
    close_seconds_max: float = 2.0  # for the other side to answer our close


class MediaEndpoint:
    """All media sockets of one server, and the door they come through.

    `signature` None accepts unsigned upgrades; only a server on loopback may do that. The token is asked for always.
    """

    def __init__(
        self,
        *,
        answer: AnswerCall,
        tokens: CallTokens,
        signature: SignatureCheck | None,
        calls_max: int,
        redeem_shared: RedeemShared | None = None,
        limits: StreamLimits | None = None,
        clock: Clock = time.monotonic,
    ) -> None:
        self.limits = limits or StreamLimits()
        self.calls_max = calls_max
        self.tokens = tokens
        self.clock = clock
        self.draining = False  # no new call is answered; one whose webhook was answered a moment ago still is
        self._closing = False
        self._answer = answer
        self._redeem_shared = redeem_shared
        self._admissions: set[asyncio.Task[None]] = set()
        self._signature = signature
        self._waiting: dict[PhoneSocket, None] = {}  # oldest first
        self._refusals = ProblemGate()
        self._calls: set[PhoneSocket] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def calls(self) -> int:
        """Calls whose media flows."""
        return len(self._calls)

    @property
    def calls_to_end(self) -> int:
        """Calls whose media flows, or is still to come since their webhook was answered."""
        return len(self._calls) + len(self._waiting) + self.tokens.expected(self.clock())

    @property
    def has_room(self) -> bool:
        """Whether one more call may be answered, counting those whose socket is still to come."""
        return not self.draining and len(self._calls) + self.tokens.expected(self.clock()) < self.calls_max

    def upgrade(self, request: WSUpgradeRequest) -> WSListener | WSUpgradeResponseWithListener:
        """Judge an upgrade request: a new socket, or the HTTP answer that refuses it."""
        if self._signature is not None:
            target = request.path.decode("latin-1")
            if not self._signature.upgrade(target, request.headers.get(SIGNATURE_HEADER)):
                log.warning("media socket refused: not signed by Twilio for this server's PUBLIC_URL")
                metrics.MEDIA_REFUSED.labels("unsigned").inc()
                return _refuse(403, b"The request is not signed by Twilio.\n")
        if self._closing or not self._make_room():
            log.warning("media socket refused: %s", "closing" if self._closing else "too many wait to be judged")
            metrics.MEDIA_REFUSED.labels("closing" if self._closing else "too_many_waiting").inc()
            return _refuse(503, b"No room for another media stream.\n")
        return PhoneSocket(self)

    def _make_room(self) -> bool:
        """For one more socket. Twilio sends `start` at once, so of too many that are silent, who has been so for longest is
        no caller; refusing newcomers would let silent ones keep callers out."""
        if len(self._waiting) < self.limits.waiting_sockets_max:
            return True
        silent = next((socket for socket in self._waiting if not socket.has_started), None)
        if silent is None:
            return False
        passed, held_back = self._refusals.let_pass("silent", self.clock())
        if passed:
            more = f" (and {held_back} before it)" if held_back else ""
            log.warning("media socket dropped: too many have not sent `start`, and it is the oldest%s", more)
        metrics.MEDIA_REFUSED.labels("too_many_silent").inc()
        self._waiting.pop(silent)
        silent.drop()
        return True

    def opened(self, socket: PhoneSocket) -> None:
        self._waiting[socket] = None
        metrics.MEDIA_WAITING.set(len(self._waiting))
        self._idle.clear()

    def closed(self, socket: PhoneSocket) -> None:
        self._waiting.pop(socket, None)
        self._calls.discard(socket)
        metrics.MEDIA_WAITING.set(len(self._waiting))
        if not self._waiting and not self._calls:
            self._idle.set()

    def admit(self, socket: PhoneSocket, start: Start) -> None:
        """Judge a `start`: the socket's call begins, at once or soon, or the socket is closed."""
        if not (_SID.fullmatch(start.call_sid) and _SID.fullmatch(start.stream_sid)):
            log.warning("media socket refused: a malformed SID")
            metrics.MEDIA_REFUSED.labels("malformed_sid").inc()
            socket.close(CloseCode.POLICY_VIOLATION, "a malformed SID")
            return
        token = start.custom_parameters.get("token")
        verdict = self.tokens.redeem(token, start.call_sid, self.clock())
        if self._redeem_shared is None or not token:
            self._judged(socket, start, verdict)
            return
        asking = asyncio.get_running_loop().create_task(self._ask(socket, start, token, verdict))
        self._admissions.add(asking)
        asking.add_done_callback(self._admissions.discard)

    async def _ask(self, socket: PhoneSocket, start: Start, token: str, verdict: TokenVerdict) -> None:
        assert self._redeem_shared is not None
        try:
            verdict = await self._redeem_shared(token, start.call_sid, verdict)
            if not socket.is_closing:
                self._judged(socket, start, verdict)
        except Exception:
            log.exception("call %s could not be admitted", start.call_sid)
            socket.close(CloseCode.INTERNAL_ERROR, "internal error")

    def _judged(self, socket: PhoneSocket, start: Start, verdict: TokenVerdict) -> None:
        if verdict is not TokenVerdict.VALID:
            log.warning("call %s refused: %s", start.call_sid, verdict.value)
            metrics.MEDIA_REFUSED.labels(f"token_{verdict.name.lower()}").inc()
            socket.close(CloseCode.POLICY_VIOLATION, verdict.value)
            return
        if self._closing or len(self._calls) >= self.calls_max:
            log.warning("call %s refused: %s", start.call_sid, "closing" if self._closing else "MAX_CALLS reached")
            metrics.MEDIA_REFUSED.labels("closing" if self._closing else "max_calls").inc()
            socket.close(CloseCode.TRY_AGAIN_LATER, "no room for another call")
            return
        self._waiting.pop(socket, None)
        self._calls.add(socket)
        metrics.MEDIA_WAITING.set(len(self._waiting))
        socket.begin(call_context(start.call_sid).run(self._answer, start, socket))

    async def close(self) -> None:
        """Refuse new sockets, close those that are open (1001), and wait for their end, within `close_seconds_max`."""
        self.draining = self._closing = True
        for socket in (*self._waiting, *self._calls):
            socket.close(CloseCode.GOING_AWAY, "the server stops")
        try:
            async with asyncio.timeout(self.limits.close_seconds_max + 1):  # every socket has its own timer before
                await self._idle.wait()
        except TimeoutError:
            log.error("%d media sockets did not close", len(self._waiting) + len(self._calls))  # noqa: TRY400 - no trace


class PhoneSocket(WSListener):
    """One connection: a `PhoneLine` for its call. Made by `MediaEndpoint.upgrade`, driven by picows."""

    def __init__(self, endpoint: MediaEndpoint) -> None:
        self._endpoint = endpoint
        self._limits = endpoint.limits
        self._reader = MediaStreamReader()
        self._rate = MessageRate(
            per_second=self._limits.messages_per_second, burst=self._limits.messages_burst, now=endpoint.clock()
        )
        self._problems = ProblemGate()
        self._frames = 0
        self._partial: bytearray | None = None
        self._call: PhoneCall | None = None
        self._early: list[tuple[PhoneMessage, bytes]] = []  # what comes between `start` and the call's beginning
        self._receive: Callable[[PhoneMessage, bytes], None] = self._before_start
        self._transport: WSTransport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._log: logging.Logger | logging.LoggerAdapter[logging.Logger] = log  # knows the call, when there is one

    # --- PhoneLine

    def send(self, frame: bytes) -> None:
        if self._transport is None:
            return
        if len(frame) <= COPIED_BYTES_MAX:
            self._transport.send(WSMsgType.TEXT, frame)
        else:
            buffer = bytearray(HEADER_BYTES) + frame
            self._transport.send_reuse_external_bytearray(WSMsgType.TEXT, buffer, HEADER_BYTES)

    def close(self, code: int, reason: str) -> None:
        if self._closing or self._transport is None:
            return
        self._closing = True
        text = reason.encode()[:CLOSE_REASON_BYTES_MAX].decode("utf-8", "ignore")
        self._transport.send_close(WSCloseCode(code), text)
        self._arm(self._limits.close_seconds_max, self._abort)

    @property
    def unsent_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.underlying_transport.get_write_buffer_size()

    # --- for the endpoint

    @property
    def is_closing(self) -> bool:
        return self._closing

    @property
    def has_started(self) -> bool:
        """It has sent `start`, and is being judged, or was."""
        return self._receive != self._before_start

    def drop(self) -> None:
        """Without a word: nobody listens."""
        self._closing = True
        self._abort()

    def begin(self, call: PhoneCall) -> None:
        """The call gets all messages from here on, first those that have come since `start`."""
        self._call = call
        if self._timer is not None and not self._closing:
            self._timer.cancel()
            if self._limits.call_seconds_max is not None:
                self._arm(self._limits.call_seconds_max, self._call_overdue)
        early, self._early = self._early, []
        # The reader lets no second `connected` or `start` pass, so what follows are call messages only.
        self._receive = cast("Callable[[PhoneMessage, bytes], None]", call.on_message)
        for message, frame in early:
            if not self._closing:
                self._receive(message, frame)

    # --- what picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        transport.underlying_transport.set_write_buffer_limits(high=self._limits.unsent_bytes_max)
        self._endpoint.opened(self)
        self._arm(self._limits.start_seconds_max, self._start_overdue)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is not _TEXT or not frame.fin or self._closing or self._partial is not None:
            self._rare_frame(transport, frame)
            return
        self._frames += 1
        if self._frames % RATE_CHECK_FRAMES == 0 and self._too_many():
            return
        self._judge(frame.get_payload_as_bytes())

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._closing = True
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        self._receive = self._after_end
        self._early.clear()
        call, self._call = self._call, None
        try:
            if call is not None:
                call.on_disconnect(_reason(transport))
        finally:
            self._endpoint.closed(self)

    def pause_writing(self) -> None:
        """More than `unsent_bytes_max` waits for the network: the phone takes nothing, so nobody hears us."""
        self._log.warning("media socket dropped: %d bytes wait unsent", self.unsent_bytes)
        self._closing = True
        self._abort()

    def resume_writing(self) -> None:
        pass

    # --- inside

    def _judge(self, payload: bytes) -> None:
        try:
            message = self._reader.receive(payload)
        except MediaStreamError as e:
            self._problem(e)
        else:
            self._receive(message, payload)

    def _before_start(self, message: PhoneMessage, _frame: bytes) -> None:
        if isinstance(message, Connected):
            return
        assert isinstance(message, Start), "the reader lets nothing else pass before `start`"
        self._receive = self._before_call
        try:
            self._endpoint.admit(self, message)
        except BaseException:
            self._receive = self._after_end  # picows closes the socket
            raise
        if not self._closing:
            self._log = call_logger(log, message.call_sid)

    def _before_call(self, message: PhoneMessage, frame: bytes) -> None:
        if len(self._early) < EARLY_MESSAGES_MAX:
            self._early.append((message, frame))

    def _after_end(self, message: PhoneMessage, frame: bytes) -> None:
        pass

    def _problem(self, error: MediaStreamError) -> None:
        if isinstance(error, MediaFormatError):
            self._log.warning("media socket refused: %s", error)
            metrics.MEDIA_REFUSED.labels("format").inc()
            self.close(CloseCode.UNSUPPORTED_DATA, "only 8 kHz mono mu-law")
            return
        passed, held_back = self._problems.let_pass(f"{type(error).__name__} {error.where}", self._endpoint.clock())
        if not passed:
            return
        self._log.warning("media stream: %s%s", error, f" ({held_back} like it were not reported)" if held_back else "")
        if self._call is not None:
            self._call.on_problem(error)

    def _rare_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            if not self._closing:
                self._closing = True
                transport.send_close(WSCloseCode.OK)
                self._arm(self._limits.close_seconds_max, self._abort)
            transport.disconnect()
            return
        self._frames += 1
        if self._closing or (self._frames % RATE_CHECK_FRAMES == 0 and self._too_many()):
            return
        if kind in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self._fragment(frame)
        elif kind == WSMsgType.BINARY:
            self._problem(BinaryFrameError(f"a binary frame of {frame.payload_size} bytes"))

    def _fragment(self, frame: WSFrame) -> None:
        """A message in pieces (a proxy's doing): put together within the frame limit, thrown away beyond it."""
        if (frame.msg_type == WSMsgType.TEXT) != (self._partial is None):
            self.close(CloseCode.PROTOCOL_ERROR, "fragments out of order")
            return
        if self._partial is None:
            self._partial = bytearray()
        if len(self._partial) <= FRAME_BYTES_MAX:
            self._partial += frame.get_payload_as_bytes()
        if not frame.fin:
            return
        whole, self._partial = bytes(self._partial), None
        self._judge(whole)

    def _too_many(self) -> bool:
        if not self._rate.exceeded(RATE_CHECK_FRAMES, self._endpoint.clock()):
            return False
        self.close(CloseCode.POLICY_VIOLATION, "too many messages")
        return True

    def _start_overdue(self) -> None:
        log.warning("media socket closed: no `start` within %g s", self._limits.start_seconds_max)
        metrics.MEDIA_REFUSED.labels("no_start").inc()
        self.close(CloseCode.POLICY_VIOLATION, "no start message in time")

    def _call_overdue(self) -> None:
        self._log.warning("media socket closed: the call has lasted %g s", self._limits.call_seconds_max)
        self.close(CloseCode.NORMAL_CLOSURE, "the call has lasted as long as it may")

    def _arm(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def _abort(self) -> None:
        if self._transport is not None:
            self._transport.disconnect(graceful=False)


def _refuse(status: int, body: bytes) -> WSUpgradeResponseWithListener:
    return WSUpgradeResponseWithListener(WSUpgradeResponse.create_error_response(status, body), None)


def _reason(transport: WSTransport) -> str:
    """Who ended the connection, with which code, in words for a log."""
    handshake = cast("WSCloseHandshake | None", transport.close_handshake)
    if handshake is None:
        return "the connection was lost"
    by_phone = handshake.recv_then_sent
    info = handshake.recv if by_phone else handshake.sent
    if info is None:
        return "the connection was lost"
    who = "the phone" if by_phone else "this server"
    return f"closed by {who}: {info.code.value} {info.reason}".rstrip()
