"""The plain transport against a model on a real socket that confirms, refuses, falls silent, talks nonsense or goes away."""

import asyncio
import json

import pybase64
import pytest
from support.loopback_model import KEY, LoopbackModel
from support.quiet import quietly

from realtime_bridge.errors import MisuseError, TransportError
from realtime_bridge.transport.base import ModelConnected, ModelLost, SpareReady, TransportClosed, TransportProblem
from realtime_bridge.transport.model_link import LinkLimits, ModelLink
from realtime_bridge.transport.model_socket import ModelSocket
from realtime_bridge.transport.websocket import WebSocketTransport
from realtime_bridge.wire import UnknownEvent, client, server

QUICK = LinkLimits(pause_s_first=0.01, pause_s_max=0.02, give_up_s=0.2)
SESSION = {"instructions": "Be kind."}
on_uvloop = quietly(keeps=(ModelSocket, ModelLink, WebSocketTransport))
on_both_loops = quietly("asyncio", "uvloop", keeps=(ModelSocket, ModelLink, WebSocketTransport))


class Program:
    """A transport, and what it tells: `async with Program(model) as program`."""

    def __init__(self, model, **options):
        self.transport = WebSocketTransport(model="loopback", open_model=model.open_model, link_limits=QUICK, **options)
        self.seen = []
        self._news = asyncio.Event()

    def note(self, event):
        self.seen.append(event)
        self._news.set()

    async def __aenter__(self):
        await self.transport.connect(self.note, session=SESSION)
        return self

    async def __aexit__(self, *_):
        await self.transport.close("the test is over")
        assert self.told(TransportClosed) == [self.seen[-1]]

    def told(self, kind):
        return [event for event in self.seen if isinstance(event, kind)]

    async def hears(self, kind, count=1):
        async with asyncio.timeout(60):
            while len(self.told(kind)) < count:
                self._news.clear()
                await self._news.wait()
        return self.told(kind)[count - 1]

    async def fails(self, match):
        """Connecting fails; then closing tells one last event."""
        with pytest.raises(TransportError, match=match) as caught:
            await self.transport.connect(self.note, session=SESSION)
        assert KEY not in str(caught.value)
        await self.transport.close("nothing came of it")
        assert self.told(TransportClosed) == [self.seen[-1]]
        return caught.value


def audio_of(call):
    return b"".join(pybase64.b64decode(audio) for audio in call.appended)


@on_both_loops
async def test_a_session_is_configured_confirmed_used_and_closed():
    async with LoopbackModel() as model:
        async with Program(model) as program:
            call = await model.call()
            update = await call.expect("session.update")
            assert update["session"] == {"type": "realtime", **SESSION}
            program.transport.send(client.ResponseCreate())
            await call.expect("response.create")
            await call.say({"type": "response.done", "response": {"id": "r1"}})
            await program.hears(server.ResponseDone)
        await call.ended.wait()
        assert call.socket.close_code == 1000
        assert [type(event) for event in program.seen] == [
            ModelConnected, server.SessionUpdated, server.ResponseDone, TransportClosed,
        ]  # fmt: skip
        assert program.seen[-1].reason == "the test is over"
        program.transport.send(client.ResponseCreate())
        program.transport.send_audio(b"\0\0")
        await program.transport.close("again")
        assert isinstance(program.seen[-1], TransportClosed)


@on_uvloop
async def test_a_transport_connects_once():
    async with LoopbackModel() as model, Program(model) as program:
        with pytest.raises(MisuseError, match="make a new one"):
            await program.transport.connect(print, session={})
        call = await model.call()
        program.transport.send(client.ResponseCreate())
        await call.expect("response.create")


@on_uvloop
async def test_settings_come_from_an_openai_client():
    async with LoopbackModel() as model:
        transport = WebSocketTransport(model="gpt-realtime", openai=model.openai)
        await transport.connect(lambda event: None, session={})
        call = await model.call()
        assert call.path == "/v1/realtime?model=gpt-realtime"
        assert call.headers["Authorization"] == f"Bearer {KEY}"
        await transport.close()


@on_uvloop
async def test_without_a_key_anywhere_the_session_cannot_begin(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_ADMIN_KEY", raising=False)
    transport = WebSocketTransport(model="gpt-realtime")
    with pytest.raises(TransportError, match="OPENAI_API_KEY") as caught:
        await transport.connect(lambda event: None, session={})
    assert not caught.value.retryable
    await transport.close()


# ---- a model that does not take the session --------------------------------------------------------------------------------


@on_both_loops
async def test_a_model_that_never_confirms_is_left():
    async with LoopbackModel(confirms=False) as model:
        error = await Program(model, confirm_s_max=0.05).fails("did not confirm the session within 0.05 s")
        assert error.retryable
        await (await model.call()).ended.wait()


@on_both_loops
async def test_an_error_in_place_of_the_confirmation_is_a_refusal():
    refusal = {
        "type": "error",
        "error": {"type": "invalid_request_error", "code": "invalid_value", "message": "no voice"},
    }
    async with LoopbackModel(confirms=False, first_words=[json.dumps(refusal)]) as model:
        error = await Program(model).fails("the model refused the session: no voice")
        assert (error.code, error.retryable) == ("invalid_value", False)
        await (await model.call()).ended.wait()


@on_both_loops
async def test_a_model_that_closes_instead_of_confirming_is_told_by_its_code():
    async with LoopbackModel(confirms=False) as model:
        program = Program(model)
        failing = asyncio.create_task(program.fails("3000 invalid_request_error.invalid_api_key"))
        call = await model.confirmed_call()
        await call.close(3000, "invalid_request_error.invalid_api_key")
        error = await failing
        assert (error.code, error.retryable) == (3000, False)
        assert program.told(ModelLost) == []
        assert model.attempts == 1


@on_uvloop
async def test_a_model_that_confirms_another_format_is_refused():
    async with LoopbackModel(confirms=False) as model:
        failing = asyncio.create_task(Program(model).fails("format is not audio/pcm: output audio/pcmu"))
        call = await model.confirmed_call()
        await call.say(
            {"type": "session.updated", "session": {"audio": {"output": {"format": {"type": "audio/pcmu"}}}}}
        )
        assert not (await failing).retryable


@pytest.mark.parametrize(
    "session", [{}, {"audio": None}, {"audio": []}, {"audio": {"input": "loud", "output": {"format": None}}}]
)
@on_uvloop
async def test_a_confirmation_that_says_nothing_of_formats_is_one(session):
    async with LoopbackModel(confirms=False) as model:
        program = Program(model)
        connecting = asyncio.create_task(program.transport.connect(program.note, session={}))
        await (await model.confirmed_call()).say({"type": "session.updated", "session": session})
        await connecting
        await program.transport.close()


@on_uvloop
async def test_closing_ends_the_wait_for_a_confirmation():
    async with LoopbackModel(confirms=False) as model:
        program = Program(model)
        connecting = asyncio.create_task(program.transport.connect(program.note, session={}))
        await model.confirmed_call()
        await program.transport.close("changed my mind")
        with pytest.raises(TransportError, match="changed my mind"):
            await connecting


@on_both_loops
async def test_a_cancelled_connect_leaves_no_connection():
    async with LoopbackModel(confirms=False) as model:
        program = Program(model)
        connecting = asyncio.create_task(program.transport.connect(program.note, session={}))
        call = await model.confirmed_call()
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await call.ended.wait()


# ---- a model that talks nonsense -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "nonsense",
    [
        "garbage", "{}", "[]", "null", "\x00", '{"type":5}', '{"type":"error"}', '{"type":"error","error":"boo"}',
        '{"type":"response.output_audio.delta"}', '{"type":"response.created","response":7}',
        '{"type":"session.updated","session":[]}', '{"type":"x","deep":' + "[" * 100_000,
        '{"type":"x","deep":' + "[" * 50_000 + "]" * 50_000 + "}",
    ],
    ids=lambda frame: frame[:40],
)  # fmt: skip
@on_uvloop
async def test_a_malformed_event_is_reported_and_the_next_one_is_heard(nonsense):
    async with LoopbackModel() as model, Program(model) as program:
        call = await model.call()
        await call.say(nonsense, {"type": "response.done", "response": {}})
        await program.hears(server.ResponseDone)
        (problem,) = program.told(TransportProblem)
        assert "malformed event" in problem.message
        assert len(problem.message) < 500


@on_uvloop
async def test_unknown_events_are_passed_on_whole():
    async with LoopbackModel() as model, Program(model) as program:
        await (await model.call()).say({"type": "response.sparkles", "n": [1, {"a": None}]})
        event = await program.hears(UnknownEvent)
        assert event.payload == {"type": "response.sparkles", "n": [1, {"a": None}]}


# ---- a model that goes away ------------------------------------------------------------------------------------------------


@on_both_loops
async def test_audio_sent_while_the_model_is_away_is_held_and_follows_in_order():
    async with LoopbackModel() as model, Program(model) as program:
        first = await model.call()
        program.transport.send_audio(b"\1\1")
        await first.hears(1)
        await first.close(1011, "keepalive")
        lost = await program.hears(ModelLost)
        assert (lost.code, lost.retryable) == (1011, True)
        for n in range(2, 6):
            program.transport.send_audio(bytes([n, n]))
        second = await model.call()
        await program.hears(ModelConnected, 2)
        program.transport.send(client.SessionUpdate(session={"type": "realtime"}))
        program.transport.send_audio(b"\6\6")
        await second.expect("session.update")
        assert second.appended == []
        program.transport.resume()
        program.transport.send_audio(b"\7\7")
        await second.hears(6)
        assert audio_of(second) == bytes(n for n in range(2, 8) for _ in range(2))
        assert first.appended == [pybase64.b64encode_as_string(b"\1\1")]


@on_uvloop
async def test_of_audio_sent_while_the_model_is_away_ten_seconds_are_kept_the_newest():
    async with LoopbackModel() as model, Program(model) as program:
        (await model.call()).drop()
        await program.hears(ModelConnected, 2)
        for n in range(200):
            program.transport.send_audio(n.to_bytes(2, "little") * 2400)  # 100 ms
        program.transport.resume()
        program.transport.send(client.ResponseCreate())
        second = await model.call()
        await second.expect("response.create")
        assert 95 <= len(second.appended) <= 100
        assert audio_of(second)[:2] == (200 - len(second.appended)).to_bytes(2, "little")


@on_uvloop
async def test_what_is_sent_while_the_model_is_away_is_reported_as_not_sent():
    async with LoopbackModel() as model, Program(model) as program:
        call = await model.call()
        model.refuse = 503
        call.drop()
        await program.hears(ModelLost)
        program.transport.send(client.ResponseCreate())
        assert "ResponseCreate was not sent" in program.told(TransportProblem)[0].message
        assert not (await program.hears(ModelLost, 2)).retryable


@on_both_loops
async def test_a_fresh_session_that_is_never_confirmed_is_left_for_another_and_at_last_given_up():
    async with LoopbackModel() as model, Program(model, confirm_s_max=0.05) as program:
        call = await model.call()
        model.confirms = False
        call.drop()
        async with asyncio.timeout(60):
            while (await program.hears(ModelLost, len(program.told(ModelLost)) + 1)).retryable:
                pass
        assert "did not confirm" in program.told(ModelLost)[-1].message
        assert 3 <= model.attempts <= 8


@on_uvloop
async def test_a_fresh_session_that_is_confirmed_stays():
    async with LoopbackModel() as model, Program(model, confirm_s_max=0.5) as program:
        (await model.call()).drop()
        await program.hears(ModelConnected, 2)
        program.transport.send(client.SessionUpdate(session={}))
        await program.hears(server.SessionUpdated, 2)
        await asyncio.sleep(0.7)  # what is tried is that nothing happens in it
        assert len(program.told(ModelLost)) == 1


@on_uvloop
async def test_a_switch_holds_audio_until_the_spare_knows_the_conversation():
    async with LoopbackModel() as model, Program(model) as program:
        old = await model.call()
        program.transport.rotate()
        spare = await model.call()
        update = await spare.expect("session.update")
        assert update["session"]["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
        await program.hears(SpareReady)
        program.transport.send_audio(b"\1\1")
        await old.hears(1)
        program.transport.switch()
        program.transport.send_audio(b"\2\2")
        program.transport.send(client.ResponseCreate())
        await spare.expect("response.create")
        assert spare.appended == []
        program.transport.resume()
        await spare.hears(1)
        assert (audio_of(old), audio_of(spare)) == (b"\1\1", b"\2\2")


@on_uvloop
async def test_a_muted_program_sends_silence():
    async with LoopbackModel() as model, Program(model) as program:
        program.transport.set_muted(True)
        program.transport.send_audio(b"\5\5\5")
        program.transport.set_muted(False)
        program.transport.send_audio(b"\5\5")
        program.transport.send_audio(b"")
        assert await (await model.call()).hears(2) == [b"\0\0\0", b"\5\5"]


@on_uvloop
async def test_many_sessions_leave_nothing_behind():
    for end in ("close", "drop", "hang up") * 4:
        async with LoopbackModel() as model, Program(model) as program:
            call = await model.call()
            if end == "drop":
                call.drop()
                await program.hears(ModelLost)
            elif end == "close":
                await call.close(1008, "enough")
                await program.hears(ModelLost)
