"""One phone call between a real media socket and a real model socket, with peers that break every rule."""

import asyncio
import contextlib
import json

import pybase64
import pytest
from support.loopback_model import LoopbackModel, tone
from support.phone_call import flows, ringing, talking
from support.quiet import quietly, until
from websockets.exceptions import ConnectionClosed

from realtime_bridge.errors import MisuseError, TransportError
from realtime_bridge.transport.base import (
    DtmfReceived,
    ModelConnected,
    ModelLost,
    PlaybackFinished,
    PlaybackInterrupted,
    PlaybackStarted,
    SpareReady,
    TransportClosed,
    TransportProblem,
)
from realtime_bridge.transport.model_socket import ModelSocket
from realtime_bridge.wire import Item, client, server
from telephony.bridge import Bridge
from telephony.transport import TwilioTransport

KEPT = (TwilioTransport, ModelSocket, Bridge)
on_uvloop = quietly(keeps=KEPT)
on_both_loops = quietly("asyncio", "uvloop", keeps=KEPT)
PCMU = {way: {"format": {"type": "audio/pcmu"}} for way in ("input", "output")}


# ---- the ordinary call -------------------------------------------------------------------------------------------------


@on_both_loops
async def test_sound_keys_and_marks_go_both_ways_until_the_caller_hangs_up():
    async with talking() as (program, caller, call):
        await caller.says(b"\x11" * 160, b"\x22" * 160)
        assert await call.hears(2) == [b"\x11" * 160, b"\x22" * 160]
        await caller.socket.send(caller.writer.dtmf("#"), text=True)
        assert (await program.hears(DtmfReceived)).digit == "#"
        await call.reply(100)
        await program.hears(PlaybackFinished)
        assert caller.heard == tone(100)
        await caller.socket.send(caller.writer.stop(), text=True)
        assert await program.ends() == "the caller hung up, or the call was moved on"
        assert await caller.closed() == 1000
        await call.ended.wait()
        assert call.socket.close_code == 1000


@on_uvloop
async def test_words_spoken_while_the_model_is_reached_are_heard_first():
    async with LoopbackModel(confirms=False) as model, ringing(model) as (program, caller):
        await caller.says(b"\x01" * 160)
        connecting = asyncio.create_task(program.connect())
        call = await model.call()
        update = await call.expect("session.update")
        await caller.says(b"\x02" * 160)
        await caller.socket.ping()
        await call.confirm(update)
        await connecting
        await caller.says(b"\x03" * 160)
        await until(lambda: b"".join(map(pybase64.b64decode, call.appended)).endswith(b"\x03"))
        heard = b"".join(map(pybase64.b64decode, call.appended))
        assert heard == b"\x01" * 160 + b"\x02" * 160 + b"\x03" * 160


@on_uvloop
async def test_a_barge_in_clears_the_phone_and_tells_the_model_what_was_heard():
    async with talking(echoes=False) as (program, caller, call):
        item = await call.begin_reply(2000)
        await program.hears(PlaybackStarted)
        await call.say({"type": "input_audio_buffer.speech_started", "audio_start_ms": 0, "item_id": "u"})
        truncate = await call.expect("conversation.item.truncate")
        assert truncate["item_id"] == item
        assert 0 <= truncate["audio_end_ms"] < 1000
        cut = (await program.hears(PlaybackInterrupted)).cuts[0]
        assert (cut.heard_ms, cut.audio_ms) == (truncate["audio_end_ms"], 2000)
        await caller.until(lambda: caller.clears == 1)


@on_uvloop
async def test_the_program_cannot_speak_for_the_caller_nor_connect_twice():
    async with talking() as (program, caller, call):
        with pytest.raises(MisuseError, match="caller of its own"):
            program.transport.send_audio(b"\0")
        with pytest.raises(MisuseError, match="make a new one"):
            await program.connect()
        await flows(program, caller, call)


@on_uvloop
async def test_our_own_audio_is_played_and_known_to_be_heard_or_not():
    async with talking() as (program, caller, call):
        assert await program.transport.play(b"\x22" * 1600)
        assert await program.transport.play(b"")
        assert caller.heard == b"\x22" * 1600
        program.transport.hold(b"\x33" * 8000)
        await caller.hears(1600 + 4000)
        await call.reply(100)
        program.transport.end_hold()
        await caller.until(lambda: caller.heard.endswith(tone(100)))
        with pytest.raises(MisuseError, match="180 s"):
            program.transport.play(bytes(8000 * 181))
        await flows(program, caller, call)
        late = program.transport.play(b"\x22" * 80_000)
        await caller.socket.send(caller.writer.stop(), text=True)
        assert not await late
        assert not await program.transport.play(b"\x22")


# ---- a phone that breaks the rules -----------------------------------------------------------------------------------------


def of_another_stream(frame: bytes) -> bytes:
    return json.dumps({**json.loads(frame), "streamSid": "MZ" + "9" * 32}).encode()


BAD_FRAMES = {
    "broken JSON": lambda writer: b'{"event":"media","media":{',
    "no JSON": lambda writer: b"hello?",
    "wrong stream": lambda writer: of_another_stream(writer.media(b"\x11", 0)),
    "not base64": lambda writer: writer.media(b"\xff" * 3, 0).replace(b"////", b"/*//"),
    "half of base64": lambda writer: writer.media(b"\xff" * 3, 0).replace(b"////", b"///"),
    "empty": lambda writer: writer.media(b"", 0),
    "another start": lambda writer: writer.start({"token": "x"}),
    "connected again": lambda writer: writer.connected(),
    "unknown event": lambda writer: b'{"event":"sparkles","sequenceNumber":"9","streamSid":"MZ"}',
    "number too large": lambda writer: writer.media(b"\x11", 0).replace(b'"timestamp":"0"', b'"timestamp":"1e999"'),
    "deep": lambda writer: b'{"event":"media","media":' + b"[" * 60_000,
    "not UTF-8": lambda writer: None,
}


@pytest.mark.parametrize("make_bad", BAD_FRAMES.values(), ids=BAD_FRAMES)
@on_uvloop
async def test_a_bad_frame_of_the_phone_is_reported_and_the_call_goes_on(make_bad, caplog):
    async with talking() as (program, caller, call):
        bad = make_bad(caller.writer)
        await caller.socket.send(b"\xff\xfe{" if bad is None else bad, text=True)
        await program.hears(TransportProblem)
        assert "the phone sent a bad message" in program.told(TransportProblem)[0].message
        assert "media stream" in caplog.text
        await flows(program, caller, call)


@on_uvloop
async def test_binary_frames_are_reported_now_and_then_and_survived():
    async with talking() as (program, caller, call):
        for _ in range(50):
            await caller.socket.send(b"\0" * 160)
        await flows(program, caller, call)
        assert 1 <= len(program.told(TransportProblem)) <= 5


@on_uvloop
async def test_frames_of_odd_lengths_are_passed_on_as_they_are():
    async with talking() as (_program, caller, call):
        pieces = [b"\x11", b"\x22" * 3, b"\x33" * 159, b"\x44" * 161, b"\x55" * 4001]
        await caller.says(*pieces)
        assert await call.hears(5) == pieces


@on_uvloop
async def test_a_frame_of_one_megabyte_ends_the_call_and_its_model_session():
    async with talking() as (program, caller, call):
        with contextlib.suppress(ConnectionClosed):
            await caller.socket.send("x" * 1_000_000)
        await program.ends()
        await call.ended.wait()
        assert call.socket.close_code == 1000
        assert await caller.closed() == 1009


@on_uvloop
async def test_a_phone_that_echoes_no_marks_is_judged_by_the_clock():
    async with talking(echoes=False) as (program, _caller, call):
        await call.reply(60)
        finished = await program.hears(PlaybackFinished)
        assert finished.audio_ms == 60
        item = await call.begin_reply(2000)
        await program.hears(PlaybackStarted, 2)
        program.transport.interrupt()
        cancel, truncate = await call.expect("response.cancel"), await call.expect("conversation.item.truncate")
        assert f"item_{cancel['response_id']}" == truncate["item_id"] == item
        assert truncate["audio_end_ms"] < 1000


@on_uvloop
async def test_marks_that_were_never_asked_for_change_nothing():
    async with talking() as (program, caller, call):
        for name in ("m1", "m999", "", "x" * 1000):
            await caller.socket.send(caller.writer.mark(name), text=True)
        await flows(program, caller, call)
        assert program.told(TransportProblem) == []


@pytest.mark.parametrize("end", ["stop", "close", "abort"])
@on_both_loops
async def test_a_hang_up_in_the_middle_of_a_reply_ends_everything(end):
    async with talking() as (program, caller, call):
        await call.begin_reply(5000)
        await caller.hears(8000)
        if end == "stop":
            await caller.socket.send(caller.writer.stop(), text=True)
        elif end == "close":
            await caller.socket.close(1001)
        else:
            caller.socket.transport.abort()
        await program.ends()
        await call.ended.wait()
        assert call.socket.close_code == 1000
        assert await program.transport.wait_ended() == program.seen[-1].reason
        program.transport.send(client.ResponseCreate())
        program.transport.interrupt()
        program.transport.resume()
        program.transport.rotate()
        await program.transport.close("once more")
        assert isinstance(program.seen[-1], TransportClosed)


# ---- before the model is there ---------------------------------------------------------------------------------------------


@on_both_loops
async def test_a_caller_who_hangs_up_while_the_model_does_not_confirm_ends_the_wait():
    async with LoopbackModel(confirms=False) as model, ringing(model) as (program, caller):
        connecting = asyncio.create_task(program.connect())
        call = await model.confirmed_call()
        await caller.socket.send(caller.writer.stop(), text=True)
        with pytest.raises(TransportError, match="hung up") as caught:
            await connecting
        assert not caught.value.retryable
        await call.ended.wait()
        assert await caller.closed() == 1000


@on_both_loops
async def test_a_caller_who_hangs_up_while_the_model_is_reached_is_not_waited_for():
    never = asyncio.Event()

    class Slow:
        async def open_model(self, **_):
            await never.wait()

    async with ringing(Slow()) as (program, caller):
        connecting = asyncio.create_task(program.connect())
        await asyncio.sleep(0)
        await caller.socket.close()
        with pytest.raises(TransportError, match="hung up"):
            await connecting


@on_uvloop
async def test_a_call_that_was_over_before_anybody_listened_cannot_be_connected():
    async with LoopbackModel() as model, ringing(model) as (program, caller):
        await caller.says(b"\x11" * 160)
        await caller.socket.send(b"\0")
        await caller.socket.close()
        await program.transport.wait_ended()
        with pytest.raises(TransportError, match="hung up"):
            await program.connect()
        assert [type(event) for event in program.seen] == [TransportProblem, TransportClosed]
        assert model.attempts == 0


@pytest.mark.parametrize("status", [401, 403, 429, 500])
@on_uvloop
async def test_a_model_that_refuses_the_connection_leaves_an_orderly_end(status):
    async with LoopbackModel(refuse=status) as model, ringing(model) as (program, caller):
        with pytest.raises(TransportError, match=f"HTTP {status}"):
            await program.connect()
        await program.transport.close("no model")
        assert await caller.closed() == 1011


@on_uvloop
async def test_a_model_that_never_confirms_leaves_an_orderly_end():
    async with LoopbackModel(confirms=False) as model, ringing(model, ready_s_max=0.05) as (program, caller):
        with pytest.raises(TransportError, match="did not confirm the session within"):
            await program.connect()
        await (await model.call()).ended.wait()
        await program.transport.close("no model")
        assert await caller.closed() == 1011


@on_uvloop
async def test_a_model_that_refuses_the_session_is_told_by_its_words():
    async with LoopbackModel(confirms=False) as model, ringing(model) as (program, _caller):
        connecting = asyncio.create_task(program.connect())
        call = await model.confirmed_call()
        await call.say({"type": "error", "error": {"type": "x", "code": "insufficient_quota", "message": "pay first"}})
        with pytest.raises(TransportError, match="refused the session: pay first") as caught:
            await connecting
        assert (caught.value.code, caught.value.retryable) == ("insufficient_quota", False)


@pytest.mark.parametrize("ending", ["close frame", "none"])
@on_both_loops
async def test_a_model_that_goes_instead_of_confirming_is_told_once(ending):
    async with LoopbackModel(confirms=False) as model, ringing(model) as (program, _caller):
        connecting = asyncio.create_task(program.connect())
        call = await model.confirmed_call()
        if ending == "none":
            call.drop()
        else:
            await call.close(3000, "invalid_request_error.invalid_api_key")
        with pytest.raises(TransportError, match=r"3000|broke"):
            await connecting
        assert program.told(ModelLost) == []
        assert model.attempts == 1


@on_uvloop
async def test_a_model_that_insists_on_another_format_is_asked_once_more_and_refused():
    async with LoopbackModel(confirms=False) as model, ringing(model) as (program, _caller):
        connecting = asyncio.create_task(program.connect())
        call = await model.call()
        for _ in range(2):
            update = await call.expect("session.update")
            assert update["session"]["audio"]["input"]["format"] == {"type": "audio/pcmu"}
            wrong = {"audio": {**PCMU, "output": {"format": {"type": "audio/pcm", "rate": 24000}}}}
            await call.say({"type": "session.updated", "session": wrong})
        with pytest.raises(TransportError, match=r"format is not the call's \(audio/pcmu\): output audio/pcm"):
            await connecting


# ---- a model that talks nonsense -------------------------------------------------------------------------------------------


MALFORMED = [
    "garbage", "{}", "[]", '{"type":5}', '{"type":"error","error":"boo"}', '{"type":"response.output_audio.delta"}',
    '{"type":"response.created","response":7}', '{"type":"session.updated","session":"x"}', '{"type":"x","a":' + "[" * 99_999,
]  # fmt: skip
DELTA = {
    "type": "response.output_audio.delta",
    "response_id": "r",
    "item_id": "i",
    "output_index": 0,
    "content_index": 0,
}
STRANGE = [
    {"type": "response.sparkles"},
    {"type": "session.updated", "session": {"audio": [1, 2]}},
    {"type": "session.updated", "session": {"audio": {"input": "x", "output": {"format": "audio/pcmu"}}}},
    {"type": "session.updated", "session": {"audio": {"input": {"turn_detection": "yes"}}}},
    {**DELTA, "delta": "not base64!"},
    {**DELTA, "delta": "////A"},
    {**DELTA, "delta": ""},
    {**DELTA, "delta": "/w==", "content_index": -1},
    {**DELTA, "delta": "/w==", "response_id": "", "item_id": ""},
    {"type": "response.output_audio.done", "response_id": "?", "item_id": "?", "output_index": 9, "content_index": 9},
    {"type": "response.done", "response": {}},
    {"type": "response.done", "response": {"id": "nobody's"}},
    {"type": "response.created", "response": {}},
    {"type": "input_audio_buffer.speech_started", "audio_start_ms": -1, "item_id": ""},
    {"type": "error", "error": {"type": "x", "message": "9" * 5000 + " ms", "event_id": "bridge_1"}},
    {"type": "conversation.item.truncated", "item_id": "?", "content_index": 0, "audio_end_ms": 10**15},
]


@on_uvloop
async def test_malformed_events_are_reported_now_and_then_and_survived():
    async with talking() as (program, caller, call):
        await call.say(*MALFORMED, b"\0\1", *MALFORMED * 10)
        await flows(program, caller, call)
        problems = [problem.message for problem in program.told(TransportProblem)]
        assert 3 <= len(problems) <= 30
        assert all("malformed event" in problem for problem in problems)


@on_uvloop
async def test_strange_events_harm_nothing():
    async with talking() as (program, caller, call):
        for event in STRANGE:
            await call.say(event)
        await flows(program, caller, call)
        problems = [problem.message for problem in program.told(TransportProblem)]
        left_out = ["audio that is not base64 was left out"] * 2
        assert problems == [*left_out, "the model sent a malformed event: Expected `int` >= 0 (at $.content_index)"]


@on_uvloop
async def test_an_error_about_a_truncate_with_absurd_numbers_is_passed_on():
    async with talking() as (program, caller, call):
        item = await call.begin_reply(1000)
        await program.hears(PlaybackStarted)
        program.transport.interrupt()
        truncate = await call.expect("conversation.item.truncate")
        message = f"Audio content of {'9' * 5000}ms is already shorter than {truncate['audio_end_ms']}ms"
        await call.say({"type": "error", "error": {"type": "x", "message": message, "event_id": truncate["event_id"]}})
        await program.hears(server.ErrorEvent)
        await call.end_reply(item, status="cancelled")
        await flows(program, caller, call)


@on_uvloop
async def test_audio_cut_within_a_sample_is_played_whole():
    async with talking(audio="pcm") as (program, caller, call):
        audio = bytes(range(256)) * 75  # 400 ms
        await call.say({"type": "response.created", "response": {"id": "r", "conversation_id": "c"}})
        for size in (1, 3, 95, 961, 4801, len(audio)):
            piece, audio = audio[:size], audio[size:]
            await call.say({**DELTA, "delta": pybase64.b64encode_as_string(piece)})
        await call.say({**DELTA, "type": "response.output_audio.done"})
        finished = await program.hears(PlaybackFinished)
        assert finished.audio_ms == 400
        assert len(caller.heard) == 3200 + 160  # and the filter's tail, padded to a frame


@on_uvloop
async def test_a_message_of_20_mb_costs_the_connection_and_not_the_call():
    async with talking() as (program, _caller, call):
        await call.say("x" * 20_000_000)
        assert str(16 * 1024 * 1024) in (await program.hears(ModelLost)).message
        await program.hears(ModelConnected, 2)


@on_uvloop
async def test_a_model_that_stops_reading_costs_the_connection_and_not_the_call():
    async with talking() as (program, caller, call):
        call.socket.transport.pause_reading()
        item = Item(type="message", content=())
        for n in range(200):
            await asyncio.sleep(0)
            if program.told(ModelLost):
                break
            event = client.ConversationItemCreate(item=item, event_id=f"{n}" + "x" * 200_000)
            program.transport.send(event)
        assert (await program.hears(ModelLost)).message == "the model has stopped reading"
        await program.hears(ModelConnected, 2)
        await caller.says(b"\x11" * 160)


# ---- a model that goes away ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1001, 1011, None])
@on_both_loops
async def test_a_model_that_goes_in_the_middle_of_a_reply_is_replaced_and_what_it_said_plays_on(code):
    async with LoopbackModel() as model, ringing(model) as (program, caller):
        await program.connect()
        call = await model.confirmed_call()
        await call.begin_reply(300)
        await caller.hears(2400)
        if code is None:
            call.drop()
        else:
            await call.close(code)
        lost = await program.hears(ModelLost)
        assert (lost.code, lost.retryable) == (code, True)
        await caller.says(b"\x01" * 160)
        fresh = await model.call()
        await program.hears(ModelConnected, 2)
        await caller.says(b"\x02" * 160)
        program.transport.send(client.SessionUpdate(session={"instructions": "Go on."}))
        assert (await fresh.expect("session.update"))["session"]["audio"] == PCMU
        await program.hears(server.SessionUpdated, 2)
        await caller.says(b"\x03" * 160)
        assert fresh.appended == []
        await until(lambda: caller.socket.transport.get_write_buffer_size() == 0)
        program.transport.resume()
        await caller.says(b"\x04" * 160)
        await until(lambda: b"\x04" in b"".join(map(pybase64.b64decode, fresh.appended)))
        spoken = b"".join(map(pybase64.b64decode, fresh.appended)).replace(b"\xff", b"")
        assert spoken == b"".join(bytes([n]) * 160 for n in range(1, 5))
        await program.hears(PlaybackFinished)
        assert caller.heard == tone(300)
        assert caller.clears == 0
        await flows(program, caller, fresh)


@pytest.mark.parametrize("code", [1008, 3000])
@on_uvloop
async def test_a_model_that_closes_for_good_is_told_as_the_end_of_it(code):
    async with talking() as (program, caller, call):
        await call.close(code, "no more")
        lost = await program.hears(ModelLost)
        assert (lost.code, lost.retryable) == (code, False)
        await program.transport.close("the model is gone")
        assert await caller.closed() == 1011


@on_uvloop
async def test_a_fresh_session_that_is_never_confirmed_is_given_up_at_last():
    async with LoopbackModel() as model, ringing(model, ready_s_max=0.05) as (program, _caller):
        await program.connect()
        model.confirms = False
        (await model.confirmed_call()).drop()
        async with asyncio.timeout(60):
            while (await program.hears(ModelLost, len(program.told(ModelLost)) + 1)).retryable:
                pass
        assert "did not confirm" in program.told(ModelLost)[-1].message
        assert model.attempts <= 8


@on_uvloop
async def test_a_fresh_session_with_another_format_is_the_end_of_it():
    async with LoopbackModel() as model, ringing(model) as (program, _caller):
        await program.connect()
        model.confirms = False
        (await model.confirmed_call()).drop()
        fresh = await model.call()
        await program.hears(ModelConnected, 2)
        program.transport.send(client.SessionUpdate(session={}))
        for _ in range(2):
            await fresh.expect("session.update")
            await fresh.say(
                {"type": "session.updated", "session": {"audio": {"input": {"format": {"type": "audio/pcma"}}}}}
            )
        lost = await program.hears(ModelLost, 2)
        assert not lost.retryable
        assert "input audio/pcma" in lost.message


@on_uvloop
async def test_what_is_sent_while_the_model_is_away_is_reported_as_not_sent():
    async with LoopbackModel() as model, ringing(model) as (program, _caller):
        await program.connect()
        model.refuse = 503
        (await model.confirmed_call()).drop()
        await program.hears(ModelLost)
        program.transport.send(client.ResponseCreate())
        assert "ResponseCreate was not sent" in program.told(TransportProblem)[-1].message
        assert not (await program.hears(ModelLost, 2)).retryable


@on_uvloop
async def test_changing_to_a_spare_session_costs_the_caller_nothing():
    async with LoopbackModel() as model, ringing(model) as (program, caller):
        await program.connect()
        old = await model.confirmed_call()
        await caller.says(b"\x01" * 160)
        await old.hears(1)
        await old.begin_reply(200)
        await caller.hears(1600)
        program.transport.rotate()
        spare = await model.confirmed_call()
        await program.hears(SpareReady)
        program.transport.switch()
        await caller.says(b"\x02" * 160)
        await old.ended.wait()
        program.transport.send(client.ConversationItemCreate(item=Item(type="message")))
        await spare.expect("conversation.item.create")
        program.transport.resume()
        await caller.says(b"\x03" * 160)
        # The last that the old one heard, too: had the caller begun to speak, it would not have noticed yet.
        assert await spare.hears(2) == [b"\x01" * 160 + b"\x02" * 160, b"\x03" * 160]
        await program.hears(PlaybackFinished)
        assert caller.heard == tone(200)
        assert program.told(ModelLost) == []
        await flows(program, caller, spare)


# ---- our own faults ----------------------------------------------------------------------------------------------------------


class BrokenTap:
    """A tap that breaks its promise, in the middle of the machine's commands."""

    def phone_message(self, *_):
        pass

    bridge_made = model_frame = program_input = played = phone_message

    def command(self, command, now):
        raise ZeroDivisionError("a fault of ours")


@on_uvloop
async def test_a_fault_of_ours_ends_this_call_in_order_and_says_so(caplog):
    async with LoopbackModel() as model, ringing(model, tap=BrokenTap()) as (program, caller):
        with pytest.raises(TransportError):
            await program.connect()
        assert await program.ends() == "internal error"
        assert await caller.closed() == 1011
        assert "a fault of ours" in caplog.text


@on_uvloop
async def test_many_calls_leave_nothing_behind():
    async with LoopbackModel() as model:
        for end in ("stop", "abort", "model", "program") * 3:
            async with ringing(model) as (program, caller):
                await program.connect()
                call = await model.confirmed_call()
                await flows(program, caller, call)
                if end == "stop":
                    await caller.socket.send(caller.writer.stop(), text=True)
                    await program.ends()
                elif end == "abort":
                    caller.socket.transport.abort()
                    await program.ends()
                elif end == "model":
                    await call.close(1008)
                    await program.hears(ModelLost)
