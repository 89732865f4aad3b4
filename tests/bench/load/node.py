"""A bridge that is a program of its own, run by Node.js on the core of the process that starts it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

START_S_MAX = 20.0


class NodeBridge:
    """`url`: what phones dial."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self._process = process
        self.url = url

    def cpu_s(self) -> float:
        """CPU seconds of all its threads, kernel included (proc(5), /proc/pid/stat, fields 14 and 15)."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.asynccontextmanager
async def node_bridge(directory: str, model_port: int) -> AsyncIterator[NodeBridge]:
    """`agents_sdk.mjs`, with the packages below `directory`."""
    program = Path(__file__).with_name("agents_sdk.mjs")
    process = await asyncio.create_subprocess_exec(
        "node", str(program), directory, str(model_port), stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(START_S_MAX):
            url = (await process.stdout.readline()).decode().strip()
        if not url:
            raise RuntimeError(f"{program.name} did not start; its packages are looked for in {directory}/node_modules")
        yield NodeBridge(process, url)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
