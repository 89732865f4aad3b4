"""The program `realtime-bridge` as users start it: help, exit status, a server that starts and stops."""

import asyncio
import contextlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from support.phone_server import CALL, closed_with, phone, token_at
from support.scripted_model import LoudnessVad, ScriptedBrain, ScriptedRecognizer, ToneVoice
from websockets.asyncio.client import connect

from realtime_bridge.localmodel.parts import Say
from realtime_bridge.localmodel.server import LocalModelServer
from telephony.cli import main
from telephony.settings import Settings
from telephony.twilio.media_stream import decode_command
from telephony.twilio.messages import PlayMedia

REPOSITORY = Path(__file__).parents[3]
PROGRAM = [sys.executable, "-c", "from telephony.cli import main; main()"]
AGENT = "from realtime_bridge import Agent\nfront_desk = Agent(name='Front desk', instructions='Greet.')\n"


@pytest.fixture
def company(tmp_path, monkeypatch):
    """The current directory, with an agent in it; no settings, and the log configured as it was when all is over."""
    (tmp_path / "my_company.py").write_text(AGENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path


def environment(**settings) -> dict:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **settings}


def run(*arguments, cwd=None, **settings):
    return subprocess.run(
        [*PROGRAM, *arguments],
        env=environment(**settings), cwd=cwd, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def served(directory, *arguments, **settings):
    """`realtime-bridge serve` as a process, its model a scripted one in this process: (process, its URL)"""
    model = LocalModelServer(
        brain_factory=lambda: ScriptedBrain([Say("Hello, how can I help?")]),
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
    assert not {"numpy", "openai", "fastapi", "pydantic", "twilio", "uvicorn", "picows"} & set(loaded)


def test_a_caller_is_greeted_and_a_signal_ends_the_call_in_order(company):
    async def scenario():
        async with served(company, LOG_FORMAT="json", LOG_LEVEL="warning") as (process, url):
            writer = phone()
            async with connect(url.replace("http", "ws", 1) + "/twilio/media") as line:
                await line.send(writer.start({"token": await token_at(url)}), text=True)
                async with asyncio.timeout(10):
                    while not isinstance(command := decode_command(await line.recv()), PlayMedia):
                        pass
                assert command.mulaw
                process.send_signal(signal.SIGTERM)
                assert await closed_with(line) == (1001, "the server stops")
            assert await asyncio.wait_for(process.wait(), 15) == 0
            assert await process.stderr.read() == b""

    asyncio.run(scenario())
    assert [path.name for path in (company / "data" / "calls").iterdir()] == [CALL]


def test_an_address_in_use_exits_with_1(company):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = ("serve", "--agent", "my_company:front_desk", "--port", str(taken.getsockname()[1]))
        failed = run(*arguments, cwd=company, OPENAI_API_KEY="key")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("realtime-bridge: cannot listen on 127.0.0.1")


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["serve", "--agent", "my_company:front_desk", "--host", "0.0.0.0"], {}, "TWILIO_AUTH_TOKEN"),
        (["serve", "--agent", "nowhere:agent"], {}, "no module 'nowhere'"),
        (["serve", "--port", "http"], {}, "--port"),
        (["settings"], {"PORT": "x"}, "PORT: "),
        (["nope"], {}, "nope"),
    ],
)
@pytest.mark.usefixtures("company")
def test_wrong_usage_and_wrong_settings_exit_with_2_and_say_why(monkeypatch, capsys, arguments, settings, said):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as left:
        main(arguments)
    said_on = capsys.readouterr()
    assert (left.value.code, said_on.out) == (2, "")
    assert said in said_on.err


def test_a_wrong_setting_ends_the_process_without_a_traceback():
    failed = run("settings", PORT="x")
    assert (failed.returncode, failed.stdout) == (2, "")
    assert (
        failed.stderr
        == "realtime-bridge: PORT: Input should be a valid integer, unable to parse string as an integer\n"
    )


def test_the_settings_command_prints_the_table():
    shown = run("settings", OPENAI_API_KEY="hunter2", PORT="9000")
    assert shown.returncode == 0
    assert "hunter2" not in shown.stdout
    lines = {line.split()[0]: line.split() for line in shown.stdout.splitlines()[1:]}
    assert lines["PORT"][1:3] == ["9000", "set"]
    assert lines["HOST"][1:3] == ["127.0.0.1", "default"]
    assert run("settings", "--json").stdout.startswith("[\n")
