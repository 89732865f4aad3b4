"""A simulated call over a real WebSocket, in real time: Twilio and a caller who follows a script.

    stream = await fetch_stream("http://127.0.0.1:8080/twilio/voice", auth_token=token)     # as Twilio answers a call
    result = await place_call(stream, [WaitForAgent(), Say(hello), WaitForAgent(), HangUp()])

The phone and its caller are a `FarEnd`; here are only its socket and its clock. Frames that were late are made up for,
so the caller's audio keeps real time.
"""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from twilio.request_validator import RequestValidator
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from realtime_bridge.errors import ProtocolError, TransportError
from telephony.testing.far_end import FarEnd
from telephony.testing.network import Link
from telephony.testing.phone import Ids, SimulatedPhone
from telephony.testing.result import CallResult, conclude
from telephony.testing.script import Step

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
        now = asyncio.get_running_loop().time()
        far_end = FarEnd(
            steps, phone=phone, parameters=stream.parameters, to_server=to_server, to_phone=to_phone, now=now
        )
        return await _Call(socket, far_end).run()
    finally:
        await socket.close()


class _Call:
    """One call's loop: give the far end what the server sends, send what it sends, sleep until something is due."""

    def __init__(self, socket: ClientConnection, far_end: FarEnd) -> None:
        self._socket = socket
        self._far_end = far_end
        self._came = asyncio.Event()
        self._clock = asyncio.get_running_loop().time

    async def run(self) -> CallResult:
        reader = asyncio.create_task(self._read())
        try:
            while not reader.done() and not self._far_end.is_over:
                for frame in self._far_end.advance(self._clock()):
                    async with asyncio.timeout(SEND_TIMEOUT_S):
                        await self._socket.send(frame, text=True)
                await self._sleep()
        except (ConnectionClosed, TimeoutError):
            pass  # told below
        finally:
            reader.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await reader
        code = self._socket.close_code
        why = f"the server closed the stream ({code})" if code else "the server stopped reading"
        self._far_end.cut_off(why, self._clock())
        return conclude(self._far_end.phone, self._far_end.caller, self._far_end.problems)

    async def _read(self) -> None:
        async for frame in self._socket:
            self._far_end.receive(frame, self._clock())
            self._came.set()

    async def _sleep(self) -> None:
        """Until the next frame is due either way, or one comes."""
        self._came.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._far_end.next_event_at() or self._clock()):
                await self._came.wait()


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
