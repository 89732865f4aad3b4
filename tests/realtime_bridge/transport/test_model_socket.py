"""Our end of a model's socket, against models that keep the protocol and models that do not."""

import asyncio
import base64
import contextlib
import hashlib
import json
import logging
import socket as sockets

import pytest
from support.loopback_model import KEY, LoopbackModel
from support.quiet import quietly, until

from realtime_bridge.errors import TransportError
from realtime_bridge.transport.endpoint import Endpoint
from realtime_bridge.transport.model_socket import ModelSocket, SocketLimits

PATIENT = SocketLimits(open_s_max=3600)  # what happens then, happens for another reason
HEADERS = {"Authorization": f"Bearer {KEY}"}
BOTH = ("asyncio", "uvloop")
on_both_loops = quietly(*BOTH, keeps=(ModelSocket,))
on_uvloop = quietly(keeps=(ModelSocket,))


class Listener:
    """Keeps what a socket tells."""

    def __init__(self):
        self.frames, self.losses = [], []
        self._news = asyncio.Event()

    def on_frame(self, frame):
        self.frames.append(frame)
        self._news.set()

    def on_lost(self, lost):
        self.losses.append(lost)
        self._news.set()

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def hears(self, count):
        await self.until(lambda: len(self.frames) >= count)
        return self.frames

    async def loss(self):
        await self.until(lambda: self.losses)
        return self.losses[0]


class Opened(Listener):
    """A socket of ours, with its listener: `async with Opened(url) as ours`."""

    def __init__(self, url, **options):
        super().__init__()
        self._url, self._options = url, options

    async def __aenter__(self):
        endpoint = Endpoint(self._url, HEADERS)
        self.socket = await ModelSocket.open(endpoint, on_frame=self.on_frame, on_lost=self.on_lost, **self._options)
        return self

    async def __aexit__(self, *_):
        await self.socket.close()
        assert len(self.losses) <= 1


@contextlib.asynccontextmanager
async def joined(**limits):
    """(our end, the model's end) of a socket that is open."""
    async with LoopbackModel() as model, Opened(model.url, limits=SocketLimits(**limits)) as ours:
        yield ours, await model.call()


async def try_to_open(url, **options):
    """The error of an attempt that must fail."""
    with pytest.raises(TransportError) as caught:
        await ModelSocket.open(Endpoint(url, HEADERS), on_frame=print, on_lost=print, **options)
    assert KEY not in repr(caught.value)
    return caught.value


class RawModel:
    """A peer that answers an upgrade with the bytes it is given, whatever they are.

    `answer(accept)` gets the right Sec-WebSocket-Accept; `requests` holds what came. The connection is `reader, writer`.
    """

    def __init__(self, answer):
        self._answer = answer
        self.requests = []
        self.connected = asyncio.Event()
        self.gone = asyncio.Event()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1/realtime"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        if self.connected.is_set():
            self.writer.close()

    async def _serve(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.connected.set()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            request = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(request.decode())
            key = request.lower().split(b"sec-websocket-key: ")[1].split(b"\r\n")[0]
            start = request.lower().index(key)
            self.answer_now(request[start : start + len(key)])
            while await reader.read(65536):
                pass
        self.gone.set()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def answer_now(self, key):
        digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
        self.writer.write(self._answer(base64.b64encode(digest)))


def upgrade(accept: bytes) -> bytes:
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )


# ---- messages ----------------------------------------------------------------------------------------------------------


@on_both_loops
async def test_messages_flow_both_ways_whole_and_in_order():
    async with joined() as (ours, model):
        for n in range(50):
            ours.socket.send(b'{"type":"n","n":%d}' % n)
            await model.say({"n": n, "text": "é" * n})
        assert [json.loads(frame)["n"] for frame in await ours.hears(50)] == list(range(50))
        for n in range(50):
            assert (await model.expect("n"))["n"] == n


@on_both_loops
async def test_a_message_in_fragments_is_put_together():
    async with joined() as (ours, model):
        await model.socket.send(["{", '"a":', "1}"])
        await model.socket.ping()
        await model.say('{"b":2}')
        assert await ours.hears(2) == [b'{"a":1}', b'{"b":2}']


@on_both_loops
async def test_large_messages_arrive_unbroken_at_a_model_that_reads_slowly():
    """Frames beyond 8 KiB are where picows's server breaks (see telephony/stream.py)."""
    sizes = (10, 2000, 8190, 8192, 8193, 70_000, 400_000) * 40  # 20 MB: more than the network between them takes
    messages = [json.dumps({"type": "n", "text": f"{n:04}" * (size // 4)}).encode() for n, size in enumerate(sizes)]
    async with joined(unsent_bytes_max=64_000_000) as (ours, model):
        model.socket.transport.pause_reading()
        for message in messages:
            ours.socket.send(message)
        model.socket.transport.resume_reading()
        for message in messages:
            assert await model.expect("n") == json.loads(message)


@on_uvloop
async def test_binary_messages_are_passed_over_with_a_log_line(caplog):
    async with joined() as (ours, model):
        await model.say(b"\0\1\2")
        await model.socket.send([b"\0", b"\1"])
        await model.say('{"a":1}')
        assert await ours.hears(1) == [b'{"a":1}']
        assert "binary message" in caplog.text


@on_uvloop
async def test_a_listener_that_fails_ends_its_socket_and_no_other(caplog):
    async with joined() as (ours, model):

        def fail(frame):
            raise ValueError("not mine")

        ours.socket.listen(fail, ours.on_lost)
        await model.say("{}")
        lost = await ours.loss()
        assert lost.retryable
        assert "not mine" in caplog.text
        assert "ValueError" not in lost.message


@on_uvloop
async def test_somebody_else_may_listen_from_now_on():
    async with joined() as (ours, model):
        other = Listener()
        await model.say("1")
        await ours.hears(1)
        ours.socket.listen(other.on_frame, other.on_lost)
        await model.say("2")
        await model.close(1011)
        await other.loss()
        assert (ours.frames, other.frames, ours.losses) == ([b"1"], [b"2"], [])


# ---- how it ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reason", "message", "retryable"),
    [
        (1000, "", "the model closed the socket: 1000", True),
        (1001, "Your session hit the maximum duration of 60 minutes.", "1001 Your session hit the maximum", True),
        (1008, "policy", "the model closed the socket: 1008 policy", False),
        (1011, "keepalive ping timeout", "1011 keepalive ping timeout", True),
        (1013, "", "1013", True),
        (3000, "invalid_request_error.invalid_api_key", "3000 invalid_request_error.invalid_api_key", False),
        (3003, "", "3003", False),
        (4999, "x", "4999 x", True),
    ],
)
@on_uvloop
async def test_a_close_tells_its_code_and_whether_to_come_back(code, reason, message, retryable):
    async with joined() as (ours, model):
        await model.close(code, reason)
        lost = await ours.loss()
        assert message in lost.message
        assert (lost.code, lost.retryable) == (code, retryable)


@on_both_loops
async def test_a_close_is_answered_before_the_connection_ends():
    async with joined() as (ours, model):
        await model.close(1001, "bye")
        await ours.loss()
        await model.ended.wait()
        assert model.socket.close_code == 1000  # and not 1006, which says that no close frame came back


@on_both_loops
async def test_a_connection_that_just_ends_is_told_once():
    async with joined() as (ours, model):
        model.drop()
        lost = await ours.loss()
        assert (lost.code, lost.retryable) == (None, True)
        ours.socket.send(b"into the void")


@on_both_loops
async def test_our_goodbye_is_a_close_frame_and_the_last_word():
    async with joined() as (ours, model):
        await model.say('{"a":1}')
        await ours.hears(1)
        closing = asyncio.create_task(ours.socket.close())
        await asyncio.sleep(0)
        await model.say('{"b":2}')
        await closing
        await ours.socket.close()
        await model.ended.wait()
        assert (model.socket.close_code, ours.frames, ours.losses) == (1000, [b'{"a":1}'], [])


@on_both_loops
async def test_a_model_that_does_not_answer_our_goodbye_is_left():
    async with RawModel(upgrade) as model, Opened(model.url, limits=SocketLimits(close_s_max=0.05)) as ours:
        await model.connected.wait()
        await ours.socket.close()
        await asyncio.wait_for(model.gone.wait(), 60)
        assert ours.losses == []


@on_both_loops
async def test_a_model_that_has_stopped_reading_is_given_up():
    async with joined(unsent_bytes_max=100_000) as (ours, model):
        model.socket.transport.pause_reading()
        frame = b'"%s"' % (b"x" * 60_000)
        for _ in range(1000):
            ours.socket.send(frame)
            assert ours.losses == [], "told from within `send`"
            await asyncio.sleep(0)
            if ours.losses:
                break
        lost = await ours.loss()
        assert lost.message == "the model has stopped reading"
        assert lost.retryable
        ours.socket.send(frame)


@on_both_loops
async def test_a_model_that_answers_no_pings_is_given_up():
    async with RawModel(upgrade) as model, Opened(model.url, limits=SocketLimits(silence_s_max=0.05)) as ours:
        lost = await ours.loss()
        assert "has not answered" in lost.message
        assert lost.retryable


@on_uvloop
async def test_a_model_that_says_nothing_but_answers_pings_is_kept():
    async with joined(silence_s_max=0.5) as (ours, model):
        await asyncio.sleep(1.2)  # what is tried is that nothing happens in it
        await model.say("{}")
        assert await ours.hears(1) == [b"{}"]


# ---- frames no model should send -----------------------------------------------------------------------------------------


@on_uvloop
async def test_a_message_of_20_mb_ends_the_connection_and_is_not_delivered():
    async with joined() as (ours, model):
        await model.say("x" * 20_000_000)
        lost = await ours.loss()
        assert str(SocketLimits().message_bytes_max) in lost.message
        assert ours.frames == []


@on_uvloop
async def test_a_message_of_20_mb_in_fragments_ends_the_connection():
    async with joined() as (ours, model):
        with contextlib.suppress(Exception):
            await model.socket.send("x" * 1_000_000 for _ in range(20))
        lost = await ours.loss()
        assert str(SocketLimits().message_bytes_max) in lost.message
        assert ours.frames == []


@pytest.mark.parametrize(
    ("frames", "what"),
    [
        (b"\x81\x81\0\0\0\0{", "masked"),
        (b"\x83\x00", "opcode"),
        (b"\x09\x00", "fragmented control frame"),
        (b"\x81\xff" + b"\xff" * 8, ""),
        (b"\x81\x7e\x00\x01a", "payload len"),
        (b"\x88\x02\x00\x05", "close code"),
        (b"\x01\x01{\x81\x01}", "fragment"),
        (b"\x80\x01}", "fragment"),
    ],
    ids=["masked", "reserved", "control", "2^63", "length", "close 5", "interleaved", "no beginning"],
)
@on_uvloop
async def test_frames_against_the_websocket_protocol_end_the_connection_with_a_reason(frames, what):
    async with RawModel(lambda accept: upgrade(accept) + frames) as model, Opened(model.url) as ours:
        lost = await ours.loss()
        assert what in lost.message
        assert lost.message != "the model's socket broke"
        assert lost.retryable
        assert ours.frames == []


@on_both_loops
async def test_a_close_frame_without_a_code_is_a_close():
    limits = SocketLimits(close_s_max=0.05)
    async with (
        RawModel(lambda accept: upgrade(accept) + b"\x88\x00") as model,
        Opened(model.url, limits=limits) as ours,
    ):
        assert (await ours.loss()).code == 1005  # RFC 6455, section 7.1.5


# ---- doors that do not open ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (401, False), (403, False), (404, False), (429, True), (500, True), (503, True), (302, False)],
)
@on_uvloop
async def test_a_refused_upgrade_tells_its_status(status, retryable):
    async with LoopbackModel(refuse=status) as model:
        error = await try_to_open(model.url)
        assert f"HTTP {status}" in str(error)
        assert (error.code, error.retryable) == (status, retryable)


@on_uvloop
async def test_a_refusal_that_names_its_reason_is_told_by_it_and_an_empty_account_is_not_tried_again():
    body = {"error": {"message": f"Incorrect API key provided: {KEY}", "type": "x", "code": "insufficient_quota"}}
    async with LoopbackModel(refuse=429, refusal=json.dumps(body)) as model:
        error = await try_to_open(model.url)
        assert "HTTP 429 insufficient_quota" in str(error)
        assert not error.retryable


@on_uvloop
async def test_a_redirect_is_not_followed_with_the_key():
    async with LoopbackModel() as elsewhere:
        answer = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {elsewhere.url}\r\nContent-Length: 0\r\n\r\n".encode()
        async with RawModel(lambda _: answer) as model:
            error = await try_to_open(model.url)
            assert "HTTP 307" in str(error)
            assert not error.retryable
        assert elsewhere.attempts == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 999 Whatever\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"\xff\xfe\r\n\r\n",
    ],
    ids=["ssh", "999", "no accept", "long header", "not text"],
)
@on_uvloop
async def test_an_answer_that_is_no_upgrade_is_told_as_such(answer):
    async with RawModel(lambda _: answer) as model:
        error = await try_to_open(model.url)
        assert "the model cannot be reached" in str(error) or "the model refused" in str(error)
        assert len(str(error)) < 500


@on_both_loops
async def test_a_model_that_hangs_up_during_the_upgrade_cannot_be_reached():
    async with RawModel(lambda _: b"") as model:
        opening = asyncio.create_task(try_to_open(model.url))
        await model.connected.wait()
        model.writer.close()
        assert (await opening).retryable


@on_both_loops
async def test_a_port_where_nobody_listens_cannot_be_reached():
    with sockets.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        error = await try_to_open(f"ws://127.0.0.1:{taken.getsockname()[1]}/")
    assert "cannot be reached" in str(error)
    assert error.retryable


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "ws://", "ws://127.0.0.1:99999/", "ws://127.0.0.1:port/"])
@on_uvloop
async def test_a_url_that_is_none_is_told(url):
    assert not (await try_to_open(url)).retryable


@on_both_loops
async def test_a_model_that_never_answers_is_waited_for_no_longer_than_told():
    async with RawModel(lambda _: b"") as model:
        error = await try_to_open(model.url, limits=SocketLimits(open_s_max=0.05))
        assert "did not answer within 0.05 s" in str(error)
        assert error.retryable
        await asyncio.wait_for(model.gone.wait(), 60)


@on_both_loops
async def test_an_answer_that_trickles_in_is_no_answer():
    async with RawModel(lambda _: b"HTTP/1.1 101 ") as model:
        error = await try_to_open(model.url, limits=SocketLimits(open_s_max=0.05))
        assert "did not answer" in str(error)
        await asyncio.wait_for(model.gone.wait(), 60)


@on_both_loops
async def test_a_model_that_answers_when_nobody_waits_any_more_is_left_at_once():
    keys = []
    async with RawModel(lambda accept: keys.append(accept) or b"") as model:
        opening = asyncio.create_task(
            ModelSocket.open(Endpoint(model.url, HEADERS), on_frame=print, on_lost=print, limits=PATIENT)
        )
        await until(lambda: keys)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        model.writer.write(upgrade(keys[0]))
        await asyncio.wait_for(model.gone.wait(), 60)


@on_both_loops
async def test_a_model_that_does_not_answer_is_left_as_soon_as_nobody_waits_for_it():
    asked = []
    async with RawModel(lambda accept: asked.append(accept) or b"") as model:
        opening = asyncio.create_task(
            ModelSocket.open(Endpoint(model.url, HEADERS), on_frame=print, on_lost=print, limits=PATIENT)
        )
        await until(lambda: asked)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        await asyncio.wait_for(model.gone.wait(), 60)


@on_both_loops
async def test_an_opening_cancelled_at_any_moment_leaves_no_socket():
    turns, opened = 0, None
    limits = SocketLimits(open_s_max=0.5, close_s_max=0.01)
    async with RawModel(upgrade) as model:
        while opened is None:
            opening = asyncio.create_task(
                ModelSocket.open(Endpoint(model.url, HEADERS), on_frame=print, on_lost=print, limits=limits)
            )
            turns += 1
            for _ in range(turns):
                await asyncio.sleep(0)
            opening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                opened = await opening
        await opened.close()


@on_uvloop
async def test_the_key_is_in_no_log_line_however_much_is_logged(caplog):
    caplog.set_level(1)
    async with joined() as (ours, model):
        await model.say("{}")
        await ours.hears(1)
        await model.close(1011)
        await ours.loss()
    async with LoopbackModel(refuse=401) as model:
        await try_to_open(model.url)
    ours = [record for record in caplog.records if not record.name.startswith("websockets")]
    assert any("WS connection established" in record.message for record in ours)
    assert all(KEY not in record.getMessage() + repr(record.args) for record in ours)
    assert logging.getLogger().level == 1
