"""Many phones in one process: Twilio's side of the calls, in real time.

Each sends 50 frames a second that tell when they were sent (see `timecode`), takes the audio that comes, and echoes marks
when a phone that plays in real time would have played what stands before them. It keeps no audio; the phone that does, to
the byte, is `telephony.testing.phone`.
"""

import asyncio
import uuid
from array import array
from multiprocessing.connection import Connection

from load.processes import obey
from load.timecode import BASE64_OF_A_FRAME, age_of_base64_us, p50_p99_ms, stamp
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from telephony.playout import BYTES_PER_S
from telephony.testing.caller import Stream, fetch_stream
from telephony.testing.phone import FRAME_S, Ids
from telephony.twilio.media_stream import PhoneSideWriter, decode_command
from telephony.twilio.messages import PlayMark, PlayMedia

DIALLED_PER_S = 50


class Phones:
    """All calls of a run, and what they measured."""

    def __init__(self) -> None:
        self.calls: list[PhoneConnection] = []
        self.measuring = False
        self.delays_us = array("l")
        self.late_us = array("l")  # how far behind its schedule each frame was sent
        self.lost = 0  # sockets that ended by themselves


class PhoneConnection(WSListener):
    def __init__(self, phones: Phones, ids: Ids, parameters: dict[str, str]) -> None:
        self._phones = phones
        self._parameters = parameters
        self._writer = PhoneSideWriter(stream_sid=ids.stream_sid, account_sid=ids.account_sid, call_sid=ids.call_sid)
        self._loop = asyncio.get_running_loop()
        self._frames = 0
        self._played_until = 0.0
        self._over = False

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._send(self._writer.connected())
        self._send(self._writer.start(self._parameters))
        self._began = self._loop.time()
        self._timer = self._loop.call_at(self._began + FRAME_S, self._speak)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if not self._over:
            self._phones.lost += 1
        self._over = True
        self._timer.cancel()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            return
        command = decode_command(frame.get_payload_as_bytes())
        now = self._loop.time()
        if isinstance(command, PlayMedia):
            if self._phones.measuring and len(command.payload) >= BASE64_OF_A_FRAME - 2:
                age = age_of_base64_us(command.payload)
                if age is not None:
                    self._phones.delays_us.append(age)
            self._played_until = max(self._played_until, now) + len(command.mulaw) / BYTES_PER_S
        elif isinstance(command, PlayMark):
            self._loop.call_at(max(now, self._played_until), self._echo, command.name)

    def hang_up(self) -> None:
        if not self._over:
            self._over = True
            self._timer.cancel()
            self._send(self._writer.stop())

    async def gone(self) -> None:
        async with asyncio.timeout(10):
            await self._transport.wait_disconnected()

    def _speak(self) -> None:
        """A frame, and those that are due besides because this process was late."""
        now = self._loop.time()
        while (due := self._began + (self._frames + 1) * FRAME_S) <= now:
            if self._phones.measuring:
                self._phones.late_us.append(int((now - due) * 1e6))
            self._send(self._writer.media(stamp("pcmu"), self._frames * 20))
            self._frames += 1
        self._timer = self._loop.call_at(due, self._speak)

    def _echo(self, name: str) -> None:
        if not self._over:
            self._send(self._writer.mark(name))

    def _send(self, frame: bytes) -> None:
        self._transport.send(WSMsgType.TEXT, frame)


async def _dial(phones: Phones, url: str) -> PhoneConnection:
    ids = Ids(stream_sid=f"MZ{uuid.uuid4().hex}", call_sid=f"CA{uuid.uuid4().hex}")
    stream = Stream(url) if url.startswith("ws") else await fetch_stream(url, ids=ids)
    call = PhoneConnection(phones, ids, stream.parameters)
    await ws_connect(lambda: call, stream.url, logger_name="load.picows")
    return call


async def main(pipe: Connection) -> None:
    """Requests: `dial` (webhook or socket URL, calls); `begin`; `end` -> (delays, own lateness, both p50 and p99 in ms,
    calls lost); `hang_up`."""
    phones = Phones()

    async def dial(url: str, calls: int) -> None:
        for _ in range(calls):
            phones.calls.append(await _dial(phones, url))
            await asyncio.sleep(1 / DIALLED_PER_S)

    async def begin() -> None:
        phones.delays_us, phones.late_us, phones.measuring = array("l"), array("l"), True

    async def end() -> tuple[tuple[float, float], tuple[float, float], int]:
        phones.measuring = False
        return p50_p99_ms(phones.delays_us), p50_p99_ms(phones.late_us), phones.lost

    async def hang_up() -> None:
        for call in phones.calls:
            call.hang_up()
        for call in phones.calls:
            await call.gone()
        phones.calls.clear()

    await obey(pipe, {"dial": dial, "begin": begin, "end": end, "hang_up": hang_up})
