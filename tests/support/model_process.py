"""The offline model in a process of its own that can be killed and started again on the same port.

    async with ModelProcess(["--session-seconds", "20"]) as model: ... await model.kill(); await model.start()

`scripted=True`: with ears and a voice that need no weights (see `scripted_model`); it starts in a second. Run as a program
this module is that process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

START_S_MAX = 120.0
TESTS = Path(__file__).parent.parent
REAL = ["-c", "from telephony.cli import main; main()", "local-model"]
SCRIPTED = ["-m", "support.model_process"]


class ModelProcess:
    """`url`: for `AsyncOpenAI(base_url=…)`, the same before and after a restart."""

    def __init__(self, arguments: Sequence[str], *, scripted: bool = False) -> None:
        self._program = SCRIPTED if scripted else REAL
        self._arguments = arguments
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self, arguments: Sequence[str] | None = None) -> None:
        """Returns when it listens. `arguments`: others than before."""
        self._arguments = arguments or self._arguments
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *self._program,
            *("--port", str(self._port)),
            *self._arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"},
        )
        assert self._process.stderr is not None
        lines = []
        async with asyncio.timeout(START_S_MAX):
            while line := (await self._process.stderr.readline()).decode():
                lines.append(line)
                if line.startswith("Listening on "):
                    self._port = int(line.split("/v1")[0].rpartition(":")[2])
                    self._reader = asyncio.create_task(self._drain(self._process.stderr))
                    return
        raise RuntimeError("the model did not start:\n" + "".join(lines))

    async def kill(self) -> None:
        """SIGKILL: it says nothing to anybody."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGKILL)
        await process.wait()
        await self._reader

    async def _drain(self, stderr: asyncio.StreamReader) -> None:
        while await stderr.readline():
            pass


async def _serve(options: argparse.Namespace) -> None:
    from support.scripted_model import LoudnessVad, ScriptedRecognizer, ToneVoice

    from realtime_bridge.localmodel.brains.selection import brain_for
    from realtime_bridge.localmodel.model_session import Limits
    from realtime_bridge.localmodel.reply import Pace
    from realtime_bridge.localmodel.server import LocalModelServer

    server = LocalModelServer(
        brain_factory=brain_for(options.script, None),
        recognizer=ScriptedRecognizer(*options.hears),
        voice=ToneVoice(),
        vad_factory=LoudnessVad,
        port=options.port,
        pace=Pace(speed=options.speed),
        limits=Limits(session_seconds=options.session_seconds),
    )
    async with server:
        sys.stderr.write(f"Listening on {server.base_url}\n")
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--script", type=Path)
    parser.add_argument("--session-seconds", type=float)
    parser.add_argument("--speed", type=float)
    parser.add_argument("--hears", nargs="*", default=[])
    asyncio.run(_serve(parser.parse_args()))
