"""Trials on a model behind a socket, in real time; the command that makes them."""

import asyncio
import contextlib
import json
import logging
import threading
from pathlib import Path

import pytest
from support.hummed_call import SCRIPT as WORDS
from support.hummed_call import SPEECH, Shop, desk

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.brains.selection import brain_for
from realtime_bridge.localmodel.server import LocalModelServer
from telephony.cli import main
from telephony.testing import AfterTurn, HangUp, Say
from telephony.testing.hum import hum
from telephony.trials.models import RemoteModel
from telephony.trials.recorded_caller import RecordedCaller
from telephony.trials.trial import try_agent

KEY = "sk-trial-0123456789"
START_S_MAX = 60.0


@contextlib.contextmanager
def served_model(script):
    """The offline model's server, with text-level speech, on an event loop of its own."""
    loop = asyncio.new_event_loop()
    server = LocalModelServer(
        brain_factory=brain_for(script, None),
        recognizer=SPEECH.recognizer,
        voice=SPEECH.voice,
        vad_factory=SPEECH.vad_factory,
        api_key=KEY,
    )
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result(START_S_MAX)
        yield server.base_url
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result(START_S_MAX)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


@pytest.fixture(autouse=True)
def logs_as_they_were(tmp_path, monkeypatch):
    """The command sends all logs to stderr, and reads `.env` where it is."""
    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "desk.yaml"
    path.write_text(WORDS)
    return path


@pytest.fixture
def tape(tmp_path, script):
    steps = [AfterTurn(300), Say(hum("Order 47."), "order"), AfterTurn(300), HangUp()]
    trial = try_agent(steps, desk(Shop()), script=script, speech=SPEECH, tools="live", keep=tmp_path / "data")
    return trial.runs[0].folder.tape


def test_a_recorded_caller_calls_an_agent_on_a_model_behind_a_socket(tape, script, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("REALTIME_MODEL", "local")
    junit, kept = tmp_path / "trial.xml", tmp_path / "kept"
    with served_model(script) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        options = ["--agent", "support.hummed_call:agent", "--model", "openai", "--junit", str(junit), "--json"]
        with pytest.raises(SystemExit) as left:
            main(["replay", str(tape), *options, "--keep", str(kept)])
    told = json.loads(capsys.readouterr().out)
    assert (left.value.code, told["ok"]) == (0, True), told
    [run] = told["tapes"][0]["runs"]
    assert run["failures"] == run["changes"] == []
    assert run["tools"] == [{"name": "find_order", "arguments": {"number": "47"}}]
    assert run["seconds"] > 3
    assert RecordedCaller.from_tape(Path(run["kept"]) / "call.tape").deeds.said[0] == "Desk here."
    assert b'tests="1" failures="0" errors="0"' in junit.read_bytes()


def test_a_model_that_cannot_be_had_fails_the_run(tmp_path):
    model = RemoteModel(name="local", api_key=KEY, base_url="http://127.0.0.1:9/v1")
    [run] = try_agent([AfterTurn(300), HangUp()], desk(Shop()), model=model).runs
    assert run.failures == ("the agent's side broke off: the session could not begin",)


def test_without_a_key_there_is_no_model(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(MisuseError, match="OPENAI_API_KEY is not set"):
        try_agent([HangUp()], desk(Shop()), model="openai")


def test_what_cannot_be_tried_is_refused_before_anybody_calls(tape, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    agent = ["--agent", "support.hummed_call:agent"]
    for options, told in (
        (["--runs", "3"], "--runs is for trying an agent: add --agent MODULE:NAME"),
        ([*agent, "--verify"], "--verify and --agent are two things"),
        ([*agent, "--runs", "0"], "--runs 0: from 1 to 1000"),
        ([*agent, "--pass-rate", "120%"], "--pass-rate 120%: a share from 0 to 1"),
        ([*agent, "--model", "openai"], "--model openai needs OPENAI_API_KEY"),
        (["--agent", "support.hummed_call:nobody"], "support.hummed_call:nobody is no agent; there is"),
    ):
        with pytest.raises(SystemExit) as left:
            main(["replay", str(tape), *options])
        assert left.value.code == 2
        assert told in capsys.readouterr().err


def test_a_tape_that_cannot_be_read_is_a_failure_of_its_own(tmp_path, capsys):
    (tmp_path / "bad.tape").write_bytes(b"RIFF")
    with pytest.raises(SystemExit) as left:
        main(["replay", str(tmp_path), "--agent", "support.hummed_call:agent"])
    assert left.value.code == 1
    assert "failed: not a tape" in capsys.readouterr().out


def test_what_is_expected_lies_beside_the_tape(tape, capsys):
    (tape.parent / "order.call.yaml").write_text(
        "agent: support.hummed_call:agent\ntape: call.tape\nexpect:\n  - sad: goodbye\n"
    )
    with pytest.raises(SystemExit) as left:
        main(["replay", str(tape), "--agent", "support.hummed_call:agent"])
    assert left.value.code == 2
    assert "order.call.yaml:4" in capsys.readouterr().err
