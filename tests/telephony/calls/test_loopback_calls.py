"""Whole calls over loopback: phone server, switchboard, session and transport, between a caller and a model that is the test's."""

import asyncio
import contextlib
import json
import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.loopback_model import KEY, LoopbackModel, tone
from support.phone_server import CALL, in_call, serving
from support.quiet import quietly, until

from realtime_bridge import Agent, RealtimeSession, tool
from realtime_bridge.transport.model_socket import ModelSocket
from telephony.calls.answering import Switchboard
from telephony.records.folder import CallFolder
from telephony.testing.caller import fetch_stream, place_call
from telephony.testing.script import HangUp, InterruptAfter, Pause, Say, Until, WaitForAgent
from telephony.transport import TwilioTransport

on_uvloop = quietly(keeps=(TwilioTransport, ModelSocket, RealtimeSession))
AGENT = Agent(name="Front desk", instructions="Be kind.")
GREETING = "Hello, this is the front desk."


class Exchange:
    """A switchboard on a phone server: `async with Exchange(model) as exchange: result = await exchange.call(...)`."""

    def __init__(self, model, *, data_dir=None, agent=AGENT, listener=None, **options):
        self._model, self._agent, self._data_dir, self._options = model, agent, data_dir, options
        self._listener = listener
        self.records = []

    async def __aenter__(self):
        self._stack = contextlib.AsyncExitStack()
        disk = self._stack.enter_context(ThreadPoolExecutor(1))
        switchboard = Switchboard(
            self._agent, openai=self._model.openai, model="loopback", audio="pcmu", data_dir=self._data_dir, disk=disk,
            **self._options,
        )  # fmt: skip
        switchboard.live.add_listener(self)
        if self._listener is not None:
            switchboard.live.add_listener(self._listener)
        self._stack.push_async_callback(switchboard.close)
        self.server, _ = await self._stack.enter_async_context(serving(answer=switchboard.answer))
        return self

    async def __aexit__(self, *error):
        await self._stack.aclose()

    def call_began(self, call):
        pass

    def call_ended(self, _details, ending):
        if ending.record is not None:
            self.records.append(ending.record)

    async def call(self, *steps):
        return await place_call(await fetch_stream(self.server.url + "/twilio/voice"), steps)


async def greet(call, ms=400):
    return await call.reply(ms, text=GREETING, asked=await call.expect("response.create"))


async def answer_speech(call, ms, text="Right away."):
    """What a model with server VAD does when the caller speaks, and has spoken."""
    await call.hears_speech()
    await call.say({"type": "input_audio_buffer.speech_started", "audio_start_ms": 0, "item_id": "user_1"})
    truncate = await call.expect("conversation.item.truncate") if text else None
    await call.say(
        {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": 300, "item_id": "user_1"},
        {"type": "input_audio_buffer.committed", "item_id": "user_1"},
    )
    await call.reply(ms, text=text)
    return truncate


# ---- calls as they should be -----------------------------------------------------------------------------------------------


@on_uvloop
async def test_a_caller_is_greeted_interrupts_and_is_answered(tmp_path):
    async with LoopbackModel() as model, Exchange(model, data_dir=tmp_path) as exchange:
        calling = asyncio.create_task(
            exchange.call(InterruptAfter(300), Say(tone(200)), WaitForAgent(quiet_ms=250), HangUp())
        )
        call = await model.call()
        update = await call.expect("session.update")
        assert update["session"]["instructions"] == "Be kind."
        assert update["session"]["audio"]["output"]["format"] == {"type": "audio/pcmu"}
        item = await call.begin_reply(3000, text=GREETING, asked=await call.expect("response.create"))
        truncate = await answer_speech(call, 300)
        result = await calling
        await call.ended.wait()

        assert (result.failure, result.problems) == (None, ())
        assert truncate["item_id"] == item
        assert truncate["audio_end_ms"] == pytest.approx(result.heard_ms(0, 24_000), abs=20)
        assert len(result.clears) == 1
        assert result.heard_ms(len(result.wire) - 2400, len(result.wire)) == 300
        assert call.socket.close_code == 1000
    (record,) = exchange.records
    assert record.problems == ()
    assert [(line.role, line.cut) for line in record.transcript] == [("assistant", True), ("assistant", False)]
    assert [b.audio_end_ms for b in record.barge_ins] == [truncate["audio_end_ms"]]
    folder = CallFolder(tmp_path, record.call_sid)
    assert folder.read_record() == record
    assert all(path.stat().st_size > 44 for path in (folder.tape, folder.recording, folder.timeline))


@on_uvloop
async def test_a_hang_up_in_the_middle_of_a_reply_ends_the_model_session_and_keeps_what_was_heard(tmp_path):
    async with LoopbackModel() as model, Exchange(model, data_dir=tmp_path) as exchange:
        calling = asyncio.create_task(exchange.call(InterruptAfter(200), HangUp()))
        call = await model.call()
        await call.begin_reply(5000, text=GREETING, asked=await call.expect("response.create"))
        result = await calling
        await call.ended.wait()
        assert result.failure is None
        assert call.socket.close_code == 1000
    (record,) = exchange.records
    assert "hung up" in record.disposition
    (line,) = record.transcript
    assert line.cut
    assert record.duration_ms == pytest.approx(1000 * result.seconds, abs=100)


@on_uvloop
async def test_a_model_killed_in_the_middle_of_a_reply_and_started_again_goes_on_without_greeting(tmp_path, caplog):
    async with LoopbackModel() as model, Exchange(model, data_dir=tmp_path) as exchange:
        calling = asyncio.create_task(exchange.call(Pause(1400), Say(tone(100)), WaitForAgent(quiet_ms=250), HangUp()))
        first = await model.call()
        await greet(first, 800)
        model.refuse = 503
        first.drop()
        await until(lambda: model.attempts >= 3)
        model.refuse = None
        second = await model.call()
        await second.expect("session.update")
        restored = await second.expect("conversation.item.create")
        note = await second.expect("conversation.item.create")
        await second.hears_speech()
        await second.reply(200, text="Yes?")
        result = await calling
        await second.ended.wait()

        assert result.failure is None
        assert result.clears == ()
        assert result.wire == tone(800) + tone(200)
        assert result.heard_ms(0, len(result.wire)) == 1000
        assert restored["item"]["role"] == "assistant"
        assert restored["item"]["content"] == [{"type": "output_text", "text": GREETING}]
        assert "do not greet again" in note["item"]["content"][0]["text"]
        assert [event["type"] for event in second.received].count("response.create") == 0
        update = second.received[0]["session"]
        assert update["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    (record,) = exchange.records
    assert [line.text for line in record.transcript] == [GREETING, "Yes?"]
    assert "the model is lost: the model's socket broke" in caplog.text


@on_uvloop
async def test_a_reply_that_was_lost_with_its_model_is_asked_for_once_more():
    async with LoopbackModel() as model, Exchange(model) as exchange:
        calling = asyncio.create_task(exchange.call(WaitForAgent(quiet_ms=500), HangUp()))
        first = await model.call()
        await first.begin_reply(300, text=GREETING, asked=await first.expect("response.create"))
        first.drop()
        second = await model.call()
        asked = await second.expect("response.create")
        await second.reply(200, text="As I said.", asked=asked)
        result = await calling
        assert result.failure is None
        assert result.heard_ms(0, len(result.wire)) == 500
        kinds = [event["type"] for event in second.received]
        assert kinds.count("response.create") == 1
        assert kinds.index("conversation.item.create") < kinds.index("response.create")


# ---- calls that cannot be ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ({"refuse": 401}, "HTTP 401"),
        ({"refuse": 429, "refusal": '{"error":{"code":"insufficient_quota"}}'}, "HTTP 429 insufficient_quota"),
        ({"then_closes": (3000, "invalid_request_error.invalid_api_key")}, "3000 invalid_request_error.invalid_api_key"),
        ({"confirms": False, "first_words": ['{"type":"error","error":{"type":"x","message":"not today"}}']}, "not today"),
    ],
    ids=["401", "429", "3000", "error"],
)  # fmt: skip
@on_uvloop
async def test_a_call_whose_model_cannot_be_had_ends_at_once_and_says_why(trouble, told, tmp_path, caplog):
    async with LoopbackModel(**trouble) as model, Exchange(model, data_dir=tmp_path) as exchange:
        result = await exchange.call(WaitForAgent(), HangUp())
        assert "the server closed the stream (1011)" in result.failure
        assert result.seconds < 2
    assert told in caplog.text
    (record,) = exchange.records
    assert (record.disposition, record.transcript) == ("the session could not begin", ())


@on_uvloop
async def test_a_model_that_is_lost_for_good_ends_the_call_in_order(tmp_path, caplog):
    async with LoopbackModel() as model, Exchange(model, data_dir=tmp_path) as exchange:
        calling = asyncio.create_task(exchange.call(WaitForAgent(quiet_ms=5000), HangUp()))
        call = await model.call()
        await greet(call, 100)
        await call.close(3000, "invalid_request_error.invalid_api_key")
        result = await calling
        assert "(1011)" in result.failure
    (record,) = exchange.records
    assert any("3000" in problem for problem in record.problems)
    assert "3000 invalid_request_error.invalid_api_key" in caplog.text


@on_uvloop
async def test_a_caller_who_hangs_up_before_the_model_answers_leaves_nothing(caplog):
    async with LoopbackModel(confirms=False) as model, Exchange(model) as exchange:
        reached = asyncio.Event()
        calling = asyncio.create_task(exchange.call(Until(reached.is_set, "reached the model", 60.0), HangUp()))
        call = await model.confirmed_call()
        reached.set()
        result = await calling
        assert result.failure is None
        await call.ended.wait()
    assert "the caller hung up while the model was being reached" in caplog.text


@tool
async def lookup(order: str) -> str:
    """Look an order up."""
    return order


async def failing_instructions(context, agent):
    raise LookupError("no such customer")


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        (Agent(name="Twins", tools=[lookup, lookup]), "lookup"),
        (Agent(name="Lost", instructions=failing_instructions), "no such customer"),
    ],
    ids=["misuse", "user code"],
)
@on_uvloop
async def test_an_agent_that_cannot_begin_ends_the_call_with_a_log_line(agent, told, caplog, tmp_path):
    async with LoopbackModel() as model, Exchange(model, agent=agent, data_dir=tmp_path) as exchange:
        result = await exchange.call(WaitForAgent(), HangUp())
        assert "the server closed the stream" in result.failure
    assert told in caplog.text
    assert len(exchange.records) == 1
    assert model.attempts == 0


class FailingListener:
    def call_began(self, _call):
        raise ZeroDivisionError("a bug at the beginning")

    def call_ended(self, _details, _ending):
        raise ZeroDivisionError("a bug at the end")


@on_uvloop
async def test_listeners_that_fail_are_logged_and_leave_nothing(tmp_path, caplog):
    def fail(_starts):
        raise ZeroDivisionError("a bug among the items")

    async with (
        LoopbackModel() as model,
        Exchange(model, data_dir=tmp_path, listener=FailingListener(), on_item_starts=fail) as exchange,
    ):
        await exchange.call(Pause(50), HangUp())
    assert len(exchange.records) == 1
    assert all(f"a bug {where}" in caplog.text for where in ("at the beginning", "among the items", "at the end"))


# ---- calls with peers that misbehave -----------------------------------------------------------------------------------------


@on_uvloop
async def test_a_model_that_talks_nonsense_is_survived_with_a_few_log_lines(tmp_path, caplog):
    nonsense = ["garbage", "[]", '{"type":"response.created","response":7}', '{"type":"x","a":' + "[" * 9999, b"\0\1"]
    async with LoopbackModel() as model, Exchange(model, data_dir=tmp_path) as exchange:
        calling = asyncio.create_task(exchange.call(WaitForAgent(quiet_ms=250), HangUp()))
        call = await model.call()
        await call.say(*nonsense * 100)
        await greet(call, 200)
        result = await calling
        assert result.failure is None
        assert result.wire == tone(200)
    lines = [record for record in caplog.records if "malformed" in record.message]
    assert 3 <= len(lines) <= 20
    (record,) = exchange.records
    assert any("malformed" in problem for problem in record.problems)


@on_uvloop
async def test_a_phone_that_sends_rubbish_and_wild_timestamps_is_survived_and_recorded(tmp_path, caplog):
    sid = "CA" + "7" * 32
    async with (
        LoopbackModel() as model,
        Exchange(model, data_dir=tmp_path) as exchange,
        in_call(exchange.server, sid) as (socket, writer),
    ):
        call = await model.confirmed_call()
        for at in (0, 2**53, 20, 10**9, 40):
            await socket.send(writer.media(b"\x11" * 160, at), text=True)
        for bad in (b"\0", "{", "[" * 5000, json.dumps({"event": "media"})):
            await socket.send(bad)
        await socket.send(writer.media(b"\x22" * 160, 60), text=True)
        await until(lambda: any("IiIi" in audio for audio in call.appended))
        await socket.send(writer.stop(), text=True)
        await call.ended.wait()
    (record,) = exchange.records
    assert record.duration_ms < 60_000
    assert "media stream" in caplog.text
    assert CallFolder(tmp_path, sid).recording.stat().st_size < 2_000_000


@on_uvloop
async def test_many_calls_at_once_leave_nothing_behind(tmp_path):
    async with LoopbackModel() as model, Exchange(model, data_dir=tmp_path) as exchange:
        for round_ in range(2):
            async with contextlib.AsyncExitStack() as stack:
                sids = [f"CA{8 * round_ + n:032}" for n in range(8)]
                phones = [await stack.enter_async_context(in_call(exchange.server, sid)) for sid in sids]
                for n, call in enumerate([await model.call() for _ in phones]):
                    await call.begin_reply(200, asked=await call.expect("response.create"))
                    if n % 4 == 0:
                        await call.close(1008)
                    elif n % 4 == 1:
                        call.drop()
                for n, (socket, writer) in enumerate(phones):
                    if n % 4 == 2:
                        socket.transport.abort()
                    elif n % 4 == 3:
                        await socket.send(writer.stop(), text=True)
            await until(lambda: exchange.server.media.calls == 0)
            model.forget()
    assert len(exchange.records) == 16


@on_uvloop
async def test_neither_key_nor_token_is_in_any_log_line(tmp_path, caplog):
    caplog.set_level(1)
    async with LoopbackModel() as model, Exchange(model, data_dir=tmp_path) as exchange:
        stream = await fetch_stream(exchange.server.url + "/twilio/voice")
        calling = asyncio.create_task(place_call(stream, [WaitForAgent(quiet_ms=100), HangUp()]))
        call = await model.call()
        await greet(call, 60)
        await call.say("nonsense", {"type": "error", "error": {"type": "x", "message": "just so"}})
        await calling
    ours = [record for record in caplog.records if not record.name.startswith("websockets")]
    text = "\n".join(record.getMessage() + repr(record.args) + str(record.exc_text) for record in ours)
    assert "just so" in text
    assert KEY not in text
    assert stream.parameters["token"] not in text
    assert stream.parameters["token"] not in CallFolder(
        tmp_path, exchange.records[0].call_sid
    ).tape.read_bytes().decode("latin-1")
    assert logging.getLogger().level == 1
    assert CALL
