"""A model's process that is killed while the agent speaks, and started again: the call goes on, on real sockets."""

import asyncio
from pathlib import Path

import pytest
from openai import AsyncOpenAI
from support.long_call import A_WHILE, SHORT_SCRIPT, Answerer
from support.model_process import ModelProcess
from support.phone_server import serving
from support.scripted_model import tone

from realtime_bridge.audio.g711 import pcm16_to_mulaw
from realtime_bridge.transport.endpoint import realtime_endpoint
from realtime_bridge.transport.model_socket import ModelSocket
from telephony.testing import CallResult, fetch_stream, place_call


def speech_of(text: str) -> bytes:
    return pcm16_to_mulaw(tone(200 * len(text.split()), rate=8000))


def test_a_model_killed_in_the_middle_of_a_reply_while_a_tool_runs_is_missed_by_nobody(tmp_path):
    script = tmp_path / "shop.yaml"
    script.write_text(SHORT_SCRIPT)
    answerer, result = asyncio.run(asyncio.wait_for(call(script), 120))
    assert (result.failure, result.problems, result.clears) == (None, (), ())
    assert [planned for _, planned in answerer.changes] == [False]
    assert answerer.runs == ["find_order"]
    assert answerer.said == [
        ("assistant", "Hello there."),
        ("user", "Where is my order?"),
        ("assistant", "I am looking."),
        ("user", "Tell me about roses."),
        ("assistant", "Roses like sun and water, and they like a kind word now and then. It is on its way."),
        ("user", "Thank you."),
        ("assistant", "Goodbye."),
    ]
    heard_ms = sum(1000 * (span.end - span.start) for span in result.audible)
    words = sum(len(text.split()) for role, text in answerer.said if role == "assistant")
    assert heard_ms == pytest.approx(250 * words, abs=600), "all of it was heard, and nothing twice"


async def call(script: Path) -> tuple[Answerer, CallResult]:
    # What the process hears, before and after it was killed: its ears are scripted.
    arguments = ["--script", str(script), "--session-seconds", "60", "--speed", "1.5"]
    async with (
        ModelProcess([*arguments, "--hears", *A_WHILE.lines], scripted=True) as model,
        AsyncOpenAI(base_url=model.url, api_key="offline") as openai,
    ):

        async def open_model(*, on_frame, on_lost):
            endpoint = await realtime_endpoint(openai, model="local")
            return await ModelSocket.open(endpoint, on_frame=on_frame, on_lost=on_lost)

        async def strike():
            await model.kill()
            await model.start([*arguments, "--hears", *A_WHILE.lines[2:]])

        answerer = Answerer(open_model, A_WHILE, strike=strike)
        async with serving(answer=answerer.answer) as (server, _):
            stream = await fetch_stream(server.url + "/twilio/voice")
            result = await place_call(stream, A_WHILE.steps(speech_of, answerer))
            await answerer.done()

    return answerer, result
