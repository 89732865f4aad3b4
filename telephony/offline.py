"""The offline model in a process of its own, for whoever needs one beside a phone server.

A process, since recognising speech keeps a core busy for tens of milliseconds at a time: in the server's own process
every call's audio would wait for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import logging
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from realtime_bridge.errors import MisuseError, TransportError

log = logging.getLogger(__name__)

START_S_MAX = 60.0  # the first start on a slow disk reads some 100 MB
STOP_S_MAX = 5.0
LINES_KEPT = 20
OFFLINE_KEY = "offline"  # what its clients bring, whatever LOCAL_MODEL_API_KEY says to other servers
_LISTENING = "Listening on "
_PARTS = ("onnxruntime", "hibari", "moonshine_voice", "rapidfuzz", "yaml")


def require_offline_parts() -> None:
    """Raises MisuseError, which says what to install, when the offline model's packages are missing."""
    missing = [name for name in _PARTS if importlib.util.find_spec(name) is None]
    if missing:
        raise MisuseError(
            f"the offline model needs {', '.join(missing)}: install it with pip install 'realtime-bridge[local]', "
            "or set OPENAI_API_KEY to use OpenAI's model"
        )


@asynccontextmanager
async def offline_model(script: Path | None = None) -> AsyncIterator[str]:
    """Runs `realtime-bridge local-model`; gives its base URL, for `AsyncOpenAI(base_url=…, api_key=OFFLINE_KEY)`.

    Raises MisuseError when its packages are missing, TransportError when it does not start.
    """
    require_offline_parts()
    arguments = ["local-model", "--port", "0", *(["--script", str(script)] if script is not None else [])]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        "from telephony.offline import end_with_parent; end_with_parent(); from telephony.cli import main; main()",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        start_new_session=True,  # a terminal's Ctrl-C is for us: callers are still told goodbye, by this model
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "LOCAL_MODEL_API_KEY": OFFLINE_KEY, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stderr is not None
    last_lines: deque[str] = deque(maxlen=LINES_KEPT)
    try:
        url = await _url(process.stderr, last_lines)
        draining = asyncio.create_task(_drain(process.stderr, last_lines))
        try:
            yield url
        finally:
            draining.cancel()
    finally:
        await _stop(process)


def end_with_parent() -> None:
    """In the model's process: when whoever started it is gone, however that came, end too."""

    def wait() -> None:
        os.read(0, 1)  # nothing is ever sent: it returns at the pipe's end
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent's watch", daemon=True).start()


async def _url(stderr: asyncio.StreamReader, last_lines: deque[str]) -> str:
    try:
        async with asyncio.timeout(START_S_MAX):
            while raw := await stderr.readline():
                line = raw.decode(errors="replace").rstrip()
                last_lines.append(line)
                if line.startswith(_LISTENING):
                    return line.removeprefix(_LISTENING).split()[0]
    except TimeoutError as e:
        raise TransportError(f"the offline model did not start within {START_S_MAX:g} s") from e
    raise TransportError("the offline model did not start:\n" + "\n".join(last_lines), retryable=False)


async def _drain(stderr: asyncio.StreamReader, last_lines: deque[str]) -> None:
    """A pipe that nobody reads would stop the process."""
    while raw := await stderr.readline():
        line = raw.decode(errors="replace").rstrip()
        last_lines.append(line)
        log.debug("offline model: %s", line)


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(STOP_S_MAX):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
