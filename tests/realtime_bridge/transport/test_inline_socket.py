"""The offline model as a connection inside the program, in virtual time."""

import asyncio
import json

import pytest
from support.scripted_model import LoudnessVad, ScriptedBrain, ScriptedRecognizer, ToneVoice

from realtime_bridge import Agent, RealtimeSession
from realtime_bridge.localmodel.model_session import Limits
from realtime_bridge.localmodel.parts import Say
from realtime_bridge.transport.inline_socket import InlineModels
from realtime_bridge.transport.websocket import WebSocketTransport
from realtime_bridge.wire import client, encode
from telephony.testing import run_virtual

UPDATE = encode(client.SessionUpdate(session={"type": "realtime", "output_modalities": ["text"]}))
ANSWER = encode(client.ResponseCreate())


def models(*responses, brain=None, **options):
    return InlineModels(
        brain_factory=lambda: brain or ScriptedBrain(*responses),
        recognizer=ScriptedRecognizer(),
        voice=ToneVoice(),
        vad_factory=LoudnessVad,
        **options,
    )


class Client:
    """Keeps what a connection tells, with its time."""

    def __init__(self):
        self.events = []
        self.losses = []
        self.clock = asyncio.get_running_loop().time

    async def open(self, open_model):
        self.connection = await open_model(on_frame=self.on_frame, on_lost=self.on_lost)
        return self.connection

    def on_frame(self, frame):
        self.events.append((self.clock(), json.loads(frame)))

    def on_lost(self, lost):
        self.losses.append((self.clock(), lost))

    @property
    def types(self):
        return [event["type"] for _, event in self.events]


def test_a_session_talks_to_it_as_to_any_model():
    async def talk():
        transport = WebSocketTransport(model="local", open_model=models([Say("Good morning.")]))
        async with RealtimeSession(Agent(name="Desk"), transport=transport, greeting=True) as session:
            async for event in session:
                if event.type == "audio_stopped":
                    break
            return [(item.role, item.text) for item in session.history if item.text]

    assert ("assistant", "Good morning.") in run_virtual(talk())


def test_answers_come_from_the_loop_never_from_within_a_call():
    async def talk():
        ours = Client()
        connection = await ours.open(models())
        assert ours.events == []
        connection.send(UPDATE)
        assert ours.events == []
        await asyncio.sleep(0.1)
        return ours.types

    assert run_virtual(talk()) == ["session.created", "conversation.created", "session.updated"]


def test_a_reply_takes_the_time_its_audio_is_sent_in():
    async def talk():
        ours = Client()
        connection = await ours.open(models([Say("one two three four five six seven eight")]))  # two seconds
        connection.send(ANSWER)
        await asyncio.sleep(10)
        times = {event["type"]: at for at, event in ours.events}
        return times["response.done"] - times["response.created"]

    assert run_virtual(talk()) == pytest.approx(2 / 8, abs=0.05)  # at eight times real time


def test_somebody_else_may_listen():
    async def talk():
        first, second = Client(), Client()
        connection = await first.open(models())
        await asyncio.sleep(0.1)
        connection.listen(second.on_frame, second.on_lost)
        connection.send(UPDATE)
        await asyncio.sleep(0.1)
        return first.types, second.types

    assert run_virtual(talk()) == (["session.created", "conversation.created"], ["session.updated"])


def test_nothing_comes_after_a_close():
    async def talk():
        ours = Client()
        connection = await ours.open(models([Say("one two three four")], limits=Limits(session_seconds=5)))
        connection.send(ANSWER)
        await connection.close()
        connection.send(UPDATE)
        await connection.close()
        await asyncio.sleep(10)
        return ours.events, ours.losses

    assert run_virtual(talk()) == ([], [])


def test_a_session_that_expires_is_lost_after_its_last_event():
    async def talk():
        ours = Client()
        began = ours.clock()
        connection = await ours.open(models(limits=Limits(session_seconds=20)))
        await asyncio.sleep(30)
        connection.send(UPDATE)
        await asyncio.sleep(30)
        [(at, lost)] = ours.losses
        return at - began, lost, ours.events[-1][1]

    after, lost, last = run_virtual(talk())
    assert after == pytest.approx(20)
    assert lost.retryable
    assert lost.message.startswith("the model closed the socket: 1001")
    assert last["error"]["code"] == "session_expired"


def test_ids_of_one_session_are_not_those_of_the_next():
    async def talk():
        open_model = models([Say("Yes.")])
        ids = []
        for _ in range(2):
            ours = Client()
            connection = await ours.open(open_model)
            connection.send(ANSWER)
            await asyncio.sleep(5)
            ids.append({event["item"]["id"] for _, event in ours.events if "item" in event})
        return ids

    first, second = run_virtual(talk())
    assert first
    assert second
    assert not first & second


def test_a_brain_that_waits_for_the_world_ends_the_session_for_good(caplog):
    class Asker:
        async def respond(self, turn):
            await asyncio.sleep(1)
            yield Say("too late")

    async def talk():
        ours = Client()
        connection = await ours.open(models(brain=Asker()))
        connection.send(ANSWER)
        await asyncio.sleep(10)
        return ours.losses

    [(_, lost)] = run_virtual(talk())
    assert not lost.retryable
    assert "needs a server" in lost.message
    assert "the offline model failed" in caplog.text
