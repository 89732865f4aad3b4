"""A phone call that the test holds both ends of: a real media socket, a real model socket, and the transport between."""

import asyncio
import contextlib

from picows import ws_create_server
from support.loopback_model import LoopbackModel
from support.phone_server import CALL, STREAM
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.protocol import State

from realtime_bridge.transport.base import TransportClosed
from realtime_bridge.transport.model_link import LinkLimits
from telephony.stream import MediaEndpoint, StreamLimits
from telephony.tokens import CallTokens
from telephony.transport import TwilioTransport
from telephony.twilio.media_stream import PhoneSideWriter, decode_command
from telephony.twilio.messages import ClearAudio, PlayMark, PlayMedia

QUICK = LinkLimits(pause_s_first=0.01, pause_s_max=0.02, give_up_s=0.2)


class Program:
    """What a session is to a transport: it answers the call, connects, and keeps what it is told."""

    def __init__(self, model, **options):
        self._model = model
        self._options = {"audio": "pcmu", "link_limits": QUICK, **options}
        self.seen = []
        self.answered = asyncio.Event()
        self._news = asyncio.Event()

    def answer(self, start, line):
        self.transport = TwilioTransport(start, line, open_model=self._model.open_model, **self._options)
        self.answered.set()
        return self.transport

    async def connect(self):
        await self.transport.connect(self.note, session={"instructions": "Be kind."})

    def note(self, event):
        self.seen.append(event)
        self._news.set()

    def told(self, kind):
        return [event for event in self.seen if isinstance(event, kind)]

    async def hears(self, kind, count=1):
        async with asyncio.timeout(60):
            while len(self.told(kind)) < count:
                self._news.clear()
                await self._news.wait()
        return self.told(kind)[count - 1]

    async def ends(self):
        await self.hears(TransportClosed)
        assert self.told(TransportClosed) == [self.seen[-1]]
        return self.seen[-1].reason


class Phone:
    """The far end of the media socket: hears everything at once and echoes its marks, or never does (`echoes`)."""

    def __init__(self, socket, writer, *, echoes=True):
        self.socket, self.writer = socket, writer
        self.heard = b""
        self.clears = 0
        self._echoes = echoes
        self._timestamp = 0
        self._news = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self):
        with contextlib.suppress(ConnectionClosed):
            async for frame in self.socket:
                match decode_command(frame):
                    case PlayMedia(mulaw=mulaw):
                        self.heard += mulaw
                    case PlayMark(name=name) if self._echoes and self.socket.state is State.OPEN:
                        await self.socket.send(self.writer.mark(name), text=True)
                    case ClearAudio():
                        self.clears += 1
                self._news.set()
        self._news.set()

    async def says(self, *mulaw):
        """20 ms each, or whatever is given."""
        for audio in mulaw:
            await self.socket.send(self.writer.media(audio, self._timestamp), text=True)
            self._timestamp += max(1, len(audio) // 8)

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def hears(self, bytes_min):
        await self.until(lambda: len(self.heard) >= bytes_min)

    async def closed(self):
        await asyncio.wait_for(self._reader, 60)
        return self.socket.close_code


@contextlib.asynccontextmanager
async def ringing(model, *, echoes=True, **options):
    """(program, phone) of a call that has been answered, with no model connected yet. No HTTP server is in between."""
    program = Program(model, **options)
    limits = StreamLimits()
    door = MediaEndpoint(answer=program.answer, tokens=CallTokens(), signature=None, calls_max=1, limits=limits)
    server = await ws_create_server(door.upgrade, "127.0.0.1", 0, max_frame_size=limits.frame_bytes_max)
    writer = PhoneSideWriter(stream_sid=STREAM, account_sid="AC0123", call_sid=CALL)
    async with server, connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/twilio/media") as socket:
        await socket.send(writer.connected(), text=True)
        token = door.tokens.issue(CALL, door.clock())
        await socket.send(writer.start({"token": token}), text=True)
        caller = Phone(socket, writer, echoes=echoes)
        await asyncio.wait_for(program.answered.wait(), 60)
        yield program, caller
        await program.transport.close("the test is over")
        await caller.closed()
    if program.seen:
        assert program.told(TransportClosed) == [program.seen[-1]]


@contextlib.asynccontextmanager
async def talking(*, echoes=True, confirms=True, **options):
    """(program, phone, the model's end) of a call that is connected."""
    async with LoopbackModel(confirms=confirms) as model, ringing(model, echoes=echoes, **options) as (program, caller):
        await program.connect()
        yield program, caller, await model.confirmed_call()


async def flows(program, caller, call):
    """Audio passes both ways."""
    appended = len(call.appended)
    await caller.says(b"\x11" * 160)
    await call.hears(appended + 1)
    heard = len(caller.heard)
    await call.reply(40)
    await caller.hears(heard + 320)
