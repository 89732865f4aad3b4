"""Reads each request's body whole before anything else does, within a size and a time: no request can fill the memory."""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from telephony.api.problems import Problem

BODY_BYTES_MAX: Final = 64 * 1024
BODY_SECONDS_MAX: Final = 10.0


class BodyLimit:
    """ASGI middleware: 413 for a body that is too large, 408 for one that takes too long."""

    def __init__(self, app: ASGIApp, *, bytes_max: int = BODY_BYTES_MAX, seconds_max: float = BODY_SECONDS_MAX) -> None:
        self._app = app
        self._bytes_max = bytes_max
        self._seconds_max = seconds_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds_max):
                body = await self._read(receive)
        except TimeoutError:
            problem = Problem(408, "request-timeout", f"Send the whole request within {self._seconds_max:g} s.")
            await problem.response()(scope, receive, send)
            return
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        if body is None:
            return  # the client has gone
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _read(self, receive: Receive) -> bytes | None:
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > self._bytes_max:
                raise Problem(413, "too-large", f"A request's body has at most {self._bytes_max} bytes.")
            if not message.get("more_body", False):
                return bytes(body)
