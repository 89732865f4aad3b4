"""What is measured: the product in three stages, and the barest relay that could stand in its place.

    relay       picows on both sides, base64 passed through; no marks, no ledger, no session
    bridge      create_app and TwilioTransport, with a listener that ignores everything
    session     Switchboard: TwilioTransport and RealtimeSession, calls not recorded
    recorded    the same, with tape and recording of every call
    server      the whole server as `realtime-bridge serve` runs it: store, book of calls, steering, metrics, recording
    sdk         a bridge on OpenAI's Agents SDK for Python (see `agents_sdk.py`)

Each runs in a process of its own, on uvloop, as `realtime-bridge serve` does.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec
from load.agents_sdk import agents_sdk
from load.processes import obey
from openai import AsyncOpenAI
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect, ws_create_server

from realtime_bridge import Agent
from realtime_bridge.transport.endpoint import Endpoint
from realtime_bridge.transport.model_socket import ModelSocket
from realtime_bridge.wire import append_frame, client, encode
from telephony.app import create_app
from telephony.calls.answering import Switchboard
from telephony.server import PhoneServer
from telephony.settings import Settings
from telephony.stream import PhoneLine
from telephony.transport import TwilioTransport
from telephony.twilio.messages import Start

KINDS = ("relay", "bridge", "session", "recorded", "server", "sdk")
CALLS_MAX = 1000


# ---- the product -----------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _bridge(model_port: int, audio: str) -> AsyncIterator[str]:
    endpoint = Endpoint(f"ws://127.0.0.1:{model_port}/v1/realtime?model=load", {})
    connecting = set()

    def answer(start: Start, line: PhoneLine) -> TwilioTransport:
        call = TwilioTransport(
            start,
            line,
            open_model=lambda *, on_frame, on_lost: ModelSocket.open(endpoint, on_frame=on_frame, on_lost=on_lost),
            audio=audio,
        )
        task = asyncio.get_running_loop().create_task(call.connect(lambda _: None, session={"type": "realtime"}))
        connecting.add(task)
        task.add_done_callback(connecting.discard)
        return call

    async with PhoneServer(create_app(answer=answer, settings=_settings(audio))) as server:
        yield f"{server.url}/twilio/voice"


@contextlib.asynccontextmanager
async def _session(model_port: int, audio: str, *, recorded: bool) -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as disk:
        switchboard = Switchboard(
            Agent(name="Front desk", instructions="Help the caller."),
            openai=AsyncOpenAI(base_url=f"http://127.0.0.1:{model_port}/v1", api_key="load"),
            model="load",
            audio=audio,
            data_dir=Path(folder) if recorded else None,
            disk=disk,
        )
        async with PhoneServer(create_app(answer=switchboard.answer, settings=_settings(audio))) as server:
            yield f"{server.url}/twilio/voice"
        await switchboard.close()


@contextlib.asynccontextmanager
async def _server(model_port: int, audio: str) -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(
            audio,
            openai_api_key="load",
            openai_base_url=f"http://127.0.0.1:{model_port}/v1",
            realtime_model="load",
            data_dir=Path(folder),
        )
        app = create_app(agent=Agent(name="Front desk", instructions="Help the caller."), settings=settings)
        async with PhoneServer(app) as server:
            yield f"{server.url}/twilio/voice"


def _settings(audio: str, **more: Any) -> Settings:
    plain = {"twilio_auth_token": None, "public_url": None, "max_calls": CALLS_MAX}
    return Settings(_env_file=None, realtime_audio=audio, **plain, **more)


# ---- the relay -------------------------------------------------------------------------------------------------------


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
_CONFIG = client.SessionUpdate(session={"type": "realtime", "audio": {"input": _FORMAT, "output": _FORMAT}})


class _RelayPhone(WSListener):
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
                self._model.send(WSMsgType.TEXT, append_frame(message.media.payload.encode()))
        elif message.event == "start":
            self.head = b'{"event":"media","streamSid":"%b","media":{"payload":"' % message.stream_sid.encode()
            self._opening = asyncio.get_running_loop().create_task(self._open())
        elif message.event == "stop":
            transport.send_close()
            transport.disconnect()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        if self._model is not None:
            self._model.disconnect()

    async def _open(self) -> None:
        url = f"ws://127.0.0.1:{self._model_port}/v1/realtime"
        self._model, _ = await ws_connect(lambda: _RelayModel(self), url, logger_name="load.picows")
        self._model.send(WSMsgType.TEXT, encode(_CONFIG))


class _RelayModel(WSListener):
    def __init__(self, phone: _RelayPhone) -> None:
        self._phone = phone

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.TEXT:
            transport.disconnect()
            return
        event = _model_frame(frame.get_payload_as_bytes())
        if event.type == "response.output_audio.delta":
            self._phone.transport.send(WSMsgType.TEXT, self._phone.head + event.delta.encode() + b'"}}')


@contextlib.asynccontextmanager
async def _relay(model_port: int) -> AsyncIterator[str]:
    phones = await ws_create_server(lambda _: _RelayPhone(model_port), "127.0.0.1", 0, logger_name="load.picows")
    try:
        yield f"ws://127.0.0.1:{phones.sockets[0].getsockname()[1]}/"
    finally:
        phones.close()


async def main(pipe: Connection, kind: str, audio: str, model_port: int) -> None:
    """Requests: `url` that phones dial; `clock` -> (CPU seconds of this process, monotonic seconds)."""
    match kind:
        case "relay":
            serving = _relay(model_port)
        case "bridge":
            serving = _bridge(model_port, audio)
        case "server":
            serving = _server(model_port, audio)
        case "sdk":
            serving = agents_sdk(model_port)
        case _:
            serving = _session(model_port, audio, recorded=kind == "recorded")
    async with serving as where:

        async def url() -> str:
            return where

        async def clock() -> tuple[float, float]:
            return time.process_time(), time.monotonic()

        await obey(pipe, {"url": url, "clock": clock})
