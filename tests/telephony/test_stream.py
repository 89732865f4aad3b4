"""The media socket on a real port: what reaches a call, who is refused, and what is left when it is over."""

import asyncio
import contextlib
import json
import logging

import picows
import pytest
from support.phone_server import (
    CALL,
    PUBLIC_URL,
    STREAM,
    TOKEN,
    both_loops,
    closed_with,
    http,
    in_call,
    media_url,
    phone,
    plain,
    serving,
    token_for,
)
from twilio.request_validator import RequestValidator
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from realtime_bridge.errors import MisuseError
from telephony.tokens import TokenVerdict
from telephony.twilio.media_stream import FRAME_BYTES_MAX
from telephony.twilio.messages import BinaryFrameError, Dtmf, Mark, Media, OversizedFrameError, PayloadError, Stop


@both_loops
async def test_a_call_flows_both_ways_and_ends_in_order():
    async with serving() as (server, calls):
        async with in_call(server) as (socket, writer):
            sent = [writer.media(b"\x7f" * 160, 0), writer.dtmf("5"), writer.mark("m1"), writer.stop()]
            for frame in sent:
                await socket.send(frame, text=True)
            echo = json.loads(await socket.recv())
            assert echo["streamSid"] == STREAM
            assert echo["media"]["payload"] == json.loads(sent[0])["media"]["payload"]
            assert await closed_with(socket) == (1000, "goodbye")
        await calls.ended.wait()
        assert [start.call_sid for start in calls.starts] == [CALL]
        assert [type(message) for message in calls.messages] == [Media, Dtmf, Mark, Stop]
        assert calls.frames == sent
        assert calls.ends == ["closed by this server: 1000 goodbye"]
        assert server.media.calls == 0


@both_loops
async def test_http_and_other_websockets_work_on_the_same_port():
    async with serving() as (server, _), in_call(server):
        assert await http(server.url + "/healthz") == (200, '{"status":"ok"}')
        async with connect(server.url.replace("http", "ws", 1) + "/echo") as socket:
            await socket.send("hello")
            assert await socket.recv() == "hello"
        with pytest.raises(InvalidStatus, match="403"):
            await connect(server.url.replace("http", "ws", 1) + "/nowhere")
        assert (await http(server.url + "/twilio/media"))[0] == 404


@both_loops
async def test_an_upgrade_request_may_come_in_many_segments():
    async with serving() as (server, calls):
        token = await token_for(server)
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        request = (
            f"GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n"
            f"GET /twilio/media HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()
        for start in range(0, len(request), 37):
            writer.write(request[start : start + 37])
            await writer.drain()
        assert b'"ok"' in await reader.readuntil(b'"ok"}')
        assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in await reader.readuntil(b"\r\n\r\n")  # RFC 6455, section 1.3
        start = phone().start({"token": token})
        frame = b"\x81\xfe" + len(start).to_bytes(2, "big") + bytes(4) + start  # masked with zeros
        for byte in frame:
            writer.write(bytes([byte]))
            await writer.drain()
        writer.write(b"\x88\x80" + bytes(4))
        assert await reader.read() == b"\x88\x02\x03\xe8"  # the close is answered with 1000, then the socket closes
        await calls.ended.wait()
        assert [s.call_sid for s in calls.starts] == [CALL]
        writer.close()


@both_loops
async def test_a_message_in_fragments_is_put_together():
    async with serving() as (server, calls), in_call(server) as (socket, writer):
        frame = writer.media(b"\x7f" * 160, 0).decode()
        await socket.send([frame[:10], frame[10:200], frame[200:]])
        await socket.recv()
        assert calls.frames == [frame.encode()]


@both_loops
async def test_fragments_out_of_order_close_the_socket():
    async with serving() as (server, calls), in_call(server) as (socket, _):
        # A whole text frame between two fragments: FIN and text, masked with zeros (RFC 6455, section 5.2).
        socket.transport.write(b"\x01\x81\0\0\0\0{" + b"\x81\x81\0\0\0\0{")
        assert await closed_with(socket) == (1002, "fragments out of order")
        await calls.ended.wait()


@both_loops
async def test_a_phone_may_close_in_order():
    async with serving() as (server, calls), in_call(server) as (socket, writer):
        await socket.send(writer.media(b"\x7f", 0), text=True)
        await socket.recv()
        await socket.close(1001, "new TwiML")
        await calls.ended.wait()
        assert calls.ends == ["closed by the phone: 1001 new TwiML"]


@both_loops
async def test_malformed_frames_are_reported_and_the_call_goes_on():
    async with serving() as (server, calls), in_call(server) as (socket, writer):
        for bad in (b"binary", '{"event":"media"', "x" * (FRAME_BYTES_MAX + 1), ["y" * FRAME_BYTES_MAX] * 3):
            await socket.send(bad)
        await socket.send(writer.media(b"\xff", 0).replace(b'/w=="', b'/w"'), text=True)
        await socket.send(writer.media(b"\x7f", 0), text=True)
        await socket.recv()
        kinds = [type(problem) for problem in calls.problems]
        assert (kinds[0], kinds[2], kinds[3], kinds[4]) == (
            BinaryFrameError, OversizedFrameError, OversizedFrameError, PayloadError,
        )  # fmt: skip
        assert len(calls.messages) == 1


@both_loops
async def test_repeated_problems_are_reported_less_often():
    async with serving() as (server, calls), in_call(server) as (socket, writer):
        for _ in range(100):
            await socket.send(b"binary")
        await socket.send(writer.media(b"\x7f", 0), text=True)
        await socket.recv()
        assert len(calls.problems) == 3


@both_loops
async def test_a_frame_beyond_all_limits_closes_the_socket():
    async with serving() as (server, calls), in_call(server) as (socket, _):
        with contextlib.suppress(ConnectionClosed):
            await socket.send("x" * 1_000_000)
        assert (await closed_with(socket))[0] == 1009
        await calls.ended.wait()


@both_loops
async def test_tokens_open_one_stream_of_their_own_call_once():
    async with serving() as (server, calls):
        token = await token_for(server)
        attempts = [
            (CALL, {}, (1008, "no token")),
            (CALL, {"token": "guessed"}, (1008, "the token belongs to another call")),
            ("CA9999", {"token": token}, (1008, "no token is open for this call: it was used, has expired, or never was")),
        ]  # fmt: skip
        for call_sid, parameters, expected in attempts:
            async with connect(media_url(server)) as socket:
                await socket.send(phone(call_sid).start(parameters), text=True)
                assert await closed_with(socket) == expected
        assert calls.starts == []
        for opened in (True, False):
            async with connect(media_url(server)) as socket:
                writer = phone()
                await socket.send(writer.start({"token": token}), text=True)
                await socket.send(writer.media(b"\x7f", 0), text=True)
                if opened:
                    await socket.recv()
                else:
                    assert (await closed_with(socket))[0] == 1008
        assert len(calls.starts) == 1


@both_loops
async def test_what_a_phone_says_while_its_token_is_judged_elsewhere_is_not_lost():
    judged, asked = asyncio.Event(), []

    async def redeem(token, call_sid, known):
        asked.append((token, call_sid, known))
        await judged.wait()
        return TokenVerdict.VALID if token == "of another worker" else known

    async with serving() as (server, calls):
        server.media._redeem_shared = redeem
        for token, opened in (("of another worker", True), ("nobody's", False)):
            judged.clear()
            async with connect(media_url(server)) as socket:
                writer = phone()
                await socket.send(writer.start({"token": token}), text=True)
                for n in range(3):
                    await socket.send(writer.media(bytes([n]), 20 * n), text=True)
                await socket.ping()
                assert (len(calls.starts), len(calls.messages)) == ((0, 0) if opened else (1, 3))
                judged.set()
                if opened:
                    heard = [json.loads(await socket.recv())["media"]["payload"] for _ in range(3)]
                    assert heard == ["AA==", "AQ==", "Ag=="]
                else:
                    assert (await closed_with(socket))[0] == 1008
        assert asked[0] == ("of another worker", CALL, TokenVerdict.UNKNOWN)


@both_loops
async def test_a_socket_that_closes_while_its_token_is_judged_leaves_nothing():
    judged = asyncio.Event()

    async def redeem(_token, _call_sid, _known):
        await judged.wait()
        return TokenVerdict.VALID

    async with serving() as (server, calls):
        server.media._redeem_shared = redeem
        async with connect(media_url(server)) as socket:
            await socket.send(phone().start({"token": "x"}), text=True)
            await socket.ping()
        await asyncio.sleep(0)
        judged.set()
        await server.media.close()
        assert (calls.starts, server.media.calls) == ([], 0)


@both_loops
async def test_sids_that_could_not_be_logged_or_filed_are_refused():
    async with serving() as (server, calls):
        for sid in ("CA1\nforged log line", "../../etc/passwd", "C" * 65):
            async with connect(media_url(server)) as socket:
                await socket.send(phone(sid).start({"token": "x"}), text=True)
                assert await closed_with(socket) == (1008, "a malformed SID")
        assert calls.starts == []


@both_loops
async def test_another_audio_format_is_refused():
    async with serving() as (server, calls), connect(media_url(server)) as socket:
        await socket.send(phone().start().replace(b"x-mulaw", b"x-alaw0"), text=True)
        assert await closed_with(socket) == (1003, "only 8 kHz mono mu-law")
        assert calls.starts == []


@both_loops
async def test_silent_sockets_are_dropped():
    async with serving(start_seconds_max=0.2) as (server, _):
        silent = [await connect(media_url(server)) for _ in range(3)]
        for socket in silent:
            assert await closed_with(socket) == (1008, "no start message in time")


@both_loops
async def test_however_many_silent_sockets_come_a_caller_gets_in_and_keeps_the_line():
    async with serving(waiting_sockets_max=3, start_seconds_max=60) as (server, calls):
        silent = [await connect(media_url(server)) for _ in range(20)]
        async with in_call(server) as (socket, writer):
            silent += [await connect(media_url(server)) for _ in range(20)]
            await socket.send(writer.media(b"\x7f", 0), text=True)
            await socket.recv()
        assert len(calls.starts) == 1
        for socket in silent[:-3]:
            assert await closed_with(socket) == (1006, "")
        assert server.media.calls_to_end == 3
        for socket in silent:
            await socket.close()


@both_loops
async def test_sockets_that_wait_to_be_judged_are_not_dropped_for_silent_ones():
    judged = asyncio.Event()

    async def redeem(*_):
        await judged.wait()
        return TokenVerdict.VALID

    async with serving(waiting_sockets_max=1) as (server, calls):
        server.media._redeem_shared = redeem
        async with connect(media_url(server)) as socket:
            writer = phone()
            await socket.send(writer.start({"token": "x"}), text=True)
            await (await socket.ping())  # its `start` has arrived
            with pytest.raises(InvalidStatus, match="503"):
                await connect(media_url(server))
            judged.set()
            await socket.send(writer.media(b"\x7f", 0), text=True)
            await socket.recv()
        assert len(calls.starts) == 1


@both_loops
async def test_a_call_is_not_subject_to_the_time_for_start():
    async with serving(start_seconds_max=1.0) as (server, calls), in_call(server) as (socket, writer):
        await socket.send(writer.mark("a"), text=True)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(calls.ended.wait(), 1.2)


@both_loops
async def test_a_call_ends_when_it_has_lasted_as_long_as_it_may():
    async with serving(call_seconds_max=0.2) as (server, calls), in_call(server) as (socket, writer):
        await socket.send(writer.media(b"\x7f", 0), text=True)
        assert await closed_with(socket) == (1000, "the call has lasted as long as it may")
        await calls.ended.wait()


@both_loops
async def test_a_flood_of_messages_closes_the_socket():
    async with (
        serving(messages_per_second=1, messages_burst=256) as (server, calls),
        in_call(server) as (socket, writer),
    ):
        with contextlib.suppress(ConnectionClosed):
            for number in range(600):
                await socket.send(writer.mark(str(number)), text=True)
        assert await closed_with(socket) == (1008, "too many messages")
        await calls.ended.wait()
        assert len(calls.messages) < 600


@both_loops
async def test_a_phone_that_takes_no_data_is_dropped():
    async with serving(unsent_bytes_max=100_000) as (server, calls), in_call(server) as (socket, writer):
        await socket.send(writer.media(b"\x7f", 0), text=True)
        await socket.recv()
        socket.transport.pause_reading()
        frame = calls.writer.media(bytes(8000))
        while not calls.ended.is_set():
            calls.lines[0].send(frame)
            await asyncio.sleep(0)  # one turn of the loop, for the server's side
        assert calls.ends == ["the connection was lost"]
        assert calls.lines[0].unsent_bytes == 0
        socket.transport.resume_reading()


@both_loops
async def test_large_frames_to_a_slow_phone_arrive_whole_and_in_order():
    async with serving() as (server, calls), in_call(server) as (socket, writer):
        await socket.send(writer.media(b"\x7f", 0), text=True)
        await socket.recv()
        socket.transport.pause_reading()
        sent = []
        while calls.lines[0].unsent_bytes < 200_000:
            sent.append(calls.writer.media(bytes(7000 + 10 * len(sent))))
            calls.lines[0].send(sent[-1])
        socket.transport.resume_reading()
        assert [await socket.recv(decode=False) for _ in sent] == sent


@both_loops
async def test_a_dead_phone_is_found_by_pings():
    async with serving(idle_seconds=0.1, pong_seconds=0.1) as (server, calls), in_call(server) as (socket, _):
        socket.transport.pause_reading()
        await asyncio.wait_for(calls.ended.wait(), 60)
        assert "has not replied to ping" in calls.ends[0]
        socket.transport.resume_reading()


@both_loops
async def test_the_line_is_quiet_after_its_end():
    async with serving() as (server, calls):
        async with in_call(server) as (socket, writer):
            await socket.send(writer.media(b"\x7f", 0), text=True)
            await socket.recv()
            calls.lines[0].close(1000, "é" * 200)
            calls.lines[0].send(b"late")
            calls.lines[0].close(1011, "again")
            await socket.send(writer.media(b"\x7f", 20), text=True)
            code, reason = await closed_with(socket)
            assert (code, set(reason)) == (1000, {"é"})
        await calls.ended.wait()
        calls.lines[0].send(b"later")
        calls.lines[0].close(1000, "")
        assert calls.lines[0].unsent_bytes == 0
        assert len(calls.messages) == 1
        assert len(calls.ends) == 1


@both_loops
async def test_a_phone_that_does_not_answer_a_close_is_cut_off():
    async with serving(close_seconds_max=0.1) as (server, calls), in_call(server) as (socket, writer):
        await socket.send(writer.media(b"\x7f", 0), text=True)
        await socket.recv()
        socket.transport.pause_reading()
        calls.lines[0].close(1000, "")
        await asyncio.wait_for(calls.ended.wait(), 60)
        socket.transport.resume_reading()


@both_loops
async def test_a_vanished_phone_ends_its_call():
    async with serving() as (server, calls), in_call(server) as (socket, writer):
        await socket.send(writer.media(b"\x7f", 0), text=True)
        await socket.recv()
        socket.transport.abort()
        await asyncio.wait_for(calls.ended.wait(), 60)
        assert calls.ends == ["the connection was lost"]


@both_loops
async def test_a_call_that_cannot_be_answered_closes_its_socket_and_no_other():
    def fail(start, line):
        raise MisuseError("no agent")

    logging.getLogger("telephony.stream.picows").setLevel(logging.CRITICAL)
    try:
        async with serving(answer=fail) as (server, _), in_call(server) as (socket, _writer):
            assert (await closed_with(socket))[0] == 1011
            async with connect(media_url(server)) as other:
                await other.ping()
    finally:
        logging.getLogger("telephony.stream.picows").setLevel(logging.WARNING)


@both_loops
async def test_leaving_the_server_closes_calls_and_waiting_sockets():
    async with contextlib.AsyncExitStack() as stack:
        async with serving() as (server, calls):
            socket, writer = await stack.enter_async_context(in_call(server))
            await socket.send(writer.media(b"\x7f", 0), text=True)
            await socket.recv()
            waiting = await stack.enter_async_context(connect(media_url(server)))
        assert await closed_with(socket) == (1001, "the server stops")
        assert await closed_with(waiting) == (1001, "the server stops")
        assert calls.ends == ["closed by this server: 1001 the server stops"]
        with pytest.raises(OSError, match="onnect"):
            await connect(media_url(server))


@both_loops
async def test_calls_beyond_the_limit_get_the_busy_answer():
    async with serving(plain(max_calls=1)) as (server, calls):
        ready = server.url + "/readyz"
        assert (await http(ready))[0] == 200
        async with in_call(server) as (socket, writer):
            await socket.send(writer.media(b"\x7f", 0), text=True)
            await socket.recv()
            status, state = await http(ready)
            assert (status, json.loads(state)) == (
                503, {"ready": False, "draining": False, "calls": 1, "max_calls": 1},
            )  # fmt: skip
            _, busy = await http(server.url + "/twilio/voice", {"CallSid": "CA2"})
            assert "<Say>" in busy
            assert "<Stream" not in busy
        await calls.ended.wait()
        assert (await http(ready))[0] == 200


@both_loops
async def test_unsigned_and_wrongly_signed_upgrades_are_refused():
    settings = plain(twilio_auth_token=TOKEN, public_url=PUBLIC_URL)
    sign = RequestValidator(TOKEN).compute_signature
    wrong = [
        {},
        {"X-Twilio-Signature": "x"},
        {"X-Twilio-Signature": "é"},
        {"X-Twilio-Signature": sign("wss://other.example.com/twilio/media", {})},
        {"X-Twilio-Signature": sign("https://phone.example.com/twilio/media", {})},
        {"X-Twilio-Signature": RequestValidator("other").compute_signature("wss://phone.example.com/twilio/media", {})},
    ]
    async with serving(settings) as (server, _):
        for headers in wrong:
            with pytest.raises(InvalidStatus, match="403"):
                await connect(media_url(server), additional_headers=headers)
        signed = {"X-Twilio-Signature": sign("wss://phone.example.com/twilio/media", {})}
        async with connect(media_url(server), additional_headers=signed) as socket:
            await socket.ping()
        signed = {"X-Twilio-Signature": sign("wss://phone.example.com/twilio/media?a=%2B1&b=+", {})}
        async with connect(media_url(server) + "?a=%2B1&b=+", additional_headers=signed) as socket:
            await socket.ping()


@both_loops
async def test_an_upgrade_request_with_huge_headers_is_refused():
    async with serving() as (server, _):
        with pytest.raises(InvalidStatus, match="431"):
            await connect(media_url(server), additional_headers={"X-Long": "x" * 10_000})


def test_the_borrowed_protocol_class_is_the_one_this_code_was_written_for():
    """`telephony.handoff` builds picows' internal protocol by keyword; other minor versions need another look."""
    assert picows.__version__.startswith("2.3.")
