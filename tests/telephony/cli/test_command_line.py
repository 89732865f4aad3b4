"""The program `realtime-bridge` as users start it: help, exit status, what it says of mistakes."""

import socket
import subprocess
import sys

import pytest
from support.server_process import PROGRAM, environment

from telephony.cli import main

AGENT = "from realtime_bridge import Agent\nfront_desk = Agent(name='Front desk', instructions='Greet.')\n"


@pytest.fixture
def company(empty_directory, monkeypatch):
    """The current directory, with an agent in it."""
    (empty_directory / "my_company.py").write_text(AGENT)
    monkeypatch.setattr(sys, "path", sys.path[:])
    return empty_directory


def run(*arguments, cwd=None, **settings):
    return subprocess.run(
        [*PROGRAM, *arguments],
        env=environment(**settings), cwd=cwd, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


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
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=120, check=True
    ).stdout.split()
    assert not {"numpy", "openai", "fastapi", "pydantic", "twilio", "uvicorn", "picows"} & set(loaded)


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
