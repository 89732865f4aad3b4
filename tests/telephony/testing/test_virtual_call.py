"""A simulated call straight into what answers calls, in virtual time."""

import asyncio

import numpy as np
import pytest

from realtime_bridge.audio.g711 import mulaw_to_pcm16, pcm16_to_mulaw
from telephony.testing import HangUp, Link, Pause, Press, Say, WaitForAgent, place_virtual_call, run_virtual
from telephony.twilio.media_stream import MediaStreamWriter
from telephony.twilio.messages import Dtmf, Mark, Media, Stop

TONE = pcm16_to_mulaw((8000 * np.sin(np.arange(8000) * 2 * np.pi * 440 / 8000)).astype("<i2").tobytes())  # a second


class Desk:
    """Greets with a second of tone and a mark; answers each utterance with half a second; closes as it is told."""

    def __init__(self, *, close_at=None, hangs_up=False):
        self.told = []  # (time, what)
        self.problems = []
        self._close_at = close_at
        self._hangs_up = hangs_up
        self._was_loud = False

    def answer(self, start, line):
        self._clock = asyncio.get_running_loop().time
        self._line = line
        self.start = start
        self.began = self._clock()
        writer = self._writer = MediaStreamWriter(start.stream_sid)
        line.send(writer.media(TONE))
        line.send(writer.mark("greeted"))
        return self

    def on_message(self, message, frame):
        now = self._clock() - self.began
        self.told.append((now, message))
        if isinstance(message, Media):
            is_loud = np.abs(np.frombuffer(mulaw_to_pcm16(message.mulaw), np.int16)).max() > 1000
            if self._was_loud and not is_loud:
                self._line.send(self._writer.media(TONE[:4000]))
            self._was_loud = is_loud
            if self._close_at is not None and now >= self._close_at:
                self._line.send(self._writer.media(TONE[:800]))
                self._line.close(1011, "tired")
        if isinstance(message, Stop) and self._hangs_up:
            self._line.close(1000, "")

    def on_problem(self, problem):
        self.problems.append(problem)

    def on_disconnect(self, reason):
        self.told.append((self._clock() - self.began, reason))

    def times_of(self, kind):
        return [at for at, what in self.told if isinstance(what, kind)]


def call(desk, steps, **options):
    return run_virtual(place_virtual_call(desk.answer, steps, **options))


TALK = [WaitForAgent(), Say(TONE[:6400], "hello"), WaitForAgent(), HangUp()]


def test_a_conversation_takes_its_time_on_the_loop_s_clock():
    desk = Desk(hangs_up=True)
    result = call(desk, TALK, parameters={"token": "once"})
    assert result.failure is None
    assert result.problems == ()
    assert desk.problems == []
    assert desk.start.custom_parameters == {"token": "once"}
    assert [said.label for said in result.said] == ["hello"]
    assert result.wire == TONE + TONE[:4000]
    # Heard 1 s, quiet for 0.6 s, said 0.8 s, answered 20 ms later for 0.5 s, quiet for 0.6 s: all in whole frames.
    assert result.seconds == pytest.approx(3.52, abs=0.06)
    assert desk.times_of(Mark) == [pytest.approx(1.0, abs=1e-6)]


def test_the_call_hears_every_frame_when_it_is_sent_and_is_told_of_the_end_once():
    desk = Desk(hangs_up=True)
    result = call(desk, TALK)
    assert desk.times_of(Media) == pytest.approx([0.02 * (i + 1) for i in range(len(desk.times_of(Media)))])
    assert desk.times_of(Stop) == [pytest.approx(result.seconds)]
    assert desk.told[-1] == (pytest.approx(result.seconds), "closed by this server: 1000")
    assert len(desk.times_of(str)) == 1


def test_the_same_call_is_the_same_to_the_last_byte():
    first, second = (call(Desk(), TALK, to_phone=Link(20, 30)) for _ in range(2))
    assert (first.stereo, first.echoes, first.audible) == (second.stereo, second.echoes, second.audible)


def test_a_call_that_keeps_the_line_is_told_when_the_phone_has_hung_up():
    desk = Desk()
    call(desk, [Pause(200), HangUp()])
    assert desk.told[-1][1] == "closed by the phone: 1000"


def test_the_network_takes_its_time_each_way():
    desk = Desk(hangs_up=True)
    result = call(desk, TALK, to_server=Link(50), to_phone=Link(30))
    assert result.failure is None
    assert desk.times_of(Media)[0] == pytest.approx(0.02)  # after `start`, which took as long
    assert desk.times_of(Mark) == [pytest.approx(1.08)]  # a second of sound, there and back
    # What the call sees when it begins has happened 50 ms before.
    assert result.audible[0].start == pytest.approx(0.08, abs=0.02)


def test_a_key_reaches_the_call():
    desk = Desk()
    call(desk, [Press("7"), Pause(100), HangUp()])
    assert [what.digit for _, what in desk.told if isinstance(what, Dtmf)] == ["7"]


def test_a_line_closed_by_the_server_ends_the_call_behind_all_it_has_sent():
    desk = Desk(close_at=2.0)
    result = call(desk, [WaitForAgent(), Pause(60_000), HangUp()], to_phone=Link(200))
    assert result.failure == "step 2 of 3, Pause: the server closed the stream (1011)"
    assert result.wire == TONE + TONE[:800]  # which was on its way
    assert result.seconds == pytest.approx(2.2, abs=0.001)
    assert desk.times_of(Media)[-1] == pytest.approx(2.0)  # and nothing after that
    assert desk.told[-1] == (pytest.approx(2.2, abs=0.001), "closed by this server: 1011 tired")


def test_what_the_phone_cannot_accept_is_a_problem_of_the_result():
    class Mumbler(Desk):
        def on_message(self, message, frame):
            if isinstance(message, Media) and message.chunk == 1:
                self._line.send(b'{"event":"play"}')
            super().on_message(message, frame)

    result = call(Mumbler(hangs_up=True), TALK)
    assert len(result.problems) == 1
    assert "play" in result.problems[0]
    assert result.failure is None


def test_a_call_given_up_is_a_connection_lost():
    desk = Desk()

    async def give_up():
        async with asyncio.timeout(1):
            await place_virtual_call(desk.answer, [Pause(60_000), HangUp()])

    with pytest.raises(TimeoutError):
        run_virtual(give_up())
    assert desk.told[-1] == (pytest.approx(1.0), "the connection was lost")


def test_what_an_answer_raises_reaches_the_caller_of_the_call():
    def answer(start, line):
        raise RuntimeError("no desk")

    with pytest.raises(RuntimeError, match="no desk"):
        run_virtual(place_virtual_call(answer, TALK))
