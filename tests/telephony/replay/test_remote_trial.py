"""Trials on a model behind a socket, in real time."""

import asyncio
import contextlib
import threading

import pytest
from support.hummed_call import SCRIPT as WORDS
from support.hummed_call import SPEECH, Shop, desk

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.brains.selection import brain_for
from realtime_bridge.localmodel.server import LocalModelServer
from telephony.replay.recorded_caller import RecordedCaller
from telephony.replay.trial import try_agent
from telephony.replay.trial_models import RemoteModel
from telephony.testing import AfterTurn, HangUp, Say
from telephony.testing.hum import hum

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


def test_a_recorded_caller_calls_an_agent_on_a_model_behind_a_socket(tmp_path):
    script = tmp_path / "desk.yaml"
    script.write_text(WORDS)
    steps = [AfterTurn(300), Say(hum("Order 47."), "order"), AfterTurn(300), HangUp()]
    [recorded] = try_agent(steps, desk(Shop()), script=script, speech=SPEECH, tools="live", keep=tmp_path / "data").runs
    caller = RecordedCaller.from_tape(recorded.folder.tape)
    with served_model(script) as url:
        [run] = try_agent(caller, desk(Shop()), model=RemoteModel(name="local", api_key=KEY, base_url=url)).runs
    assert run.failures == ()
    assert run.changes == ()
    assert run.record.model == "local"
    assert [tool.output for tool in run.record.tools] == ['{"state":"sent"}']
    assert run.result.seconds > 3


def test_a_model_that_cannot_be_had_fails_the_run(tmp_path):
    model = RemoteModel(name="local", api_key=KEY, base_url="http://127.0.0.1:9/v1")
    [run] = try_agent([AfterTurn(300), HangUp()], desk(Shop()), model=model).runs
    assert run.failures == ("the agent's side broke off: the session could not begin",)


def test_without_a_key_there_is_no_model(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(MisuseError, match="OPENAI_API_KEY is not set"):
        try_agent([HangUp()], desk(Shop()), model="openai")
