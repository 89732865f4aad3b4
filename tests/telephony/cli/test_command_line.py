"""The program `realtime-bridge` as users start it: help, exit status, a server that starts and stops."""

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.phone_server import closed_with, http, phone
from websockets.asyncio.client import connect

REPOSITORY = Path(__file__).parents[3]
PROGRAM = [sys.executable, "-c", "from telephony.cli import main; main()"]
ECHO = """
from telephony.twilio.media_stream import MediaStreamWriter
from telephony.twilio.messages import Media

class Echo:
    def __init__(self, start, line):
        self.line, self.writer = line, MediaStreamWriter(start.stream_sid)
    def on_message(self, message, frame):
        if isinstance(message, Media):
            self.line.send(self.writer.media_base64(message.payload))
    def on_problem(self, problem): pass
    def on_disconnect(self, reason): pass
"""


def environment(**settings) -> dict:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **settings}


def run(*arguments, cwd=None, **settings):
    return subprocess.run(
        [*PROGRAM, *arguments],
        env=environment(**settings), cwd=cwd, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def served(tmp_path, *arguments, **settings):
    """`realtime-bridge serve` as a process: (process, its URL)"""
    (tmp_path / "line.py").write_text(ECHO)
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "serve", "--agent", "line:Echo", "--port", "0", *arguments,
        env=environment(**settings), cwd=tmp_path, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            async for line in process.stderr:
                if found := re.search(rb"Listening on (\S+)", line):
                    break
        yield process, found[1].decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def test_help_shows_the_commands_and_an_example():
    shown = run("--help")
    assert shown.returncode == 0
    assert "serve" in shown.stdout
    assert "Example: realtime-bridge serve" in " ".join(shown.stdout.split())
    for command in ("serve", "settings"):
        assert f"Example: realtime-bridge {command}" in " ".join(run(command, "--help").stdout.split())


def test_help_imports_nothing_slow():
    program = "import sys, telephony.cli; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=30, check=True
    ).stdout.split()
    assert not {"numpy", "openai", "fastapi", "pydantic", "twilio", "uvicorn", "picows", "rich"} & set(loaded)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_served_call_flows_and_a_signal_ends_it_in_order(tmp_path, stop):
    async def scenario():
        async with served(tmp_path, LOG_FORMAT="json", LOG_LEVEL="warning") as (process, url):
            writer = phone()
            async with connect(url.replace("http", "ws", 1) + "/twilio/media") as socket:
                await socket.send(writer.start({"token": await token_for_url(url)}), text=True)
                await socket.send(writer.media(b"\x7f" * 160, 0), text=True)
                assert '"payload":"f39/' in await socket.recv()
                process.send_signal(stop)
                assert await closed_with(socket) == (1001, "the server stops")
            assert await asyncio.wait_for(process.wait(), 10) == 0
            assert await process.stderr.read() == b""

    async def token_for_url(url):
        _, twiml = await http(url + "/twilio/voice", {"CallSid": "CA4567"})
        return re.search('name="token" value="([^"]+)"', twiml).group(1)

    asyncio.run(scenario())


def test_an_address_in_use_exits_with_1(tmp_path):
    async def scenario():
        async with served(tmp_path) as (_, url):
            return run("serve", "--agent", "line:Echo", "--port", url.rpartition(":")[2], cwd=tmp_path)

    failed = asyncio.run(scenario())
    assert failed.returncode == 1
    assert "cannot listen on 127.0.0.1" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["serve", "--agent", "line:Echo", "--host", "0.0.0.0"], {}, "TWILIO_AUTH_TOKEN"),
        (["serve", "--agent", "nowhere:agent"], {}, "no module 'nowhere'"),
        (["serve", "--port", "http"], {}, "--port"),
        (["settings"], {"PORT": "x"}, "PORT: "),
        (["nope"], {}, "nope"),
    ],
)
def test_wrong_usage_and_wrong_settings_exit_with_2_and_say_why(tmp_path, arguments, settings, said):
    (tmp_path / "line.py").write_text(ECHO)
    failed = run(*arguments, cwd=tmp_path, **settings)
    assert (failed.returncode, failed.stdout) == (2, "")
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr


def test_the_settings_command_prints_the_table():
    shown = run("settings", OPENAI_API_KEY="hunter2", PORT="9000")
    assert shown.returncode == 0
    assert "hunter2" not in shown.stdout
    lines = {line.split()[0]: line.split() for line in shown.stdout.splitlines()[1:]}
    assert lines["PORT"][1:3] == ["9000", "set"]
    assert lines["HOST"][1:3] == ["127.0.0.1", "default"]
    assert run("settings", "--json").stdout.startswith("[\n")
