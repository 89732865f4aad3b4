"""`realtime-bridge call` and `numbers` as programs, against a simulated Twilio and a model in a process of its own."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from support.model_process import ModelProcess
from support.phone_house import NUMBER, phone_house
from support.server_process import free_port
from support.twilio_application import TOKEN, Twilio

from telephony.cli import main
from telephony.testing import HangUp, WaitForAgent
from telephony.testing.twilio import Busy, Human

REPOSITORY = Path(__file__).parents[3]
ANN, BOB, CAL = "+14155551001", "+14155551002", "+14155551003"
SCRIPT = {"greeting": "Hello, this is the front desk.", "rules": [{"heard": ["bye"], "say": "Bye."}]}
AGENT = "from realtime_bridge import Agent\nagent = Agent(name='Front desk', instructions='Greet.')\n"


async def run(directory, environment, *arguments, seconds=120):
    """(exit status, stdout, stderr) of the program."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from telephony.cli import main; main()", *arguments,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **environment},
        cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(), seconds)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode, out.decode(), err.decode()


def people(twilio):
    twilio.person(ANN, Human([WaitForAgent(), HangUp()]), answers_after_s=0.3)
    twilio.person(BOB, Busy())
    twilio.permissions.refused[CAL] = 21215


def environment(twilio, url, **more):
    return {
        "TWILIO_ACCOUNT_SID": twilio.account_sid, "TWILIO_AUTH_TOKEN": TOKEN, "TWILIO_API_BASE_URL": twilio.url,
        "TWILIO_NUMBER": NUMBER, "PUBLIC_URL": url, "PORT": url.rpartition(":")[2], "DATA_DIR": "data",
        "RECORDING_NOTICE": "off", **more,
    }  # fmt: skip


def test_without_a_server_the_command_serves_the_call_itself_and_shows_it(tmp_path):
    async def scenario():
        (tmp_path / "house.py").write_text(AGENT)
        (tmp_path / "script.json").write_bytes(msgspec.json.encode(SCRIPT))
        model = ModelProcess(
            ["--script", str(tmp_path / "script.json"), "--session-seconds", "3600", "--speed", "4", "--hears"],
            scripted=True,
        )
        async with model, Twilio() as twilio:
            people(twilio)
            twilio.number(NUMBER)
            at = environment(
                twilio,
                f"http://127.0.0.1:{free_port()}",
                OPENAI_API_KEY="sk-offline-0123456789",
                OPENAI_BASE_URL=model.url,
            )
            status, out, err = await run(tmp_path, at, "call", ANN, "--agent", "house:agent", "--json")
            assert status == 0, err
            result = json.loads(out)
            assert (result["ok"], result["status"]) == (True, "completed")
            assert result["transcript"] == [{"role": "assistant", "text": SCRIPT["greeting"], "cut": False}]
            for told in ("Serving this call", "answered", "Front desk", SCRIPT["greeting"], "completed"):
                assert told in err, err
            assert ANN not in err
            astray = at | {"PUBLIC_URL": twilio.url}
            status, _, err = await run(tmp_path, astray, "call", BOB, "--agent", "house:agent")
            assert status == 2
            assert "answers HTTP 404, and not as this server does; let it lead to http://127.0.0.1:" in err
            assert twilio.calls_to(BOB) == []

    asyncio.run(scenario())


def test_a_running_server_places_the_call_by_its_api_and_the_token_is_gone_afterwards(tmp_path):
    async def scenario():
        async with phone_house(tmp_path, script=SCRIPT) as house:
            people(house.twilio)
            at = environment(house.twilio, house.url)
            status, out, err = await run(tmp_path, at, "call", ANN, "--parameter", "order=A 17", "--json")
            assert status == 0, err
            assert f"The server at {house.url} places the call" in err
            row = await house.stored(json.loads(out)["call_sid"])
            assert (row.parameters, row.direction) == ({"order": "A 17"}, "outbound")
            async with house.store() as store:
                assert all(token.revoked_at is not None for token in await store.access.list())

            async def refused(number, *more):
                status, out, err = await run(tmp_path, at, "call", number, "--json", *more)
                return status, json.loads(out)["reason"], json.loads(out)["code"], err

            status, reason, code, err = await refused(CAL)
            assert (status, reason, code) == (1, "settings", 21215)
            assert "Geo permissions" in err
            assert (await refused("4155551001"))[:2] == (2, "not_a_number")
            status, out, _ = await run(tmp_path, at, "call", BOB, "--json")
            assert (status, json.loads(out)["status"]) == (1, "busy")

    asyncio.run(scenario())


@pytest.fixture
def command(empty_directory, monkeypatch, capsys):
    """Runs the program in this process: `status, out, err = await command(environment, *arguments)`"""

    def run_main(arguments):
        try:
            main(list(arguments))
        except SystemExit as left:
            return left.code or 0
        return 0

    async def run_command(settings, *arguments):
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        status = await asyncio.to_thread(run_main, arguments)
        return status, *capsys.readouterr()

    return run_command


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["call", ANN, "--parameter", "x"], 2, "NAME=VALUE"),
        (["call"], 2, "Missing argument"),
        (["numbers", "attach", NUMBER], 2, "PUBLIC_URL"),
        (["numbers", "list"], 2, "TWILIO_ACCOUNT_SID"),
    ],
)
def test_wrong_usage_exits_with_2(command, arguments, status, said):
    left, _, err = asyncio.run(command({}, *arguments))
    assert left == status
    assert said in err


def test_a_number_is_listed_attached_and_listed_as_here(command):
    async def scenario():
        async with Twilio() as twilio:
            twilio.number(NUMBER, voice_url="https://demo.twilio.com/welcome/voice/")
            at = environment(twilio, "http://127.0.0.1:9")
            status, out, _ = await command(at, "numbers", "list", "--json")
            assert status == 0
            assert [(each["number"], each["here"]) for each in json.loads(out)] == [(NUMBER, False)]
            status, out, err = await command(at, "numbers", "attach", NUMBER)
            assert status == 0, err
            assert "https://demo.twilio.com/welcome/voice/  http://127.0.0.1:9/twilio/voice" in out
            assert twilio.numbers[NUMBER].status_callback == "http://127.0.0.1:9/twilio/status"
            status, out, _ = await command(at, "numbers", "attach", NUMBER, "--json")
            assert (status, json.loads(out)["before"]["here"]) == (0, True)
            status, _, err = await command(at, "numbers", "attach", "+14155559999")
            assert (status, "no number of this account" in err) == (1, True)
            status, _, err = await command(at | {"TWILIO_AUTH_TOKEN": "old"}, "numbers", "list")
            assert (status, "credentials are wrong" in err) == (1, True)

    asyncio.run(scenario())
