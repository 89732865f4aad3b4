"""Clients that were not written for this server talk to it: speech in, a tool call, speech out.

OpenAI's own client, and the independent client inside the `openai-agents` package, which checks every event it gets
against OpenAI's types. All parts are real: Silero, Moonshine, the dialogue script, Hibari.
"""

import asyncio
import base64
import json
from functools import partial

import numpy as np
import pytest
from openai import AsyncOpenAI
from support.speech import plain_words

from realtime_bridge.localmodel.brains.script import ScriptBrain
from realtime_bridge.localmodel.brains.script_format import parse_script
from realtime_bridge.localmodel.formats import for_recognizer
from realtime_bridge.localmodel.reply import Pace
from realtime_bridge.localmodel.server import LocalModelServer

TIMEOUT = 120
SCRIPT = parse_script(
    """
    greeting: Hello, this is the shop. How can I help you?
    rules:
      - heard: [where is my order, "where is my order number {order:id}"]
        say: One moment please.
        call: find_order
        with: {order_id: "{order}"}
      - after: find_order
        say: Your order arrives on {result.arrives}.
      - heard: [what are your opening hours]
        say: >-
          We are open from Monday to Friday, from eight in the morning to six in the evening, and on Saturdays from
          nine in the morning to one in the afternoon. On Sundays we are closed.
      - heard: [thank you, goodbye]
        say: Thank you for calling. Goodbye.
    """
)


@pytest.fixture
def server(recognizer, voice):
    brain = partial(ScriptBrain, SCRIPT)
    return LocalModelServer(brain_factory=brain, recognizer=recognizer, voice=voice, pace=Pace(speed=4.0))


@pytest.fixture(scope="module")
def agents_sdk():
    """Imported when it is used: that takes seconds, and every process of the suite reads every file."""
    import agents
    from agents import realtime

    agents.set_tracing_disabled(True)  # nothing here leaves the machine
    return agents, realtime


def speech(voice, text: str, *, pause_ms: int = 900) -> bytes:
    """A caller who says this, as PCM16 at 24 kHz, with quiet around it."""
    parts = [np.zeros(24 * 500), *(samples for _, samples in voice.speak(text)), np.zeros(24 * pause_ms)]
    hiss = np.random.default_rng(0).normal(0.0, 0.0005, sum(part.size for part in parts))
    return (np.clip(np.concatenate(parts) + hiss, -1, 1) * 32767).astype("<i2").tobytes()


def words_in(recognizer, pcm16: bytes) -> str:
    return plain_words(recognizer.transcribe(for_recognizer(pcm16, "audio/pcm")))


def test_the_openai_client_holds_a_spoken_conversation_with_a_tool_call(server, recognizer, voice):
    tool = {
        "type": "function",
        "name": "find_order",
        "description": "Find an order by its number.",
        "parameters": {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]},
    }

    async def main():
        async with (
            asyncio.timeout(TIMEOUT),
            server,
            AsyncOpenAI(base_url=server.base_url, api_key="any") as openai,
            openai.realtime.connect(model="gpt-realtime") as connection,
        ):
            await connection.session.update(
                session={
                    "type": "realtime",
                    "tools": [tool],
                    "audio": {"input": {"transcription": {"model": "whisper-1"}}},
                }
            )

            async def say(text):
                audio = speech(voice, text)
                for at in range(0, len(audio), 4800):
                    await connection.input_audio_buffer.append(audio=base64.b64encode(audio[at : at + 4800]).decode())

            async def reply():
                """One response: what was heard before it, what it did, and its sound."""
                heard, audio = None, b""
                async for event in connection:
                    assert event.type != "error", event
                    if event.type == "conversation.item.input_audio_transcription.completed":
                        heard = event.transcript
                    elif event.type == "response.output_audio.delta":
                        audio += base64.b64decode(event.delta)
                    elif event.type == "response.done":
                        assert event.response.status == "completed"
                        return heard, event.response.output, audio
                raise AssertionError("the connection closed")

            await say("Where is my order number 1042?")
            heard, [moment, call], audio = await reply()
            assert "where is my order" in plain_words(heard)
            assert moment.content[0].transcript == "One moment please."
            assert words_in(recognizer, audio) == "one moment please"
            assert call.name == "find_order"
            assert json.loads(call.arguments) == {"order_id": "1042"}

            result = {"type": "function_call_output", "call_id": call.call_id, "output": '{"arrives": "Tuesday"}'}
            await connection.conversation.item.create(item=result)
            await connection.response.create()
            _, [answer], audio = await reply()
            assert answer.content[0].transcript == "Your order arrives on Tuesday."
            assert words_in(recognizer, audio) == "your order arrives on tuesday"

            await say("Thank you, goodbye.")
            heard, _, audio = await reply()
            assert "goodbye" in plain_words(heard)
            assert words_in(recognizer, audio) == "thank you for calling goodbye"

    asyncio.run(main())


def test_the_agents_sdk_holds_a_spoken_conversation_with_a_tool_call(server, recognizer, voice, agents_sdk):
    agents, realtime = agents_sdk
    asked = []

    @agents.function_tool
    def find_order(order_id: str) -> str:
        """Find an order by its number."""
        asked.append(order_id)
        return json.dumps({"arrives": "Tuesday"})

    agent = realtime.RealtimeAgent(name="Shop", instructions="You answer for a shop.", tools=[find_order])

    async def main():
        async with asyncio.timeout(TIMEOUT), server:
            config = {"url": f"{server.realtime_url}?model=gpt-realtime", "api_key": "any"}
            async with await realtime.RealtimeRunner(agent).run(model_config=config) as session:
                await session.send_audio(speech(voice, "Where is my order number 1042?"))

                audio, kinds = b"", []
                async for event in session:
                    kinds.append(event.type)
                    assert event.type != "error", event
                    if event.type == "audio":
                        audio += event.audio.data
                    if event.type == "agent_end" and asked and words_in(recognizer, audio).endswith("tuesday"):
                        break

                assert asked == ["1042"]
                assert words_in(recognizer, audio) == "one moment please your order arrives on tuesday"
                assert kinds.index("tool_start") < kinds.index("tool_end")
                said = [
                    (item.role, plain_words(item.content[0].transcript or ""))
                    for item in session._history
                    if item.type == "message"
                ]
                assert said[0][0] == "user"
                assert "where is my order" in said[0][1]
                assert said[-1] == ("assistant", "your order arrives on tuesday")

    asyncio.run(main())


def test_a_caller_interrupts_an_agent_of_the_agents_sdk(server, recognizer, voice, agents_sdk):
    _, realtime = agents_sdk
    agent = realtime.RealtimeAgent(name="Shop", instructions="You answer for a shop.")

    async def main():
        async with asyncio.timeout(TIMEOUT), server:
            config = {"url": f"{server.realtime_url}?model=gpt-realtime", "api_key": "any"}
            async with await realtime.RealtimeRunner(agent).run(model_config=config) as session:
                await session.send_audio(speech(voice, "What are your opening hours?"))

                audio, interrupted = b"", False
                async for event in session:
                    assert event.type != "error", event
                    if event.type == "audio":
                        audio += event.audio.data
                        if not interrupted and len(audio) > 48 * 2000:
                            interrupted = True
                            await session.send_audio(speech(voice, "Thank you, goodbye."))
                    elif event.type == "audio_interrupted":
                        audio = b""
                    elif event.type == "agent_end" and words_in(recognizer, audio).endswith("goodbye"):
                        break

                assert interrupted
                cut = session._history[1]
                assert cut.role == "assistant"
                assert cut.status == "incomplete"
                assert words_in(recognizer, audio) == "thank you for calling goodbye"

    asyncio.run(main())
