"""A simulated call over a real WebSocket, in real time: Twilio and a caller who follows a script.

    stream = await fetch_stream("http://127.0.0.1:8080/twilio/voice", auth_token=token)     # as Twilio answers a call
    result = await place_call(stream, [WaitForAgent(), Say(hello), WaitForAgent(), HangUp()])

The phone is `SimulatedPhone`; here are only its socket and its clock. Frames that were late are made up for, so the
caller's audio keeps real time.
"""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from twilio.request_validator import RequestValidator
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from realtime_bridge.errors import ProtocolError, TransportError
from telephony.testing.network import Link
from telephony.testing.phone import Ids, SimulatedPhone
from telephony.testing.result import CallResult, conclude
from telephony.testing.script import ScriptedCaller, Step
from telephony.twilio.messages import BinaryFrameError, MediaStreamError

WEBHOOK_TIMEOUT_S = 15.0  # as long as Twilio waits for a webhook
OPEN_TIMEOUT_S = 10.0
SEND_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0
TWIML_BYTES_MAX = 64 * 1024
FRAME_BYTES_MAX = 16 * 1024 * 1024  # a server may send a whole reply in one frame


@dataclass(frozen=True, slots=True)
class Stream:
    """Where the TwiML sends the call's audio. `parameters` hold the call's token."""

    url: str
    parameters: dict[str, str] = field(default_factory=dict)


async def fetch_stream(
    webhook_url: str,
    *,
    ids: Ids | None = None,
    auth_token: str | None = None,
    caller: str = "+15550100",
    called: str = "+15550199",
) -> Stream:
    """Ring: POST the voice webhook as Twilio does, signed if a token is given, and read its TwiML.

    Raises TransportError when the server cannot be reached or refuses, ProtocolError when its TwiML has no stream.
    """
    ids = ids or Ids()
    form = {
        "AccountSid": ids.account_sid,
        "ApiVersion": "2010-04-01",
        "CallSid": ids.call_sid,
        "CallStatus": "ringing",
        "Called": called,
        "Caller": caller,
        "Direction": "inbound",
        "From": caller,
        "To": called,
    }
    request = urllib.request.Request(  # noqa: S310 - whoever runs the simulated caller names the URL
        webhook_url,
        data=urllib.parse.urlencode(form).encode(),
        headers={"User-Agent": "TwilioProxy/1.1", **_signature(webhook_url, form, auth_token)},
    )
    return _read_twiml(await asyncio.to_thread(_post, request))


async def place_call(
    stream: Stream,
    steps: Sequence[Step],
    *,
    phone: SimulatedPhone | None = None,
    auth_token: str | None = None,
    to_server: Link | None = None,
    to_phone: Link | None = None,
) -> CallResult:
    """Open the stream, follow the script, hang up; returns when the call is over.

    `auth_token` signs the handshake. `to_server` and `to_phone` add the delays of a network. Raises TransportError when
    the stream cannot be opened. A socket that the server closes before the script's end is a `failure` of the result.
    """
    try:
        socket = await connect(
            stream.url,
            additional_headers=_signature(stream.url, {}, auth_token),
            compression=None,
            max_size=FRAME_BYTES_MAX,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=CLOSE_TIMEOUT_S,
            ping_interval=None,
        )
    except (OSError, InvalidHandshake, InvalidURI) as e:
        raise TransportError(f"the media stream cannot be opened: {e}") from e
    try:
        call = _Call(socket, phone or SimulatedPhone(), to_server or Link(), to_phone or Link())
        return await call.run(steps, stream.parameters)
    finally:
        await socket.close()


class _Call:
    """One call's loop: hear the server, let the caller act, send what the phone sends, sleep until something is due."""

    def __init__(self, socket: ClientConnection, phone: SimulatedPhone, to_server: Link, to_phone: Link) -> None:
        self._socket = socket
        self._phone = phone
        self._to_server = to_server
        self._to_phone = to_phone
        self._outgoing: deque[tuple[float, bytes]] = deque()  # (when it reaches the server, frame)
        self._incoming: deque[tuple[float, str | bytes]] = deque()  # (when it reaches the phone, frame)
        self._came = asyncio.Event()
        self._problems: list[str] = []
        self._clock = asyncio.get_running_loop().time

    async def run(self, steps: Sequence[Step], parameters: dict[str, str]) -> CallResult:
        start = self._clock()
        self._send_later(self._phone.start(start, parameters), start)
        caller = ScriptedCaller(steps, self._phone)
        reader = asyncio.create_task(self._read())
        try:
            while not reader.done() and (self._phone.ended_at is None or self._outgoing):
                now = self._clock()
                self._hear(now)
                caller.advance(now)
                self._send_later(self._phone.advance(now), now)
                await self._send_due(now)
                await self._sleep()
        except (ConnectionClosed, TimeoutError):
            pass  # told below
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await reader
        if self._phone.ended_at is None:
            self._phone.cut_off(self._clock())
            code = self._socket.close_code
            caller.give_up(f"the server closed the stream ({code})" if code else "the server stopped reading")
        return conclude(self._phone, caller, self._problems)

    async def _read(self) -> None:
        async for frame in self._socket:
            self._incoming.append((self._to_phone.arrival(self._clock()), frame))
            self._came.set()

    def _hear(self, now: float) -> None:
        while self._incoming and self._incoming[0][0] <= now:
            at, frame = self._incoming.popleft()
            try:
                if isinstance(frame, bytes):
                    raise BinaryFrameError("media streams are text frames only (error 31950)")
                self._phone.receive(frame, at)
            except MediaStreamError as e:
                self._problems.append(str(e))

    def _send_later(self, frames: list[bytes], now: float) -> None:
        self._outgoing.extend((self._to_server.arrival(now), frame) for frame in frames)

    async def _send_due(self, now: float) -> None:
        while self._outgoing and self._outgoing[0][0] <= now:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._socket.send(self._outgoing.popleft()[1], text=True)

    async def _sleep(self) -> None:
        """Until the next frame is due either way, or one comes."""
        due = [queue[0][0] for queue in (self._outgoing, self._incoming) if queue]
        if (at := self._phone.next_event_at()) is not None:
            due.append(at)
        self._came.clear()
        try:
            async with asyncio.timeout_at(min(due, default=self._clock())):
                await self._came.wait()
        except TimeoutError:
            return


def _signature(url: str, form: dict[str, str], auth_token: str | None) -> dict[str, str]:
    if auth_token is None:
        return {}
    return {"X-Twilio-Signature": RequestValidator(auth_token).compute_signature(url, form)}


def _post(request: urllib.request.Request) -> bytes:
    try:
        with urllib.request.urlopen(request, timeout=WEBHOOK_TIMEOUT_S) as response:  # noqa: S310 - see above
            body: bytes = response.read(TWIML_BYTES_MAX)
            return body
    except urllib.error.HTTPError as e:
        e.close()
        raise TransportError(f"the voice webhook answered {e.code} {e.reason}", code=e.code) from e
    except OSError as e:
        raise TransportError(f"the voice webhook cannot be reached: {e}") from e


def _read_twiml(twiml: bytes) -> Stream:
    try:
        root = ET.fromstring(twiml)  # noqa: S314 - the TwiML comes from the server under test, and is short
    except ET.ParseError as e:
        raise ProtocolError(f"the TwiML is not XML: {e}") from e
    stream = root.find("./Connect/Stream")
    if stream is None or not stream.get("url"):
        verbs = ", ".join(verb.tag for verb in root) or "nothing"
        raise ProtocolError(f"expected <Connect><Stream url=…>, got {verbs}", where="/Response")
    parameters = {p.get("name", ""): p.get("value", "") for p in stream.findall("Parameter")}
    return Stream(stream.get("url", ""), parameters)
