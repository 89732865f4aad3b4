"""The offline model as a server: `/v1/realtime`, as OpenAI's, on FastAPI and uvicorn.

    async with LocalModelServer(brain_factory=…, recognizer=…, voice=…) as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key="any")

Other routes of the same API join the same `app`.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from realtime_bridge.embedded import EmbeddedServer
from realtime_bridge.errors import TransportError
from realtime_bridge.localmodel import whole
from realtime_bridge.localmodel.connection import Connection
from realtime_bridge.localmodel.model_session import Limits, ModelSession
from realtime_bridge.localmodel.parts import Brain, Recognizer, Synthesizer, Vad
from realtime_bridge.localmodel.refusals import Refusal
from realtime_bridge.localmodel.reply import Pace
from realtime_bridge.localmodel.silero import SileroVad
from realtime_bridge.localmodel.speech_work import SpeechWork
from realtime_bridge.wire import encode
from realtime_bridge.wire.client import CLIENT_FRAME_BYTES_MAX

DEFAULT_MODEL = "local"
_START_SECONDS_MAX = 10.0
_STOP_SECONDS_MAX = 3
# Browsers cannot send headers with a WebSocket; OpenAI's clients put the key here.
_KEY_SUBPROTOCOL = "openai-insecure-api-key."
_SUBPROTOCOL = "realtime"


@dataclass(slots=True)
class LocalModel:
    """What all sessions of a server share. `api_key`: whoever does not bring it is turned away; None asks for none."""

    brain_factory: Callable[[], Brain]
    speech: SpeechWork
    vad_factory: Callable[[], Vad] = SileroVad
    api_key: str | None = None
    pace: Pace = field(default_factory=Pace)
    limits: Limits = field(default_factory=Limits)
    sessions_max: int = 64
    sessions: int = 0

    async def serve(self, websocket: WebSocket) -> None:
        """One client, from handshake to close."""
        offered = websocket.scope.get("subprotocols") or []
        await websocket.accept(_SUBPROTOCOL if _SUBPROTOCOL in offered else None)
        if not self._is_known(websocket, offered):
            # As OpenAI does: the upgrade succeeds, then an error and close code 3000.
            refusal = Refusal("Incorrect API key provided.", code="invalid_api_key")
            await _turn_away(websocket, refusal, 3000)
        elif self.sessions >= self.sessions_max:
            refusal = Refusal(f"This server holds {self.sessions_max} sessions at most.", code="too_many_sessions")
            await _turn_away(websocket, refusal, 1013)
        else:
            self.sessions += 1
            try:
                await Connection(websocket, self._session(websocket), self.brain_factory(), self.speech).run()
            finally:
                self.sessions -= 1

    def _session(self, websocket: WebSocket) -> ModelSession:
        return ModelSession(
            model=websocket.query_params.get("model") or DEFAULT_MODEL,
            vad=self.vad_factory(),
            new_id=_new_id,
            now=asyncio.get_running_loop().time(),
            expires_at=int(time.time() + self.limits.session_seconds),
            pace=self.pace,
            limits=self.limits,
        )

    def _is_known(self, websocket: WebSocket, offered: list[str]) -> bool:
        if self.api_key is None:
            return True
        scheme, _, key = websocket.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            key = next(
                (name.removeprefix(_KEY_SUBPROTOCOL) for name in offered if name.startswith(_KEY_SUBPROTOCOL)), ""
            )
        return hmac.compare_digest(key.encode(), self.api_key.encode())


def create_app(model: LocalModel) -> FastAPI:
    app = FastAPI(title="Offline realtime model", docs_url=None, redoc_url=None, openapi_url=None)

    @app.websocket("/v1/realtime")
    async def realtime(websocket: WebSocket) -> None:
        with suppress(WebSocketDisconnect):
            await model.serve(websocket)

    return app


class LocalModelServer:
    """Runs the server in this event loop, from entering to leaving the context.

    `port` 0 takes a free one; `base_url` and `realtime_url` say which. Raises TransportError when it cannot listen.
    """

    def __init__(
        self,
        *,
        brain_factory: Callable[[], Brain],
        recognizer: Recognizer,
        voice: Synthesizer,
        vad_factory: Callable[[], Vad] = SileroVad,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        pace: Pace | None = None,
        limits: Limits | None = None,
        sessions_max: int = 64,
    ) -> None:
        self._speech = SpeechWork(recognizer, voice, vad_factory)
        self._model = LocalModel(
            brain_factory=brain_factory,
            speech=self._speech,
            vad_factory=vad_factory,
            api_key=api_key,
            pace=pace or Pace(),
            limits=limits or Limits(),
            sessions_max=sessions_max,
        )
        self.app = create_app(self._model)
        self._host = host
        self._port = port
        self._serving: asyncio.Task[None] | None = None
        self._server: EmbeddedServer | None = None

    @property
    def base_url(self) -> str:
        """For `AsyncOpenAI(base_url=…)`."""
        return f"http://{self._authority}/v1"

    @property
    def realtime_url(self) -> str:
        return f"ws://{self._authority}/v1/realtime"

    @property
    def sessions(self) -> int:
        """How many clients are connected."""
        return self._model.sessions

    @property
    def _authority(self) -> str:
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    async def __aenter__(self) -> Self:
        listener = self._listen()
        self._port = listener.getsockname()[1]
        self._server = EmbeddedServer(
            uvicorn.Config(
                self.app,
                ws="websockets-sansio",
                ws_max_size=CLIENT_FRAME_BYTES_MAX,
                ws_per_message_deflate=False,  # audio as base64 hardly shrinks
                lifespan="off",
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=_STOP_SECONDS_MAX,
            )
        )
        self._serving = asyncio.create_task(self._server.serve(sockets=[listener]))
        async with asyncio.timeout(_START_SECONDS_MAX):
            await self._server.ready.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        assert self._serving is not None
        self._server.stop.set()
        await self._serving
        self._speech.close()

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((self._host, self._port))
        except OSError as e:
            listener.close()
            raise TransportError(f"cannot listen on {self._authority}: {e.strerror}", retryable=False) from e
        return listener


async def _turn_away(websocket: WebSocket, refusal: Refusal, close_code: int) -> None:
    event = whole.numbered(whole.refused(refusal, None), _new_id("event"))
    await websocket.send_text(encode(event).decode())
    await websocket.close(close_code, f"invalid_request_error.{refusal.code}")


def _new_id(prefix: str) -> str:
    """As long as OpenAI's, and within the 32 characters that an item's id may have."""
    return f"{prefix}_{secrets.token_hex(11)}"
