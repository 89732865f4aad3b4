"""A simulated call over real sockets on loopback: webhook, signature, stream, real time."""

import asyncio
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qsl

import numpy as np
import pytest
from twilio.request_validator import RequestValidator
from websockets.asyncio.server import serve

from realtime_bridge.audio.g711 import mulaw_to_pcm16, pcm16_to_mulaw
from realtime_bridge.errors import ProtocolError, TransportError
from telephony.testing import (
    HangUp,
    InterruptAfter,
    Link,
    Pause,
    Say,
    Stream,
    WaitForAgent,
    fetch_stream,
    place_call,
)
from telephony.twilio.media_stream import MediaStreamReader, MediaStreamWriter
from telephony.twilio.messages import Mark, Media, Start, Stop

TOKEN = "12345678901234567890123456789012"
TONE = pcm16_to_mulaw((8000 * np.sin(np.arange(8000) * 2 * np.pi * 440 / 8000)).astype("<i2").tobytes())  # a second


class Agent:
    """A server that greets with `greeting_ms` of tone, goes silent when the caller speaks, and then answers briefly."""

    def __init__(self, greeting_ms=300, close_after_s=None):
        self.messages = []
        self.arrivals = []
        self.headers = None
        self._greeting = TONE * (greeting_ms // 1000) + TONE[: greeting_ms % 1000 * 8]
        self._close_after_s = close_after_s

    async def __call__(self, socket):
        self.headers = socket.request.headers
        reader, writer, loud = MediaStreamReader(), None, False
        async for frame in socket:
            assert isinstance(frame, str)
            message = reader.receive(frame)
            self.messages.append(message)
            self.arrivals.append(time.perf_counter())
            if isinstance(message, Start):
                writer = MediaStreamWriter(message.stream_sid)
                await socket.send(writer.media(self._greeting), text=True)
                await socket.send(writer.mark("greeting"), text=True)
            if isinstance(message, Media):
                loud, was_loud = is_loud(message.mulaw), loud
                if loud and not was_loud:
                    await socket.send(writer.clear(), text=True)
                if was_loud and not loud:
                    await socket.send(writer.media(TONE[:1600]), text=True)
                if self._close_after_s is not None and message.timestamp_ms > self._close_after_s * 1000:
                    await socket.close(1011)
                    return


def is_loud(mulaw):
    return np.abs(np.frombuffer(mulaw_to_pcm16(mulaw), np.int16)).max() > 1000


def run_call(agent, steps, **options):
    async def call():
        async with serve(agent, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            stream = Stream(f"ws://127.0.0.1:{port}/twilio/media", {"token": "once"})
            return await place_call(stream, steps, **options)

    return asyncio.run(call())


def test_a_call_with_an_interruption_keeps_real_time_and_knows_what_was_heard():
    agent = Agent(greeting_ms=5000)
    steps = [InterruptAfter(400), Say(TONE[:2400], "stop"), WaitForAgent(quiet_ms=200), HangUp()]
    result = run_call(agent, steps, auth_token=TOKEN)
    assert result.failure is None
    assert result.problems == ()
    [cleared] = result.clears
    [said] = result.said
    assert cleared.at - said.start < 0.15  # a frame of the caller, the sockets, the other programs on this machine
    assert result.heard_ms(0, 40_000) == pytest.approx((cleared.at - result.audible[0].start) * 1000, abs=40)
    assert [(echo.name, echo.cause) for echo in result.echoes] == [("greeting", "cleared")]
    assert len(result.answer_delays_ms()) == 1
    media = [message for message in agent.messages if isinstance(message, Media)]
    assert [frame.timestamp_ms for frame in media] == [20 * n for n in range(len(media))]
    assert len(media) * 0.02 == pytest.approx(result.seconds, abs=0.03)
    assert isinstance(agent.messages[-1], Stop)
    assert agent.messages[1].custom_parameters == {"token": "once"}
    assert len(result.stereo) == pytest.approx(result.seconds * 32_000, abs=4)


def test_the_handshake_is_signed_over_the_stream_url():
    agent = Agent()
    run_call(agent, [Pause(40)], auth_token=TOKEN)
    url = f"ws://{agent.headers['Host']}/twilio/media"
    assert RequestValidator(TOKEN).validate(url, {}, agent.headers["X-Twilio-Signature"])


def test_a_network_delays_both_ways():
    agent = Agent(greeting_ms=40)
    result = run_call(agent, [Pause(700)], to_server=Link(one_way_ms=100), to_phone=Link(one_way_ms=150))
    assert result.audible[0].start == pytest.approx(0.25, abs=0.1)
    [mark] = [at for at, message in zip(agent.arrivals, agent.messages, strict=True) if isinstance(message, Mark)]
    [start] = [at for at, message in zip(agent.arrivals, agent.messages, strict=True) if isinstance(message, Start)]
    assert mark - start == pytest.approx(0.15 + 0.04 + 0.1, abs=0.1)


def test_a_server_that_closes_early_fails_the_script():
    result = run_call(Agent(close_after_s=0.3), [WaitForAgent(quiet_ms=5000)])
    assert result.failure == "step 1 of 1, WaitForAgent: the server closed the stream (1011)"
    assert result.seconds < 2


def test_frames_that_a_phone_cannot_take_are_told():
    async def careless(socket):
        await socket.send(b"\x00", text=False)
        await socket.send('{"event":"media"}')
        async for _ in socket:
            pass

    result = run_call(careless, [Pause(100)])
    assert result.failure is None
    assert ["text frames only" in result.problems[0], "streamSid" in result.problems[1]] == [True, True]


def test_a_server_that_is_not_there():
    with pytest.raises(TransportError, match="cannot be opened"):
        asyncio.run(place_call(Stream("ws://127.0.0.1:9/"), []))


@contextmanager
def webhook(answer, status=200):
    posts = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            posts.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(answer.encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/twilio/voice", posts
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


TWIML = (
    '<?xml version="1.0" encoding="UTF-8"?><Response><Connect><Stream url="wss://example.test/twilio/media">'
    '<Parameter name="token" value="a&amp;b"/></Stream></Connect></Response>'
)


def test_ringing_posts_a_signed_form_and_reads_the_twiml():
    with webhook(TWIML) as (url, posts):
        stream = asyncio.run(fetch_stream(url, auth_token=TOKEN, caller="+15550123"))
    assert stream == Stream("wss://example.test/twilio/media", {"token": "a&b"})
    [(headers, body)] = posts
    form = dict(parse_qsl(body))
    assert form["From"] == "+15550123"
    assert form["CallStatus"] == "ringing"
    assert RequestValidator(TOKEN).validate(url, form, headers["X-Twilio-Signature"])


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [
        ("", 403, "403"),
        ("{}", 200, "not XML"),
        ("<Response><Reject/></Response>", 200, "got Reject"),
        ("<Response/>", 200, "got nothing"),
    ],
)
def test_a_webhook_that_refuses_or_has_no_stream(answer, status, error):
    with webhook(answer, status) as (url, _), pytest.raises((TransportError, ProtocolError), match=error):
        asyncio.run(fetch_stream(url))
