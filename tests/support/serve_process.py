"""`realtime-bridge serve` as a process of its own; its model is a scripted one, in the test's process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from pathlib import Path

from support.scripted_model import LoudnessVad, ScriptedBrain, ScriptedRecognizer, ToneVoice

from realtime_bridge.localmodel.parts import Say
from realtime_bridge.localmodel.server import LocalModelServer

REPOSITORY = Path(__file__).parents[2]
PROGRAM = [sys.executable, "-c", "from telephony.cli import main; main()"]
GREETING, GOODBYE = "Hello, how can I help?", "I have to go. Goodbye."


def environment(**settings) -> dict:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **settings}


class ServeProcess:
    """`lines`: what it has logged so far; `rest()` waits for its end."""

    def __init__(self, process: asyncio.subprocess.Process, model: LocalModelServer) -> None:
        self.process = process
        self.model = model
        self.url = ""
        self.lines: list[str] = []
        self._more = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def wait_for(self, pattern: str, *, seconds: float = 20.0) -> re.Match:
        """The first line, already there or still to come, that matches."""
        async with asyncio.timeout(seconds):
            seen = 0
            while True:
                for line in self.lines[seen:]:
                    if found := re.search(pattern, line):
                        return found
                seen = len(self.lines)
                assert not self._reading.done(), f"it ended without a line like {pattern!r}: {self.lines}"
                self._more.clear()
                await self._more.wait()

    async def ended(self, *, seconds: float = 20.0) -> int:
        """Its exit status."""
        status = await asyncio.wait_for(self.process.wait(), seconds)
        await self._reading
        return status

    async def _read(self) -> None:
        async for line in self.process.stderr:
            self.lines.append(line.decode())
            self._more.set()
        self._more.set()


@contextlib.asynccontextmanager
async def serve_process(directory: Path, *arguments: str, brain=None, **settings: str):
    """Started, and listening at `url`. Its agent is `my_company:front_desk`, a module in the directory."""
    model = LocalModelServer(
        brain_factory=brain or (lambda: ScriptedBrain([Say(GREETING)], [Say(GOODBYE)])),
        recognizer=ScriptedRecognizer(),
        voice=ToneVoice(),
        vad_factory=LoudnessVad,
    )
    async with model:
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, "serve", "--agent", "my_company:front_desk", "--port", "0", *arguments,
            env=environment(OPENAI_API_KEY="key", OPENAI_BASE_URL=model.base_url, **settings),
            cwd=directory, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        running = ServeProcess(process, model)
        try:
            running.url = (await running.wait_for(r"Listening on (\S+)"))[1]
            yield running
        finally:
            if process.returncode is None:
                process.terminate()
                process.terminate()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), 3)
            if process.returncode is None:
                process.kill()
            await running.ended()
