"""An application that Twilio calls: answers webhooks with the test's TwiML, talks on media streams, keeps all it is told.

It stands on other packages than the simulator's own (`http.server`'s kin would block; here Starlette's and `websockets`'),
and judges signatures by Twilio's `RequestValidator`.
"""

import asyncio
import contextlib
import json
from urllib.parse import parse_qsl

import pybase64
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from support.quiet import until
from twilio.request_validator import RequestValidator
from twilio.rest import Client
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

from telephony.testing.twilio import TwilioSimulator, murmur

TOKEN = "an auth token"
WAIT_S = 60.0


class Twilio(TwilioSimulator):
    """A simulator with a client of Twilio's own, whose calls run in threads."""

    def __init__(self, **options):
        super().__init__(**{"auth_token": TOKEN, "speech": murmur, "calls_per_second": 1000, **options})
        self.timing.setup = 0.01

    def client(self, user="", password=TOKEN):
        client = Client(user or self.account_sid, password, self.account_sid)
        client.api.base_url = self.url
        return client

    async def do(self, work, **who):
        """`await twilio.do(lambda client: client.calls.list())`"""
        return await asyncio.to_thread(lambda: work(self.client(**who)))


class Asked:
    """One webhook as it came. `target`: path and query, as they stood in the request line."""

    def __init__(self, method, target, form, headers, signed):
        self.method, self.target, self.form, self.headers, self.signed = method, target, form, headers, signed

    @property
    def path(self):
        return self.target.partition("?")[0]


class Application:
    """`async with Application() as application: application.answers["/voice"] = "<Response>…"`

    An answer is TwiML, or (status, body), or a Response, or an async function of the `Asked` that gives one of these; a
    list is used up from the front, its last one kept. Other paths answer 204.
    """

    def __init__(self):
        self.answers = {}
        self.asked: list[Asked] = []
        self._news = asyncio.Event()

    async def __aenter__(self):
        app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST"])])
        config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off", ws="none")
        self._server = uvicorn.Server(config)
        self._server.install_signal_handlers = lambda: None
        self._serving = asyncio.create_task(self._server._serve())
        await until(lambda: self._server.started)
        self.url = f"http://127.0.0.1:{self._server.servers[0].sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.should_exit = True
        await self._serving

    def at(self, path):
        """What came to this path, in order."""
        return [asked for asked in self.asked if asked.path == path]

    async def until(self, path, count=1, **fields):
        """The `count`th request to this path with these form fields."""

        def found():
            return [asked for asked in self.at(path) if fields.items() <= asked.form.items()]

        async with asyncio.timeout(WAIT_S):
            while len(found()) < count:
                self._news.clear()
                await self._news.wait()
        return found()[count - 1]

    async def _answer(self, request: Request) -> Response:
        target = request.scope["raw_path"].decode() + (
            "?" + request.scope["query_string"].decode() if request.scope["query_string"] else ""
        )
        body = (await request.body()).decode()
        form = dict(parse_qsl(body or request.scope["query_string"].decode(), keep_blank_values=True))
        signed = RequestValidator(TOKEN).validate(
            self.url + target, form if request.method == "POST" else {}, request.headers.get("x-twilio-signature", "")
        )
        asked = Asked(request.method, target, form, request.headers, signed)
        self.asked.append(asked)
        self._news.set()
        return await self._respond(asked, self.answers.get(asked.path, (204, "")))

    async def _respond(self, asked, answer):
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if callable(answer) and not isinstance(answer, Response):
            answer = await answer(asked)
        if isinstance(answer, Response):
            return answer
        status, body = answer if isinstance(answer, tuple) else (200, answer)
        return Response(body, status, media_type="text/xml" if body else None)


class MediaCall:
    """One media stream, the application's end."""

    def __init__(self, socket):
        self.socket = socket
        self.path, self.headers = socket.request.path, socket.request.headers
        self.messages = []
        self.ended = asyncio.Event()
        self._news = asyncio.Event()

    def of(self, event):
        return [message for message in self.messages if message["event"] == event]

    @property
    def start(self):
        return self.of("start")[0]

    @property
    def mulaw(self):
        """All caller audio that came."""
        return b"".join(pybase64.b64decode(message["media"]["payload"]) for message in self.of("media"))

    async def until(self, event, count=1):
        """The `count`th message of this kind."""
        async with asyncio.timeout(WAIT_S):
            while len(self.of(event)) < count:
                self._news.clear()
                await self._news.wait()
        return self.of(event)[count - 1]

    async def send(self, event, **body):
        with contextlib.suppress(ConnectionClosed):
            await self.socket.send(json.dumps({"event": event, "streamSid": self.start["streamSid"], **body}))

    async def play(self, mulaw):
        await self.send("media", media={"payload": pybase64.b64encode_as_string(mulaw)})

    async def mark(self, name):
        await self.send("mark", mark={"name": name})

    async def clear(self):
        await self.send("clear")

    async def read(self):
        with contextlib.suppress(ConnectionClosed):
            async for frame in self.socket:
                self.messages.append(json.loads(frame))
                self._news.set()
        self.ended.set()


class MediaApplication:
    """`async with MediaApplication() as media: call = await media.call()`"""

    def __init__(self):
        self.refuse = False
        self.calls = []
        self._new = asyncio.Queue()

    async def __aenter__(self):
        self._server = await serve(
            self._serve, "127.0.0.1", 0, process_request=self._judge, compression=None, ping_interval=None
        )
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/media"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        await self._server.wait_closed()

    async def call(self):
        """The next stream, once its `start` has come."""
        call = await asyncio.wait_for(self._new.get(), WAIT_S)
        await call.until("start")
        return call

    def _judge(self, connection, _request):
        return connection.respond(403, "no") if self.refuse else None

    async def _serve(self, socket):
        call = MediaCall(socket)
        self.calls.append(call)
        self._new.put_nowait(call)
        await call.read()
