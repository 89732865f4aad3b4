"""`realtime-bridge serve` on a port, and with settings, that a test chooses: what it talks to is the test's affair."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-c", "from telephony.cli import main; main()"]
START_S_MAX = 30.0
STOP_S_MAX = 10.0


class ServeProcess:
    """A running server. `url`: where it listens; `lines`: what it has logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.url = ""
        self.lines: list[str] = []
        self._listening = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    async def _read(self) -> None:
        async for raw in self.process.stderr:
            line = raw.decode(errors="replace").rstrip()
            self.lines.append(line)
            if not self.url and (found := re.search(r"Listening on (\S+)", line)):
                self.url = found[1]
                self._listening.set()
        self._listening.set()

    async def until_listening(self) -> None:
        async with asyncio.timeout(START_S_MAX):
            await self._listening.wait()
        assert self.url, f"the server did not start:\n{self.log}"

    def signal(self, number: int) -> None:
        if self.process.returncode is None:
            self.process.send_signal(number)

    async def stop(self) -> int:
        """SIGTERM; killed when that takes too long. Returns the exit status."""
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S_MAX):
                await self.process.wait()
        except TimeoutError:
            self.signal(signal.SIGKILL)
        await self._reading
        return await self.process.wait()


@contextlib.asynccontextmanager
async def serve(directory: Path, *arguments: str, port: int = 0, **settings: str) -> AsyncIterator[ServeProcess]:
    """Start it in this directory, where it keeps its data; wait until it listens; stop it at the end.

    `settings`: environment variables; nothing else of ours is passed on.
    """
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        "serve",
        "--port",
        str(port),
        *arguments,
        cwd=directory,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", **settings},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    server = ServeProcess(process)
    try:
        await server.until_listening()
        yield server
    finally:
        await server.stop()


def free_port() -> int:
    """A port that was free a moment ago, for servers that must know theirs before they start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
