"""A phone server on a real port, calls that echo, and a phone that speaks Twilio's protocol over a socket."""

import asyncio
import contextlib
import re
import urllib.error
import urllib.parse
import urllib.request

import pytest
import uvloop
from fastapi import FastAPI, WebSocket
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from telephony.app import create_app
from telephony.server import PhoneServer
from telephony.settings import Settings
from telephony.stream import StreamLimits
from telephony.twilio.media_stream import MediaStreamWriter, PhoneSideWriter
from telephony.twilio.messages import Media, Stop

CALL, STREAM = "CA" + "4" * 32, "MZ" + "0" * 32
TOKEN = "an auth token"
PUBLIC_URL = "https://phone.example.com"


class Calls:
    """Answers every call with one of itself: plays what it hears back to the phone, and keeps what it is told."""

    def __init__(self):
        self.starts, self.messages, self.frames, self.problems, self.ends = [], [], [], [], []
        self.lines = []
        self.ended = asyncio.Event()

    def answer(self, start, line):
        self.starts.append(start)
        self.lines.append(line)
        self.writer = MediaStreamWriter(start.stream_sid)
        return self

    def on_message(self, message, frame):
        self.messages.append(message)
        self.frames.append(frame)
        if isinstance(message, Media):
            self.lines[-1].send(self.writer.media_base64(message.payload))
        if isinstance(message, Stop):
            self.lines[-1].close(1000, "goodbye")

    def on_problem(self, problem):
        self.problems.append(problem)

    def on_disconnect(self, reason):
        self.ends.append(reason)
        self.ended.set()


def plain(**changes) -> Settings:
    return Settings(
        _env_file=None, **{"twilio_auth_token": None, "public_url": None, "recording_notice": "", **changes}
    )


@contextlib.asynccontextmanager
async def serving(settings=None, answer=None, **limits):
    """A server, and the calls it answers."""
    calls = Calls()
    app = create_app(answer=answer or calls.answer, settings=settings or plain(), limits=StreamLimits(**limits))
    add_asgi_routes(app)
    async with PhoneServer(app) as server:
        yield server, calls


def add_asgi_routes(app: FastAPI) -> None:
    @app.websocket("/echo")
    async def echo(websocket: WebSocket):
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()


def media_url(server) -> str:
    return server.url.replace("http", "ws", 1) + "/twilio/media"


async def http(url: str, form: dict | bytes | None = None, headers: dict | None = None) -> tuple[int, str]:
    """GET, or POST of a form: (status, body)"""

    def ask():
        data = urllib.parse.urlencode(form).encode() if isinstance(form, dict) else form
        request = urllib.request.Request(url, data, headers or {})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as e:
            with e:
                return e.code, e.read().decode()

    return await asyncio.to_thread(ask)


async def token_at(url: str, call_sid: str = CALL) -> str:
    """Have the webhook answer a call, as Twilio does before it opens the stream."""
    _, twiml = await http(url + "/twilio/voice", {"CallSid": call_sid})
    return re.search('name="token" value="([^"]+)"', twiml).group(1)


async def token_for(server, call_sid=CALL) -> str:
    return await token_at(server.url, call_sid)


def phone(call_sid=CALL) -> PhoneSideWriter:
    return PhoneSideWriter(stream_sid=STREAM, account_sid="AC0123", call_sid=call_sid)


@contextlib.asynccontextmanager
async def in_call(server, call_sid=CALL):
    """A phone that has started: (its socket, its writer)"""
    writer = phone(call_sid)
    async with connect(media_url(server)) as socket:
        await socket.send(writer.connected(), text=True)
        await socket.send(writer.start({"token": await token_for(server, call_sid)}), text=True)
        yield socket, writer


async def closed_with(socket) -> tuple[int, str]:
    """Read what comes until the other side closes: (code, reason)"""
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(60):
            async for _ in socket:
                pass
    return socket.close_code, socket.close_reason


def both_loops(test):
    """Run an async test on asyncio's own loop and on uvloop, which differ in how they read and switch protocols."""

    @pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    def run(loop_factory):
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(asyncio.wait_for(test(), 120))

    run.__doc__ = test.__doc__
    return run
