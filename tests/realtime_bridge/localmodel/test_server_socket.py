"""The server on a real socket: who is let in, what is refused, and what is left behind."""

import asyncio
import base64
import json
import threading
from contextlib import asynccontextmanager, suppress
from random import Random

import numpy as np
import pytest
import uvloop
from support.scripted_model import LoudnessVad, ScriptedBrain, ScriptedRecognizer, ToneVoice, silence, tone
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from realtime_bridge.errors import TransportError
from realtime_bridge.localmodel import connection
from realtime_bridge.localmodel.model_session import Limits, ModelSession
from realtime_bridge.localmodel.parts import Say
from realtime_bridge.localmodel.reply import Pace
from realtime_bridge.localmodel.server import LocalModelServer
from realtime_bridge.localmodel.speech_work import SpeechWork
from realtime_bridge.wire.client import CLIENT_FRAME_BYTES_MAX

TIMEOUT = 20


def serve(*responses, **options):
    """A server whose every session gets a brain of its own with these responses."""
    parts = {
        "brain_factory": lambda: ScriptedBrain(*responses),
        "recognizer": ScriptedRecognizer(*["yes"] * 50),
        "voice": ToneVoice(),
        "vad_factory": LoudnessVad,
    }
    return LocalModelServer(**{**parts, **options})


@asynccontextmanager
async def session(server: LocalModelServer, **options):
    async with connect(f"{server.realtime_url}?model=test", max_size=None, max_queue=None, **options) as socket:
        await until(socket, "conversation.created")
        yield socket


async def until(socket: ClientConnection, event_type: str) -> dict:
    async with asyncio.timeout(TIMEOUT):
        while (event := json.loads(await socket.recv()))["type"] != event_type:
            pass
        return event


async def send(socket: ClientConnection, event_type: str, **fields) -> None:
    await socket.send(json.dumps({"type": event_type, **fields}))


async def is_alive(socket: ClientConnection) -> bool:
    await send(socket, "session.update", session={"type": "realtime"})
    return bool(await until(socket, "session.updated"))


async def closing(socket: ClientConnection) -> tuple[list[dict], int]:
    """All events until the server closes, and its close code."""
    events = []
    with suppress(ConnectionClosed):  # it is an error or not, as the code says
        async with asyncio.timeout(TIMEOUT):
            async for frame in socket:
                events.append(json.loads(frame))  # noqa: PERF401 - what came before an error counts
    assert socket.close_code is not None
    return events, socket.close_code


async def nobody_left(server: LocalModelServer) -> None:
    """Wait until the server has noticed that its clients are gone."""
    async with asyncio.timeout(TIMEOUT):
        while server.sessions:  # noqa: ASYNC110 - nobody is told when a client has left
            await asyncio.sleep(0.001)


def test_the_model_is_the_one_in_the_url():
    async def main():
        async with serve() as server, connect(f"{server.realtime_url}?model=gpt-realtime") as socket:
            created = await until(socket, "session.created")
            assert created["session"]["model"] == "gpt-realtime"
            assert created["session"]["expires_at"] > 1_700_000_000

    asyncio.run(main())


@pytest.mark.parametrize(
    "credentials",
    [
        {"additional_headers": {"Authorization": "Bearer secret"}},
        {"subprotocols": ["realtime", "openai-insecure-api-key.secret"]},
    ],
    ids=["header", "subprotocol"],
)
def test_a_client_with_the_key_is_let_in(credentials):
    async def main():
        async with serve(api_key="secret") as server, session(server, **credentials) as socket:
            assert await is_alive(socket)

    asyncio.run(main())


@pytest.mark.parametrize(
    "credentials",
    [
        {},
        {"additional_headers": {"Authorization": "Bearer wrong"}},
        {"additional_headers": {"Authorization": "Basic secret"}},
        {"subprotocols": ["realtime", "openai-insecure-api-key.wrong"]},
    ],
)
def test_a_client_without_the_key_is_turned_away(credentials):
    async def main():
        async with serve(api_key="secret") as server, connect(server.realtime_url, **credentials) as socket:
            [error], code = await closing(socket)
            assert error["error"]["code"] == "invalid_api_key"
            assert code == 3000
            assert server.sessions == 0

    asyncio.run(main())


def test_more_sessions_than_allowed_are_turned_away_until_one_ends():
    async def main():
        async with serve(sessions_max=1) as server:
            async with session(server), connect(server.realtime_url) as second:
                [error], code = await closing(second)
                assert error["error"]["code"] == "too_many_sessions"
                assert code == 1013
            await nobody_left(server)
            async with session(server) as third:
                assert await is_alive(third)

    asyncio.run(main())


def test_an_expired_session_is_closed_with_1001():
    async def main():
        async with serve(limits=Limits(session_seconds=0.05)) as server, connect(server.realtime_url) as socket:
            events, code = await closing(socket)
            assert events[-1]["error"]["code"] == "session_expired"
            assert code == 1001

    asyncio.run(main())


def test_binary_frames_and_broken_json_are_answered_and_survived():
    async def main():
        async with serve() as server, session(server) as socket:
            await socket.send(b"\x00\x01")
            assert (await until(socket, "error"))["error"]["code"] == "invalid_event"
            await socket.send("{broken")
            assert (await until(socket, "error"))["error"]["code"] == "invalid_json"
            assert await is_alive(socket)

    asyncio.run(main())


def test_frames_that_break_the_websocket_close_it_and_no_other():
    async def main():
        async with serve() as server, session(server) as bystander:
            async with session(server) as socket:
                await socket.send(b"\xff\xfe\xfd", text=True)
                assert (await closing(socket))[1] == 1007
            async with session(server) as socket:
                with suppress(ConnectionClosed):  # the server need not read it all to close
                    await socket.send("x" * (CLIENT_FRAME_BYTES_MAX + 1))
                assert (await closing(socket))[1] == 1009
            assert await is_alive(bystander)

    asyncio.run(main())


def test_a_flood_of_garbage_disturbs_nobody():
    random = Random(7)
    kinds = ["input_audio_buffer.append", "response.create", "conversation.item.create", "session.update", "nope"]

    def garbage():
        noise = random.randbytes(random.randrange(200))
        fields = {random.choice(["audio", "item", "session", "response"]): random.choice([noise.hex(), 7, {}, None])}
        return random.choice([noise, noise.decode("latin-1"), json.dumps({"type": random.choice(kinds), **fields})])

    async def main():
        async with serve(*[[Say("one two")]] * 100) as server, session(server) as bystander:
            async with session(server) as vandal:
                for _ in range(300):
                    await vandal.send(garbage())
                assert await is_alive(bystander)
                assert await is_alive(vandal)
            assert await is_alive(bystander)

    asyncio.run(main())


def test_an_append_as_long_as_the_api_allows_is_taken_without_holding_up_others():
    async def main():
        limits = Limits(input_seconds_max=400)
        async with serve(limits=limits) as server, session(server) as busy, session(server) as other:
            manual = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
            await send(busy, "session.update", session=manual)
            await until(busy, "session.updated")
            await send(busy, "input_audio_buffer.append", audio=base64.b64encode(bytes(15 * 1024 * 1024)).decode())
            await send(busy, "session.update", session=manual)
            waiting = asyncio.create_task(until(busy, "session.updated"))

            assert await is_alive(other)
            await waiting
            await send(busy, "input_audio_buffer.commit")
            item_id = (await until(busy, "input_audio_buffer.committed"))["item_id"]
            await send(busy, "conversation.item.retrieve", item_id=item_id)
            [part] = (await until(busy, "conversation.item.retrieved"))["item"]["content"]
            assert len(base64.b64decode(part["audio"])) == 15 * 1024 * 1024

    asyncio.run(main())


def test_recognition_does_not_hold_up_the_other_sessions():
    class PatientRecognizer:
        """Understands only when allowed to."""

        allowed = threading.Event()

        def transcribe(self, speech: np.ndarray) -> str:
            assert self.allowed.wait(TIMEOUT)
            return "at last"

    async def main():
        server = serve([Say("Good.")], recognizer=PatientRecognizer())
        async with server, session(server) as caller, session(server) as other:
            audio = silence(400) + tone(600) + silence(700)
            await send(caller, "input_audio_buffer.append", audio=base64.b64encode(audio).decode())
            await until(caller, "response.created")

            assert await is_alive(other)
            PatientRecognizer.allowed.set()
            assert (await until(caller, "response.done"))["response"]["status"] == "completed"

    asyncio.run(main())


def test_a_client_that_leaves_takes_its_work_with_it():
    class WaitingBrain:
        asked, closed = asyncio.Event(), asyncio.Event()

        async def respond(self, turn):
            self.asked.set()
            try:
                yield Say("One moment.")
                await asyncio.Event().wait()
            finally:
                self.closed.set()

    async def main():
        async with serve(brain_factory=WaitingBrain) as server:
            async with session(server) as socket:
                await send(socket, "response.create")
                await until(socket, "response.output_audio.delta")
            async with asyncio.timeout(TIMEOUT):
                await WaitingBrain.closed.wait()
            await nobody_left(server)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_a_cancelled_response_stops_its_brain():
    class WaitingBrain:
        closed = asyncio.Event()

        async def respond(self, turn):
            try:
                yield Say("One moment.")
                await asyncio.Event().wait()
            finally:
                self.closed.set()

    async def main():
        async with serve(brain_factory=WaitingBrain) as server, session(server) as socket:
            await send(socket, "response.create")
            await until(socket, "response.output_audio.delta")
            await send(socket, "response.cancel")
            assert (await until(socket, "response.done"))["response"]["status"] == "cancelled"
            async with asyncio.timeout(TIMEOUT):
                await WaitingBrain.closed.wait()

    asyncio.run(main())


def test_a_bug_in_one_session_closes_it_and_no_other(caplog):
    class BrokenVad(LoudnessVad):
        def probability(self, window: np.ndarray) -> float:
            raise ZeroDivisionError

    async def main():
        async with serve(vad_factory=BrokenVad) as server, session(server) as bystander:
            async with session(server) as socket:
                await send(socket, "input_audio_buffer.append", audio=base64.b64encode(tone(100)).decode())
                assert (await closing(socket))[1] == 1011
            assert await is_alive(bystander)

    asyncio.run(main())
    assert "a model session failed" in caplog.text


class SilentBrain:
    async def respond(self, turn):
        await asyncio.Event().wait()
        yield


class BrokenBrain:
    def respond(self, turn):
        raise ZeroDivisionError


@pytest.mark.parametrize("brain", [SilentBrain, BrokenBrain])
def test_a_brain_that_never_decides_fails_its_response(brain, monkeypatch, caplog):
    monkeypatch.setattr(connection, "DECISION_SECONDS_MAX", 0.05)

    async def main():
        async with serve(brain_factory=brain) as server, session(server) as socket:
            await send(socket, "response.create")
            done = await until(socket, "response.done")
            assert done["response"]["status"] == "failed"
            assert await is_alive(socket)

    asyncio.run(main())
    assert "the brain failed" in caplog.text


def test_a_client_that_does_not_read_is_let_go(monkeypatch, caplog):
    class DeafSocket:
        """Its client sends and sends, and never reads."""

        def __init__(self) -> None:
            self.code: int | None = None

        async def receive(self):
            return {"type": "websocket.receive", "text": '{"type":"session.update","session":{"type":"realtime"}}'}

        async def send_text(self, data):
            await asyncio.Event().wait()

        async def close(self, code=1000, reason=None):
            self.code = code

    monkeypatch.setattr(connection, "OUTGOING_BYTES_MAX", 100_000)

    async def main():
        now = asyncio.get_running_loop().time()
        model = ModelSession(model="x", vad=LoudnessVad(), new_id=lambda prefix: prefix, now=now)
        speech = SpeechWork(ScriptedRecognizer(), ToneVoice(), LoudnessVad)
        socket = DeafSocket()
        async with asyncio.timeout(TIMEOUT):
            await connection.Connection(socket, model, ScriptedBrain(), speech).run()
        speech.close()
        assert socket.code == 1008
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert "reads too slowly" in caplog.text


def test_the_server_ends_with_clients_still_connected():
    async def main():
        async with serve([Say("one " * 100)], pace=Pace(speed=1.0)) as server:
            socket = await connect(server.realtime_url)
            await send(socket, "response.create")
            await until(socket, "response.output_audio.delta")
        assert (await closing(socket))[1] == 1012
        assert server.sessions == 0
        await socket.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_a_port_that_is_taken_is_reported():
    async def main():
        async with serve() as server:
            port = int(server.base_url.rsplit(":", 1)[1].split("/")[0])
            with pytest.raises(TransportError, match=f"cannot listen on 127.0.0.1:{port}"):
                async with serve(port=port):
                    pass

    asyncio.run(main())


def test_a_server_on_uvloop_speaks_and_ends_sessions_in_time():
    """Whose timers for moments that are due already are not those of asyncio."""

    async def main():
        limits = Limits(session_seconds=1.0)
        quick = {"pace": Pace(speed=1000), "limits": limits}
        async with serve([Say("One two three.")], **quick) as server, session(server) as socket:
            await send(socket, "response.create")
            await until(socket, "response.output_audio.delta")
            done = await until(socket, "response.done")
            assert done["response"]["status"] == "completed"
            _, code = await closing(socket)
            assert code == 1001

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(main(), TIMEOUT))
