"""What is measured: the product in its stages, and what could stand in its place.

    relay       picows on both sides, base64 passed through; no marks, no ledger, no session (see `relays.py`)
    relay-aiohttp, relay-starlette
                the same on aiohttp; on Starlette, uvicorn and the client of `websockets`
    bridge      create_app and TwilioTransport, with a listener that ignores everything
    session     Switchboard: TwilioTransport and RealtimeSession, calls not recorded
    recorded    the same, with tape and recording of every call
    server      the whole server as `realtime-bridge serve` runs it: store, book of calls, steering, metrics, recording
    sdk         a bridge on OpenAI's Agents SDK for Python (see `agents_sdk.py`)
    sdk-js      a bridge on OpenAI's Agents SDK for JavaScript, on Node.js (see `agents_sdk.mjs`)

Each runs in a process of its own, on uvloop, as `realtime-bridge serve` does.
"""

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from load.agents_sdk import agents_sdk
from load.node import NodeBridge, node_bridge
from load.processes import obey
from load.relays import aiohttp_relay, picows_relay, starlette_relay
from openai import AsyncOpenAI

from realtime_bridge import Agent
from realtime_bridge.transport.endpoint import Endpoint
from realtime_bridge.transport.model_socket import ModelSocket
from telephony.app import create_app
from telephony.calls.answering import Switchboard
from telephony.server import PhoneServer
from telephony.settings import Settings
from telephony.stream import PhoneLine
from telephony.transport import TwilioTransport
from telephony.twilio.messages import Start

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
            recording_notice="",
        )
        app = create_app(agent=Agent(name="Front desk", instructions="Help the caller."), settings=settings)
        async with PhoneServer(app) as server:
            yield f"{server.url}/twilio/voice"


def _settings(audio: str, **more: Any) -> Settings:
    plain = {"twilio_auth_token": None, "public_url": None, "max_calls": CALLS_MAX}
    return Settings(_env_file=None, realtime_audio=audio, **plain, **more)


async def main(pipe: Connection, kind: str, audio: str, model_port: int) -> None:
    """Requests: `url` that phones dial; `clock` -> (CPU seconds of the bridge, monotonic seconds)."""
    match kind:
        case "relay":
            serving = picows_relay(model_port)
        case "relay-aiohttp":
            serving = aiohttp_relay(model_port)
        case "relay-starlette":
            serving = starlette_relay(model_port)
        case "bridge":
            serving = _bridge(model_port, audio)
        case "server":
            serving = _server(model_port, audio)
        case "sdk":
            serving = agents_sdk(model_port)
        case "sdk-js":
            serving = node_bridge(os.environ["AGENTS_SDK_JS"], model_port)
        case _:
            serving = _session(model_port, audio, recorded=kind == "recorded")
    async with serving as where:
        elsewhere = where if isinstance(where, NodeBridge) else None

        async def url() -> str:
            return elsewhere.url if elsewhere else where

        async def clock() -> tuple[float, float]:
            return (elsewhere.cpu_s() if elsewhere else time.process_time()), time.monotonic()

        await obey(pipe, {"url": url, "clock": clock})
