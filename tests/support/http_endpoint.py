"""An HTTP server on loopback that answers as a test wishes, badly too: resets, silence, garbage, half an answer."""

import asyncio
import json
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit


@dataclass
class Asked:
    method: str
    target: str
    headers: dict[str, str]
    body: str

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    @property
    def form(self) -> dict[str, list[str]]:
        return parse_qs(self.body, keep_blank_values=True)


def answer(status=200, body=None, *, text=None, **headers) -> bytes:
    content = (text if text is not None else json.dumps({} if body is None else body)).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", "Content-Type: application/json"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


RESET, SILENCE, CLOSE = "reset", "silence", "close"


@dataclass
class HttpEndpoint:
    """`async with HttpEndpoint(handler) as endpoint: endpoint.url`.

    `handler(asked)` returns the answer's bytes, or RESET, SILENCE or CLOSE; or raises, which fails the test's request.
    """

    handler: object
    asked: list[Asked] = field(default_factory=list)
    url: str = ""

    async def __aenter__(self):
        self._tasks = set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader, writer):
        self._tasks.add(asyncio.current_task())
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader, writer) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        asked = Asked(method, target, headers, body.decode())
        self.asked.append(asked)
        answered = self.handler(asked)
        if asyncio.iscoroutine(answered):
            answered = await answered
        match answered:
            case "silence":
                await asyncio.Event().wait()
            case "reset":
                writer.transport.abort()
                return False
            case "close":
                return False
        writer.write(answered)
        await writer.drain()
        return True
