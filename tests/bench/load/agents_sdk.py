"""A phone bridge on OpenAI's Agents SDK for Python, as its users build one: FastAPI, its RealtimeSession, G.711 throughout.

Each frame goes to the model as it comes; each piece of audio goes to the phone with a mark behind it.
"""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator

from agents import set_tracing_disabled
from agents.realtime import RealtimeAgent, RealtimeRunner
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from load.relays import serving

G711 = {"input_audio_format": "g711_ulaw", "output_audio_format": "g711_ulaw"}
TURNS = {"turn_detection": {"type": "server_vad", "interrupt_response": True}}


@contextlib.asynccontextmanager
async def agents_sdk(model_port: int) -> AsyncIterator[str]:
    """The URL that phones dial."""
    set_tracing_disabled(True)
    app = FastAPI()

    @app.websocket("/media")
    async def media(phone: WebSocket) -> None:
        await phone.accept()
        runner = RealtimeRunner(RealtimeAgent(name="Front desk", instructions="Help the caller."))
        config = {
            "url": f"ws://127.0.0.1:{model_port}/v1/realtime?model=load",
            "api_key": "load",
            "initial_model_settings": {**G711, **TURNS},
        }
        async with await runner.run(model_config=config) as session:
            speaking = None
            try:
                while True:
                    message = json.loads(await phone.receive_text())
                    if message["event"] == "start":
                        speaking = asyncio.create_task(speak(phone, session, message["start"]["streamSid"]))
                    elif message["event"] == "media":
                        await session.send_audio(base64.b64decode(message["media"]["payload"]))
                    elif message["event"] == "stop":
                        return
            except WebSocketDisconnect:
                pass
            finally:
                if speaking is not None:
                    speaking.cancel()

    async def speak(phone: WebSocket, session: object, stream_sid: str) -> None:
        count = 0
        async for event in session:
            if event.type == "audio":
                payload = base64.b64encode(event.audio.data).decode()
                await phone.send_text(
                    json.dumps({"event": "media", "streamSid": stream_sid, "media": {"payload": payload}})
                )
                count += 1
                await phone.send_text(
                    json.dumps({"event": "mark", "streamSid": stream_sid, "mark": {"name": f"m{count}"}})
                )
            elif event.type == "audio_interrupted":
                await phone.send_text(json.dumps({"event": "clear", "streamSid": stream_sid}))

    async with serving(app) as url:
        yield url
