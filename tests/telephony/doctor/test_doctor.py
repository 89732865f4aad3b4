"""The doctor finds each mistake that is planted in a healthy set-up, nothing else, and nothing once it is mended."""

import asyncio
import base64
import contextlib
import json
import os
import socket
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from support.http_endpoint import HttpEndpoint, answer
from support.server_process import free_port

from realtime_bridge.tape import TapeKey
from realtime_bridge.tape.sealed import seal
from telephony.app import create_app
from telephony.cli import main
from telephony.doctor.examination import examine, read_settings
from telephony.doctor.here import check_names, check_spool
from telephony.doctor.outside import check_openai
from telephony.doctor.recordings import check_recordings
from telephony.doctor.webhooks import status_url, voice_url
from telephony.server import PhoneServer
from telephony.settings import Settings
from telephony.store.spool import Spool
from telephony.testing.twilio import TwilioSimulator, murmur

NUMBER, OTHER, TOKEN = "+14155550100", "+14155550111", "the-auth-token"
KEY = base64.b64encode(bytes(32)).decode()
AGENTS = """
from realtime_bridge import Agent, tool

@tool
def look_up(order: str) -> str:
    "Look an order up."
    return order

agent = Agent(name="Front desk", instructions="Greet.", tools=[look_up])
twice = Agent(name="Front desk", instructions="Greet.", tools=[look_up, look_up])
"""
BROKEN = """
from realtime_bridge import Agent, tool

@tool
def look_up(order) -> str:
    "Look an order up."
    return order.missing(

agent = Agent(name="Front desk", instructions="Greet.", tools=[look_up])
"""


class SetUp:
    """A company where everything is right: settings, agent, model, Twilio, and the server itself."""

    def __init__(self, directory, twilio, openai, stranger, port):
        self.directory, self.twilio, self.stranger = directory, twilio, stranger
        self.ahead = timedelta(0)
        self.healthy = {
            "OPENAI_API_KEY": "sk-right",
            "OPENAI_BASE_URL": openai.url + "/v1",
            "TWILIO_ACCOUNT_SID": twilio.account_sid,
            "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_API_BASE_URL": twilio.url,
            "TWILIO_NUMBER": NUMBER,
            "PUBLIC_URL": f"http://127.0.0.1:{port}",
            "PORT": str(port),
            "AGENT": "my_company:agent",
            "DATA_DIR": str(directory / "data"),
            "RECORDING_KEY": KEY,
        }
        self.settings = dict(self.healthy)

    def into_environment(self, monkeypatch):
        for name in Settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        for name, value in self.settings.items():
            monkeypatch.setenv(name, value)

    async def examine(self, monkeypatch):
        self.into_environment(monkeypatch)
        settings = read_settings()
        if isinstance(settings, list):
            return settings
        return await examine(settings, clock=lambda: datetime.now(UTC) + self.ahead)

    def attach(self, **changed):
        url = self.healthy["PUBLIC_URL"]
        urls = {"voice_url": voice_url(url), "status_callback": status_url(url)}
        self.twilio.number(NUMBER, **(urls | changed))


def models(asked):
    if asked.headers.get("authorization") != "Bearer sk-right":
        return answer(401, {"error": {"code": "invalid_api_key"}})
    return answer(200, {"data": [{"id": "gpt-realtime"}]}, Date=format_datetime(datetime.now(UTC), usegmt=True))


@contextlib.asynccontextmanager
async def healthy(directory, monkeypatch):
    (directory / "my_company.py").write_text(AGENTS)
    (directory / "broken_company.py").write_text(BROKEN)
    (directory / "a_file").write_text("")
    monkeypatch.chdir(directory)
    monkeypatch.setattr(sys, "path", sys.path[:])
    async with (
        HttpEndpoint(models) as openai,
        HttpEndpoint(lambda _: answer(200, text="<html>It works!</html>")) as stranger,
        TwilioSimulator(auth_token=TOKEN, speech=murmur) as twilio,
    ):
        set_up = SetUp(directory, twilio, openai, stranger, free_port())
        set_up.attach()
        given = {name.lower(): value for name, value in set_up.healthy.items()}
        app = create_app(settings=Settings(_env_file=None, **given))
        async with PhoneServer(app, port=int(set_up.healthy["PORT"])):
            yield set_up


def setting(**values):
    return lambda set_up: set_up.settings.update(values)


def stranger_at(name):
    return lambda set_up: set_up.settings.update({name: set_up.stranger.url})


def stranger_on_our_port(set_up):
    set_up.settings["PORT"] = set_up.stranger.url.rpartition(":")[2]


def clock_ahead(set_up):
    set_up.ahead = timedelta(minutes=4)


def nobody_at_public_url(set_up):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        set_up.settings["PUBLIC_URL"] = "http://127.0.0.1:{}".format(taken.getsockname()[1])  # noqa: UP032 - quotes
    set_up.attach(
        voice_url=voice_url(set_up.settings["PUBLIC_URL"]), status_callback=status_url(set_up.settings["PUBLIC_URL"])
    )


def record_set_aside(set_up):
    damaged = set_up.directory / "elsewhere" / "spool" / "damaged"
    damaged.mkdir(parents=True)
    (damaged / "00000000000000000001-1-0.json").write_text("{")
    set_up.settings["DATA_DIR"] = str(set_up.directory / "elsewhere")


# what was done wrong -> (how to do it, which check tells, where it says the mistake is, what it says to do)
MISTAKES = {
    "a setting that is no value": (setting(MAX_CALLS="many"), "settings", "MAX_CALLS", "realtime-bridge settings"),
    "half of an API key": (setting(TWILIO_API_KEY_SID="SK" + "0" * 32), "settings", "environment", "set both"),
    "a server open to strangers": (setting(TWILIO_AUTH_TOKEN="", HOST="0.0.0.0"), "settings", "HOST", "Set it"),
    "a wrong OpenAI key": (setting(OPENAI_API_KEY="sk-wrong"), "openai", "OPENAI_API_KEY", "make a key"),
    "a model that is not there": (setting(REALTIME_MODEL="gpt-surreal"), "openai", "REALTIME_MODEL", "name one"),
    "a base URL of something else": (stranger_at("OPENAI_BASE_URL"), "openai", "OPENAI_BASE_URL", "openai.com/v1"),
    "a wrong Twilio token": (setting(TWILIO_AUTH_TOKEN="old-token"), "twilio", "TWILIO_AUTH_TOKEN", "copy"),
    "a number of somebody else": (setting(TWILIO_NUMBER=OTHER), "number", "TWILIO_NUMBER", "one of these"),
    "a number that points elsewhere": (
        lambda set_up: set_up.attach(voice_url="https://demo.twilio.com/welcome/voice/"),
        "webhooks", f"Twilio's number {NUMBER}", f"numbers attach {NUMBER}",
    ),
    "a number whose news go nowhere": (
        lambda set_up: set_up.attach(status_callback=""), "webhooks", f"Twilio's number {NUMBER}", "numbers attach",
    ),
    "a public URL that leads nowhere": (nobody_at_public_url, "public url", "PUBLIC_URL", "serve"),
    "a public URL of another server": (stranger_at("PUBLIC_URL"), "public url", "PUBLIC_URL", "HOST and PORT"),
    "a port that is taken": (stranger_on_our_port, "port", "PORT", "another PORT"),
    "a clock that is wrong": (clock_ahead, "clock", "this machine's clock", "NTP"),
    "a database that is not there": (
        setting(DATABASE_URL="postgresql://nobody@127.0.0.1:1/calls"), "database", "DATABASE_URL", "database server",
    ),
    "a directory that cannot be": (setting(DATA_DIR="a_file/data"), "disk", "DATA_DIR", "write"),
    "a record that nobody could store": (record_set_aside, "spool", "DATA_DIR", "move it to"),
    "an agent that is not there": (setting(AGENT="my_company:nobody"), "agents", "AGENT", "there is my_company:agent"),
    "an agent that does not compile": (setting(AGENT="broken_company:agent"), "agents", "AGENT", "mend the module"),
    "two tools of one name": (setting(AGENTS="my_company:twice"), "agents", "AGENTS", "look_up"),
    "an overflow to nobody": (setting(OVERFLOW_NUMBER="+15550100"), "settings", "OVERFLOW_NUMBER", "callers"),
}  # fmt: skip
# Whose mistake cannot but show elsewhere too.
ALSO = {
    "a wrong Twilio token": {"signature"},
    "a public URL of another server": {"webhooks"},
    "a directory that cannot be": {"database"},
}


def test_each_planted_mistake_is_found_alone_and_gone_when_it_is_mended(tmp_path, monkeypatch):
    async def scenario():
        async with healthy(tmp_path, monkeypatch) as set_up:
            assert [each for each in await set_up.examine(monkeypatch) if each.verdict in ("failed", "warning")] == []
            for mistake, (plant, check, where, mend) in MISTAKES.items():
                plant(set_up)
                wrong = [each for each in await set_up.examine(monkeypatch) if each.verdict == "failed"]
                told = [each for each in wrong if each.check == check and each.where.startswith(where)]
                assert len(told) == 1, (mistake, wrong)
                assert mend in told[0].what + told[0].mend, (mistake, told)
                assert {each.check for each in wrong} == {check} | ALSO.get(mistake, set()), (mistake, wrong)
                set_up.settings, set_up.ahead = dict(set_up.healthy), timedelta(0)
                set_up.attach()
            assert [each for each in await set_up.examine(monkeypatch) if each.verdict == "failed"] == []

    asyncio.run(scenario())


def test_recordings_that_no_key_opens_or_that_are_too_old_are_told_of(tmp_path):
    folder = tmp_path / "calls" / ("CA" + "0" * 32)
    folder.mkdir(parents=True)
    (folder / "call.wav").write_bytes(seal(b"sound", TapeKey(b"x" * 32)))

    def found(**settings):
        told = asyncio.run(check_recordings(Settings(_env_file=None, data_dir=tmp_path, **settings)))
        return [(each.verdict, each.where) for each in told]

    assert found(recording_key=KEY) == [("failed", "RECORDING_KEYS_OLD")]
    old = base64.b64encode(b"x" * 32).decode()
    assert found(recording_key=KEY, recording_keys_old=f"{KEY}, {old}") == [("ok", "DATA_DIR")]
    os.utime(folder / "call.wav", (0, 0))
    both = {"recording_key": KEY, "recording_keys_old": old}
    assert found(**both, recording_days_max=30) == [("warning", "DATA_DIR")]
    assert found(**both, recording_notice="") == [("warning", "RECORDING_NOTICE")]
    (folder / "call.wav").write_bytes(b"RIFF")
    assert found() == [("warning", "RECORDING_KEY")]


def test_a_model_server_without_a_list_of_models_is_no_mistake():
    async def scenario():
        async with HttpEndpoint(lambda _: answer(404)) as local:
            settings = Settings(_env_file=None, openai_api_key="any", openai_base_url=f"{local.url}/v1")
            (found,) = await check_openai(settings, lambda *_: None)
            assert (found.verdict, found.where) == ("warning", "OPENAI_BASE_URL")

    asyncio.run(scenario())


def test_a_misspelt_setting_is_noticed_in_the_file_and_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("# a comment\nexport TWILIO_ACOUNT_SID = 1\nPORT=1\nEDITOR=vi\nHOSTNAME=x\n")
    monkeypatch.setenv("OPENAI_APIKEY", "sk-hush")
    found = asyncio.run(check_names())
    assert [(each.where, each.what.split()[0], each.verdict) for each in found] == [
        ("environment", "OPENAI_APIKEY", "warning"),
        (".env", "TWILIO_ACOUNT_SID", "warning"),
    ]
    assert "TWILIO_ACCOUNT_SID" in found[1].mend
    assert "hush" not in str(found)


def test_records_that_wait_for_the_database_are_told_of(tmp_path):
    spool = Spool(tmp_path / "spool")
    settings = Settings(_env_file=None, data_dir=tmp_path)
    assert [each.verdict for each in asyncio.run(check_spool(settings))] == ["ok"]
    name = spool.put(b"{}")
    assert [each.verdict for each in asyncio.run(check_spool(settings))] == ["warning"]
    spool.set_aside(name)
    assert [each.verdict for each in asyncio.run(check_spool(settings))] == ["failed"]


def test_no_secret_is_ever_told(tmp_path, monkeypatch):
    async def scenario():
        async with healthy(tmp_path, monkeypatch) as set_up:
            set_up.settings |= {"OPENAI_API_KEY": "sk-hush-hush", "TWILIO_AUTH_TOKEN": "hush-hush-hush"}
            assert "hush" not in str(await set_up.examine(monkeypatch))

    asyncio.run(scenario())


def test_the_command_tells_machines_and_people_and_exits_by_what_it_found(tmp_path, monkeypatch, capsys):
    def run(*arguments):
        try:
            main(["doctor", *arguments])
        except SystemExit as left:
            return left.code or 0
        return 0

    async def scenario():
        async with healthy(tmp_path, monkeypatch) as set_up:
            set_up.into_environment(monkeypatch)
            assert await asyncio.to_thread(run, "--json") == 0
            assert json.loads(capsys.readouterr().out)["ok"] is True
            monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
            assert await asyncio.to_thread(run) == 1
            told, said = capsys.readouterr()
            assert "FAILED   OPENAI_API_KEY: the key is refused (HTTP 401); make a key at" in told
            assert "1 to mend." in said

    asyncio.run(scenario())


def test_settings_that_cannot_be_read_are_findings_too(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "http")
    monkeypatch.setenv("MAX_CALLS", "many")
    with pytest.raises(SystemExit) as left:
        main(["doctor", "--json"])
    found = json.loads(capsys.readouterr().out)["findings"]
    assert left.value.code == 1
    assert {each["where"] for each in found} == {"PORT", "MAX_CALLS"}
