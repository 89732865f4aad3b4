"""The barest bridges that could stand in the product's place: base64 passed through; no marks, no ledger, no session.

Three of them, by what carries their sockets: picows on both sides; aiohttp on both sides; Starlette on uvicorn with the
client of `websockets`. Each yields the URL that phones dial.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import aiohttp
import msgspec
import uvicorn
from aiohttp import web
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from realtime_bridge.wire import append_frame, client, encode


class _Media(msgspec.Struct):
    payload: str


class _PhoneFrame(msgspec.Struct, rename="camel"):
    event: str
    stream_sid: str = ""
    media: _Media | None = None


class _ModelFrame(msgspec.Struct):
    type: str
    delta: str = ""


_phone_frame = msgspec.json.Decoder(_PhoneFrame).decode
_model_frame = msgspec.json.Decoder(_ModelFrame).decode
_FORMAT = {"format": {"type": "audio/pcmu"}}
_CONFIG = encode(
    client.SessionUpdate(session={"type": "realtime", "audio": {"input": _FORMAT, "output": _FORMAT}}),
)


def _model_url(port: int) -> str:
    return f"ws://127.0.0.1:{port}/v1/realtime"


def _head(stream_sid: str) -> bytes:
    return b'{"event":"media","streamSid":"%b","media":{"payload":"' % stream_sid.encode()


def _to_model(media: _Media) -> bytes:
    return append_frame(media.payload.encode())


def _to_phone(head: bytes, frame: bytes | str) -> bytes | None:
    """None: it is no audio."""
    event = _model_frame(frame)
    return head + event.delta.encode() + b'"}}' if event.type == "response.output_audio.delta" else None


# ---- picows ----------------------------------------------------------------------------------------------------------


class _PicowsPhone(WSListener):
    def __init__(self, model_port: int) -> None:
        self._model_port = model_port
        self._model = None
        self.head = b""

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            transport.disconnect()
            return
        message = _phone_frame(frame.get_payload_as_bytes())
        if message.media is not None:
            if self._model is not None:
                self._model.send(WSMsgType.TEXT, _to_model(message.media))
        elif message.event == "start":
            self.head = _head(message.stream_sid)
            self._opening = asyncio.get_running_loop().create_task(self._open())
        elif message.event == "stop":
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self._model is not None:
            self._model.disconnect()

    async def _open(self) -> None:
        url = _model_url(self._model_port)
        self._model, _ = await ws_connect(lambda: _PicowsModel(self), url, logger_name="load.picows")
        self._model.send(WSMsgType.TEXT, _CONFIG)


class _PicowsModel(WSListener):
    def __init__(self, phone: _PicowsPhone) -> None:
        self._phone = phone

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            transport.disconnect()
            return
        audio = _to_phone(self._phone.head, frame.get_payload_as_bytes())
        if audio is not None:
            self._phone.transport.send(WSMsgType.TEXT, audio)


@contextlib.asynccontextmanager
async def picows_relay(model_port: int) -> AsyncIterator[str]:
    phones = await ws_create_server(lambda _: _PicowsPhone(model_port), "127.0.0.1", 0, logger_name="load.picows")
    try:
        yield f"ws://127.0.0.1:{phones.sockets[0].getsockname()[1]}/"
    finally:
        phones.close()


# ---- aiohttp ---------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def aiohttp_relay(model_port: int) -> AsyncIterator[str]:
    async def media(request: web.Request) -> web.WebSocketResponse:
        phone = web.WebSocketResponse(compress=False, max_msg_size=0)
        await phone.prepare(request)
        async with session.ws_connect(_model_url(model_port), max_msg_size=0) as model:
            await model.send_str(_CONFIG.decode())
            listening = None
            async for message in phone:
                frame = _phone_frame(message.data)
                if frame.media is not None:
                    await model.send_str(_to_model(frame.media).decode())
                elif frame.event == "start":
                    listening = asyncio.create_task(listen(model, phone, _head(frame.stream_sid)))
                elif frame.event == "stop":
                    break
            if listening is not None:
                listening.cancel()
        return phone

    async def listen(model: aiohttp.ClientWebSocketResponse, phone: web.WebSocketResponse, head: bytes) -> None:
        async for message in model:
            audio = _to_phone(head, message.data)
            if audio is not None:
                await phone.send_str(audio.decode())

    app = web.Application()
    app.add_routes([web.get("/media", media)])
    runner = web.AppRunner(app, access_log=None)
    async with aiohttp.ClientSession() as session:
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        await web.SockSite(runner, listener).start()
        try:
            yield f"ws://127.0.0.1:{listener.getsockname()[1]}/media"
        finally:
            await runner.cleanup()


# ---- Starlette on uvicorn, and websockets ----------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def starlette_relay(model_port: int) -> AsyncIterator[str]:
    async def media(phone: WebSocket) -> None:
        await phone.accept()
        async with connect(_model_url(model_port), compression=None, max_size=None) as model:
            await model.send(_CONFIG, text=True)
            listening = None
            with contextlib.suppress(WebSocketDisconnect, ConnectionClosed):
                while (frame := _phone_frame(await phone.receive_text())).event != "stop":
                    if frame.media is not None:
                        await model.send(_to_model(frame.media), text=True)
                    elif frame.event == "start":
                        listening = asyncio.create_task(listen(model, phone, _head(frame.stream_sid)))
            if listening is not None:
                listening.cancel()

    async def listen(model: object, phone: WebSocket, head: bytes) -> None:
        async for frame in model:
            audio = _to_phone(head, frame)
            if audio is not None:
                await phone.send_text(audio.decode())

    app = Starlette(routes=[WebSocketRoute("/media", media)])
    async with serving(app) as url:
        yield url


@contextlib.asynccontextmanager
async def serving(app: object) -> AsyncIterator[str]:
    """An ASGI application on uvicorn's fastest parts; its `/media` is what phones dial."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", loop="uvloop", ws="websockets-sansio"))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/media"
    finally:
        server.should_exit = True
        await asyncio.wait([running], timeout=5)
