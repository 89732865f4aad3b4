"""A chat endpoint on loopback that answers as it is told: real HTTP, real server-sent events."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

Stream = Callable[[], AsyncIterator[str]]


def chunk(
    content: str | None = None, *, calls: list[dict[str, Any]] | None = None, finish: str | None = None
) -> dict[str, Any]:
    delta: dict[str, Any] = {} if content is None else {"content": content}
    if calls is not None:
        delta["tool_calls"] = calls
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def event(data: Any) -> str:
    return f"data: {data if isinstance(data, str) else json.dumps(data)}\n\n"


class ChatEndpoint:
    """`replies`: what each request gets, in order; the last one again and again. A reply is a list of chunks (sent whole,
    with `[DONE]`), a stream of raw text, or (status, body)."""

    def __init__(self, *replies: list[Any] | Stream | tuple[int, Any]) -> None:
        self.replies = list(replies)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.closed_by_client = asyncio.Event()
        self.base_url = ""

    async def _answer(self, request: Request) -> Response:
        self.requests.append(await request.json())
        self.headers.append(dict(request.headers))
        reply = self.replies[min(len(self.requests), len(self.replies)) - 1]
        if isinstance(reply, tuple):
            return JSONResponse(reply[1], status_code=reply[0])
        stream = self._whole(reply) if isinstance(reply, list) else reply()
        return StreamingResponse(self._watched(stream), media_type="text/event-stream")

    async def _whole(self, chunks: list[Any]) -> AsyncIterator[str]:
        for each in chunks:
            yield event(each)
        yield event("[DONE]")

    async def _watched(self, stream: AsyncIterator[str]) -> AsyncIterator[str]:
        try:
            async for text in stream:
                yield text
        except asyncio.CancelledError:
            self.closed_by_client.set()
            raise

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[ChatEndpoint]:
        app = FastAPI()
        app.post("/v1/chat/completions")(self._answer)
        config = uvicorn.Config(app, ws="none", log_config=None, lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
            running = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                yield self
            finally:
                server.should_exit = True
                await running
