"""A media stream, Twilio's end: the WebSocket to the application, between one line and whoever talks on it.

Frames go out with the line's own 20 ms, marks come back when the audio before them has been played
(`telephony.testing.playback` knows), and faults strike here. One timer and no task per stream.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, Literal, TypeAlias, cast
from urllib.parse import urlsplit

from picows import WSCloseCode, WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from realtime_bridge.errors import TransportError
from telephony.testing.playback import BUFFER_S_MAX, MarkEcho, Playback
from telephony.testing.twilio.faults import TwilioFaults
from telephony.testing.twilio.sound import FRAME_BYTES, RATE, SILENT_FRAME
from telephony.twilio.media_stream import PhoneSideWriter, decode_command
from telephony.twilio.messages import BinaryFrameError, ClearAudio, Digit, MediaStreamError, PlayMark, PlayMedia

OPEN_S_MAX: Final = 10.0
FRAME_BYTES_MAX: Final = 16 * 1024 * 1024  # a server may send a whole reply in one frame
CLOSE_S_MAX: Final = 2.0
MISUSED: Final = 31951  # Stream - Protocol - Invalid Message
TOO_MUCH_AUDIO: Final = 31931
BINARY: Final = 31950
NO_CODE: Final = 1005  # RFC 6455, section 7.1.5

# Who ended it: the application closed the socket, it broke (or was dropped by a fault), or the call went on without it.
Ending = Literal["closed", "broken", "stopped"]
Complain: TypeAlias = Callable[[int, str], None]  # (Twilio's error code, message)


class MediaStream(WSListener):
    """One stream of one call. A `Source` for its line.

    `playback` is all that came and when it was played, `echoes` the marks as they fell due, `problems` what Twilio could
    not accept. `drop()` and `stall()` are faults to be struck by hand.
    """

    def __init__(
        self,
        url: str,
        *,
        stream_sid: str,
        call_sid: str,
        account_sid: str,
        faults: TwilioFaults,
        complain: Complain,
    ) -> None:
        self.url = url
        self.stream_sid = stream_sid
        self.playback = Playback()
        self.echoes: list[MarkEcho] = []
        self.problems: list[tuple[int, str]] = []
        self.parameters: dict[str, str] = {}
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self.ending: Ending | None = None
        self.close_code: int | None = None
        self.closed = asyncio.Event()
        self._writer = PhoneSideWriter(stream_sid=stream_sid, account_sid=account_sid, call_sid=call_sid)
        self._faults = faults
        self._complain = complain
        self._transport: WSTransport | None = None
        self._first_frame_at: float | None = None
        self._held_back: bytes | None = None  # a media frame that the next one overtakes
        self._stalled: list[bytes] | None = None  # frames that wait for the end of a stall
        self._parts = bytearray()
        self._timer: asyncio.TimerHandle | None = None

    async def open(self, signature: str, parameters: dict[str, str]) -> None:
        """Connect, upgrade and start. Raises TransportError, whose `code` is Twilio's."""
        if urlsplit(self.url).scheme not in ("ws", "wss"):
            raise TransportError("the URL of a stream begins with wss://", code=31922)
        try:
            async with asyncio.timeout(OPEN_S_MAX):
                await ws_connect(
                    lambda: self,
                    self.url,
                    extra_headers={"X-Twilio-Signature": signature, "User-Agent": "TwilioProxy/1.1"},
                    websocket_handshake_timeout=OPEN_S_MAX,
                    max_frame_size=FRAME_BYTES_MAX,
                    max_redirects=0,
                )
        except TimeoutError as e:
            raise TransportError("no answer to the upgrade", code=31901) from e
        except OSError as e:
            raise TransportError(f"the stream's server cannot be reached: {e}", code=31902) from e
        except (WSError, ValueError) as e:
            raise TransportError(f"the upgrade was refused: {e}", code=31920) from e
        self.parameters = parameters
        self.started_at = time.monotonic()
        self._send(self._writer.connected())
        self._send(self._writer.start(parameters))

    # ---- the line ------------------------------------------------------------------------------------------------------

    def hear(self, frame: bytes, start: float) -> None:
        """20 ms of the caller, which began at `start`."""
        if self.started_at is None or self.ended_at is not None:
            return
        if self._first_frame_at is None:
            self._first_frame_at = start
        faults, chance = self._faults.stream, self._faults.rng.random
        if faults.media_lost and chance() < faults.media_lost:
            return
        message = self._writer.media(frame, round((start - self._first_frame_at) * 1000))
        if self._held_back is not None:
            held, self._held_back = self._held_back, None
            self._send(message)
            self._send(held)
        elif faults.media_swapped and chance() < faults.media_swapped:
            self._held_back = message
        else:
            self._send(message)
        if faults.media_repeated and chance() < faults.media_repeated:
            self._send(message)

    def press(self, digit: Digit, _now: float) -> None:
        if self.started_at is not None and self.ended_at is None:
            self._send(self._writer.dtmf(digit))

    def frame(self, start: float) -> bytes | None:
        """What the caller heard of the application in the 20 ms from `start` on."""
        if not self.playback.wire:
            return None
        sound = self.playback.heard(start, FRAME_BYTES)
        return None if sound == SILENT_FRAME else sound

    def stop(self) -> None:
        """The call goes on without this stream, or is over: `stop`, then close."""
        if self.ended_at is None and self._transport is not None:
            self._send(self._writer.stop())
            self._transport.send_close(WSCloseCode.OK)
            asyncio.get_running_loop().call_later(CLOSE_S_MAX, self._transport.disconnect)
        self._end("stopped")

    def abandon(self) -> None:
        """The simulator closes: whatever is still open ends now."""
        self._end("stopped")
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.disconnect(graceful=False)

    # ---- faults --------------------------------------------------------------------------------------------------------

    def drop(self) -> None:
        """The connection breaks, without a word."""
        if self._transport is not None:
            self._transport.underlying_transport.abort()
        self._end("broken")

    def stall(self, seconds: float) -> None:
        """Nothing passes in either direction for a while; then it all comes at once."""
        if self._transport is None or self._stalled is not None:
            return
        self._stalled = []
        self._transport.underlying_transport.pause_reading()
        asyncio.get_running_loop().call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        waiting, self._stalled = self._stalled or [], None
        for message in waiting:
            self._send(message)
        if self._transport is not None and not self._transport.is_disconnected:
            self._transport.underlying_transport.resume_reading()

    # ---- picows calls these --------------------------------------------------------------------------------------------

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind is WSMsgType.CLOSE:
            self.close_code = int(cast("int", frame.get_close_code())) or NO_CODE  # 0: none was sent
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            self._end("closed")
        elif kind is WSMsgType.TEXT and frame.fin and not self._parts:
            self._receive(frame.get_payload_as_bytes())
        elif kind in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self._parts += frame.get_payload_as_memoryview()
            if frame.fin:
                whole, self._parts = bytes(self._parts), bytearray()
                self._receive(whole)
        elif kind is WSMsgType.BINARY:
            self._object(BINARY, str(BinaryFrameError("media streams are text frames only")))

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        self._end("broken")

    # ---- inside --------------------------------------------------------------------------------------------------------

    def _receive(self, message: bytes) -> None:
        now = time.monotonic()
        try:
            command = decode_command(message)
        except MediaStreamError as e:
            self._object(MISUSED, str(e))
            return
        if command.stream_sid != self.stream_sid:
            self._object(MISUSED, "a message of another stream")
            return
        if self.ended_at is not None:
            return
        match command:
            case PlayMedia():
                if self.playback.buffered_bytes(now) + len(command.mulaw) > BUFFER_S_MAX * RATE:
                    self._object(TOO_MUCH_AUDIO, "more than ten minutes of audio wait to be played")
                self.playback.play(command.mulaw, now)
            case PlayMark():
                self.playback.mark(command.name, now)
                self._echo()
            case ClearAudio():
                self.playback.clear(now)
                self._echo()

    def _echo(self) -> None:
        """Send the marks that are due, and come back for the next."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.ended_at is not None:
            return
        now = time.monotonic()
        while (echo := self.playback.take_echo(now)) is not None:
            self.echoes.append(echo)
            for name in self._echoed(echo):
                self._send(self._writer.mark(name))
        if (due_at := self.playback.echo_due_at) is not None:
            self._timer = asyncio.get_running_loop().call_later(max(due_at - now, 0), self._echo)

    def _echoed(self, echo: MarkEcho) -> list[str]:
        faults, rng = self._faults.stream, self._faults.rng
        if faults.marks_lost and rng.random() < faults.marks_lost:
            return []
        names = [echo.name]
        if faults.marks_repeated and rng.random() < faults.marks_repeated:
            names.append(echo.name)
        if faults.marks_stale and rng.random() < faults.marks_stale:
            names.append(rng.choice(self.echoes).name)
        return names

    def _object(self, code: int, message: str) -> None:
        self.problems.append((code, message))
        self._complain(code, message)

    def _send(self, message: bytes) -> None:
        if self._stalled is not None:
            self._stalled.append(message)
        elif self._transport is not None and not self._transport.is_disconnected:
            self._transport.send(WSMsgType.TEXT, message)

    def _end(self, ending: Ending) -> None:
        if self.ended_at is not None:
            return
        self.ended_at, self.ending = time.monotonic(), ending
        if self._timer is not None:
            self._timer.cancel()
        self.playback.hang_up(self.ended_at)
        self.closed.set()
