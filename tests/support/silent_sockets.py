"""Connections that want nothing but to be in the way: media sockets that never send `start`, and some that never even ask.

    async with SilentSockets(house.url, TOKEN, media=300, mute=200) as silent: ... silent.open

They are opened again as they are dropped. Run as a program this module holds them until it is killed:

    python -m support.silent_sockets http://127.0.0.1:8080 TOKEN 5000 5000
"""

import asyncio
import contextlib
import sys
from urllib.parse import urlsplit

from twilio.request_validator import RequestValidator

from telephony.handoff import MEDIA_PATH
from telephony.listener import allow_open_files

AT_ONCE = 256  # connections under way
PAUSE_S = 0.5  # before one that was dropped is opened again


class SilentSockets:
    """`open`: connections that are there now; `opened`: ever; `upgraded`: media sockets that the server has let in."""

    def __init__(self, url, token, *, media, mute):
        parts = urlsplit(url)
        self._address = (parts.hostname, parts.port)
        # Whoever has seen one upgrade of Twilio's may send its signature again: it is of the URL alone.
        signature = RequestValidator(token).compute_signature(f"ws://{parts.netloc}{MEDIA_PATH}", {})
        self._upgrade = (
            f"GET {MEDIA_PATH} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"X-Twilio-Signature: {signature}\r\n\r\n"
        ).encode()
        self._requests = [self._upgrade] * media + [b""] * mute
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._tasks = []
        self.open = self.opened = self.upgraded = 0

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(self._stay(request)) for request in self._requests]
        return self

    async def __aexit__(self, *_):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _stay(self, request):
        while True:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._once(request)
            await asyncio.sleep(PAUSE_S)

    async def _once(self, request):
        async with self._gate:
            reader, writer = await asyncio.open_connection(*self._address)
            self.open += 1
            self.opened += 1
        try:
            writer.write(request)
            if request:
                status = await reader.readuntil(b"\r\n\r\n")
                self.upgraded += status.startswith(b"HTTP/1.1 101")
            while await reader.read(4096):
                pass
        finally:
            self.open -= 1
            writer.close()


async def _main(url, token, media, mute):
    allow_open_files()
    async with SilentSockets(url, token, media=int(media), mute=int(mute)) as silent:
        while True:
            await asyncio.sleep(1)
            sys.stdout.write(f"{silent.open} {silent.opened} {silent.upgraded}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
