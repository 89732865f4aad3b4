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
START_S_MAX = 120.0
STOP_S_MAX = 60.0


def environment(**settings: str) -> dict[str, str]:
    """Of a program of ours that is to see these settings, and none of the machine's. Calls begin with the greeting."""
    ours = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    return {**ours, "RECORDING_NOTICE": "off", **settings}


class ServeProcess:
    """A running server. `url`: where it listens; `lines`: what it has logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.url = ""
        self.lines: list[str] = []
        self._more = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    @property
    def log(self) -> str:
        return "\n".join(self.lines)

    async def _read(self) -> None:
        async for raw in self.process.stderr:
            self.lines.append(raw.decode(errors="replace").rstrip())
            self._more.set()
        self._more.set()

    async def wait_for(self, pattern: str, *, seconds: float = 120.0) -> re.Match[str]:
        """The first line, already there or still to come, that matches."""
        async with asyncio.timeout(seconds):
            seen = 0
            while True:
                for line in self.lines[seen:]:
                    if found := re.search(pattern, line):
                        return found
                seen = len(self.lines)
                assert not self._reading.done(), f"it ended without a line like {pattern!r}:\n{self.log}"
                self._more.clear()
                await self._more.wait()

    async def ended(self, *, seconds: float = 120.0) -> int:
        """Its exit status."""
        status = await asyncio.wait_for(self.process.wait(), seconds)
        await self._reading
        return status

    def signal(self, number: int) -> None:
        if self.process.returncode is None:
            self.process.send_signal(number)

    async def stop(self) -> int:
        """SIGTERM, twice, since nobody is to wait for calls; killed when that takes too long. Returns the exit status."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGTERM)
        try:
            return await self.ended(seconds=STOP_S_MAX)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            return await self.ended()


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
        env=environment(**settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    server = ServeProcess(process)
    try:
        server.url = (await server.wait_for(r"Listening on (\S+)", seconds=START_S_MAX))[1]
        yield server
    finally:
        await server.stop()


def free_port() -> int:
    """A port that was free a moment ago, for servers that must know theirs before they start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
