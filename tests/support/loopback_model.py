"""A realtime model on a real socket whose every word is the test's: it says what it is told, and keeps what it hears.

It stands on the `websockets` package, so that our own client is tried against another implementation.
"""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Sequence
from http import HTTPStatus

import msgspec
import numpy as np
import pybase64
from openai import AsyncOpenAI
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from realtime_bridge.audio.g711 import MULAW_SILENCE, pcm16_to_mulaw
from realtime_bridge.transport.endpoint import Endpoint
from realtime_bridge.transport.model_socket import ModelSocket

KEY = "sk-loopback-0123456789"
WAIT_S = 60.0
_numbers = itertools.count(1)  # of responses, over all connections: a fresh session's are not those of the one before


def tone(ms: int) -> bytes:
    """What a caller can hear, as mu-law."""
    wave = 8000 * np.sin(2 * np.pi * 440 / 8000 * np.arange(8 * ms))
    return pcm16_to_mulaw(wave.astype("<i2").tobytes())


class ModelCall:
    """One connection, from the model's side."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.path = socket.request.path
        self.headers = socket.request.headers
        self.received = []  # every event but the appends
        self.appended = []  # base64 of each append
        self._listened_to = 0
        self.ended = asyncio.Event()
        self._news = asyncio.Queue()

    async def expect(self, kind: str) -> dict:
        """The next event of this type; those before it are passed over."""
        async with asyncio.timeout(WAIT_S):
            while (event := await self._news.get())["type"] != kind:
                pass
            return event

    async def hears(self, payloads: int) -> list[bytes]:
        """The first so many appends, decoded."""
        async with asyncio.timeout(WAIT_S):
            while len(self.appended) < payloads:
                await self._news.get()
        return [pybase64.b64decode(audio) for audio in self.appended[:payloads]]

    async def hears_speech(self) -> None:
        """The caller has begun to speak: an append that is not silence has come since the last call of this."""
        async with asyncio.timeout(WAIT_S):
            while True:
                while self._listened_to < len(self.appended):
                    self._listened_to += 1
                    if pybase64.b64decode(self.appended[self._listened_to - 1]).strip(MULAW_SILENCE):
                        return
                await self._news.get()

    async def say(self, *events: dict | bytes | str) -> None:
        """Send events, or frames as they are (bytes: a binary one). A connection that is gone is let go."""
        with contextlib.suppress(ConnectionClosed):
            for event in events:
                await self.socket.send(json.dumps(event) if isinstance(event, dict) else event)

    async def confirm(self, update: dict) -> None:
        await self.say({"type": "session.updated", "session": update["session"]})

    async def begin_reply(self, ms: int, *, text: str = "Hello.", asked: dict | None = None) -> str:
        """A reply of one item, all but its end: transcript, and `ms` of a tone in mu-law. Returns the item's id.

        `asked`: the `response.create` that it answers.
        """
        response_id = f"resp_{next(_numbers)}"
        metadata = ((asked or {}).get("response") or {}).get("metadata")
        item_id = f"item_{response_id}"
        item = {"type": "message", "id": item_id, "role": "assistant", "status": "in_progress", "content": []}
        response = {"id": response_id, "conversation_id": "c", "metadata": metadata}
        where = {"response_id": response_id, "output_index": 0}
        part = {**where, "item_id": item_id, "content_index": 0}
        audio = tone(ms)
        pieces = [audio[at : at + 1600] for at in range(0, len(audio), 1600)]
        await self.say(
            {"type": "response.created", "response": {**response, "status": "in_progress"}},
            {"type": "response.output_item.added", **where, "item": item},
            {"type": "conversation.item.added", "item": item},
            {"type": "response.content_part.added", **part, "part": {"type": "audio"}},
            {"type": "response.output_audio_transcript.delta", **part, "delta": text},
            *(
                {"type": "response.output_audio.delta", **part, "delta": pybase64.b64encode_as_string(piece)}
                for piece in pieces
            ),
        )
        return item_id

    async def end_reply(self, item_id: str, *, status: str = "completed", text: str = "Hello.") -> None:
        response_id = item_id.removeprefix("item_")
        where = {"response_id": response_id, "output_index": 0}
        part = {**where, "item_id": item_id, "content_index": 0}
        content = [{"type": "output_audio", "transcript": text}]
        item = {"type": "message", "id": item_id, "role": "assistant", "status": status, "content": content}
        response = {"id": response_id, "status": status, "conversation_id": "c", "output": [item]}
        await self.say(
            {"type": "response.output_audio_transcript.done", **part, "transcript": text},
            {"type": "response.output_audio.done", **part},
            {"type": "response.output_item.done", **where, "item": item},
            {"type": "conversation.item.done", "item": item},
            {"type": "response.done", "response": response},
        )

    async def reply(self, ms: int, *, text: str = "Hello.", asked: dict | None = None) -> str:
        item_id = await self.begin_reply(ms, text=text, asked=asked)
        await self.end_reply(item_id, text=text)
        return item_id

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self.socket.close(code, reason)

    def drop(self) -> None:
        """End the connection without a word."""
        self.socket.transport.abort()

    def hear(self, frame: str | bytes) -> dict:
        event = msgspec.json.decode(frame)
        if event["type"] == "input_audio_buffer.append":
            self.appended.append(event["audio"])
        else:
            self.received.append(event)
        self._news.put_nowait(event)
        return event


class LoopbackModel:
    """`async with LoopbackModel() as model: call = await model.call()`. Its connections end with it.

    `confirms`: it answers every `session.update` with a `session.updated` that has the same content. `refuse`: it answers
    upgrades with this HTTP status instead, and `refusal` for a body. `first_words`: frames that it sends at once.
    `then_closes`: code and reason with which it closes at once. All can be changed for the next connection.
    """

    def __init__(
        self,
        *,
        confirms: bool = True,
        refuse: int | None = None,
        refusal: str = "",
        first_words: Sequence[str | bytes] = (),
        then_closes: tuple[int, str] | None = None,
    ) -> None:
        self.confirms = confirms
        self.refuse = refuse
        self.refusal = refusal
        self.first_words = first_words
        self.then_closes = then_closes
        self.attempts = 0
        self.calls = []
        self._new = asyncio.Queue()

    async def __aenter__(self):
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._judge,
            compression=None,
            ping_interval=None,
            max_size=None,
        )
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/v1/realtime"
        return self

    async def __aexit__(self, *_):
        for call in self.calls:
            call.drop()
        self._server.close()
        await self._server.wait_closed()

    async def open_model(self, *, on_frame, on_lost) -> ModelSocket:
        """An `OpenModel`."""
        endpoint = Endpoint(self.url, {"Authorization": f"Bearer {KEY}"})
        return await ModelSocket.open(endpoint, on_frame=on_frame, on_lost=on_lost)

    @property
    def openai(self) -> AsyncOpenAI:
        """A client that reaches this model."""
        return AsyncOpenAI(api_key=KEY, base_url=self.url.replace("ws", "http", 1).removesuffix("/realtime"))

    async def call(self) -> ModelCall:
        """The next connection."""
        return await asyncio.wait_for(self._new.get(), WAIT_S)

    def forget(self) -> None:
        """The connections that `call` has not given."""
        while not self._new.empty():
            self._new.get_nowait()

    async def confirmed_call(self) -> ModelCall:
        """The next connection, when its first `session.update` has come."""
        call = await self.call()
        await call.expect("session.update")
        return call

    def _judge(self, connection, request):
        self.attempts += 1
        if self.refuse is None:
            return None
        return connection.respond(HTTPStatus(self.refuse), self.refusal)

    async def _serve(self, socket: ServerConnection) -> None:
        call = ModelCall(socket)
        self.calls.append(call)
        self._new.put_nowait(call)
        await call.say(*self.first_words)
        if self.then_closes is not None:
            await call.close(*self.then_closes)
        try:
            async for frame in socket:
                event = call.hear(frame)
                if self.confirms and event["type"] == "session.update":
                    await call.confirm(event)
        except ConnectionClosed:
            pass
        finally:
            call.ended.set()
