"""The simulated phone on the wire: what it sends, when, and with which numbers."""

from random import Random

import pytest

from realtime_bridge.errors import MisuseError
from telephony.testing.phone import Faults, Ids, SimulatedPhone
from telephony.twilio.media_stream import MediaStreamReader, MediaStreamWriter
from telephony.twilio.messages import Connected, Dtmf, MalformedMessageError, Mark, Media, Start, Stop, WrongStreamError

SECOND = b"\x55" * 8000
TO_PHONE = MediaStreamWriter(Ids().stream_sid)


class Line:
    """A phone whose frames are read by the server's own reader, with the times they were sent at."""

    def __init__(self, **settings):
        self.phone = SimulatedPhone(**settings)
        self.sent = []
        self._reader = MediaStreamReader()
        self._take(self.phone.start(100.0, {"token": "t"}), 100.0)

    def run(self, until):
        while (at := self.phone.next_event_at()) is not None and at <= until:
            self._take(self.phone.advance(at), at)

    def _take(self, frames, at):
        self.sent += [(at, self._reader.receive(frame)) for frame in frames]

    def of(self, kind):
        return [(at, message) for at, message in self.sent if isinstance(message, kind)]


def test_a_call_opens_with_connected_and_start():
    line = Line()
    (_, connected), (_, start) = line.sent
    assert isinstance(connected, Connected)
    assert isinstance(start, Start)
    assert start.call_sid == line.phone.ids.call_sid
    assert start.custom_parameters == {"token": "t"}


def test_silence_goes_out_every_twenty_milliseconds_with_running_numbers():
    line = Line()
    line.run(101.0)
    times, frames = zip(*line.of(Media), strict=True)
    assert times == pytest.approx([100.02 + 0.02 * n for n in range(50)])
    assert [frame.timestamp_ms for frame in frames] == [20 * n for n in range(50)]
    assert [frame.chunk for frame in frames] == [n + 1 for n in range(50)]
    assert {frame.mulaw for frame in frames} == {b"\xff" * 160}


def test_what_the_caller_says_begins_with_the_next_frame_and_ends_in_silence():
    line = Line()
    line.run(100.5)
    begins, ends = line.phone.speak(b"\x01" * 400)
    line.run(101.0)
    assert (begins, ends) == pytest.approx((100.5, 100.55))
    frames = [message.mulaw for _, message in line.of(Media)]
    assert frames[24:29] == [b"\xff" * 160, *[b"\x01" * 160] * 2, b"\x01" * 80 + b"\xff" * 80, b"\xff" * 160]
    assert bytes(line.phone.spoken) == b"".join(frames)


def test_marks_come_back_between_the_media_frames_when_they_are_due():
    line = Line()
    line.phone.receive(TO_PHONE.media(SECOND), 100.1)
    line.phone.receive(TO_PHONE.mark("a"), 100.1)
    line.run(101.0)
    assert line.of(Mark) == []
    line.run(102.0)
    [(at, mark)] = line.of(Mark)
    assert (at, mark.name) == (pytest.approx(101.1), "a")


def test_a_phone_may_never_echo_yet_it_still_knows_the_truth():
    line = Line(faults=Faults(marks_lost=1.0))
    line.phone.receive(TO_PHONE.mark("a"), 100.1)
    line.run(101.0)
    assert line.of(Mark) == []
    assert [echo.name for echo in line.phone.echoes] == ["a"]


def test_echoes_may_be_repeated_or_stale():
    line = Line(faults=Faults(marks_repeated=0.5, marks_stale=0.5), rng=Random(3))
    for n in range(20):
        line.phone.receive(TO_PHONE.mark(f"{n}"), 100.1 + n / 100)
        line.run(100.1 + n / 100)
    names = [mark.name for _, mark in line.of(Mark)]
    assert len(names) > 20
    first_times = [name for n, name in enumerate(names) if name not in names[:n]]
    assert first_times == [f"{n}" for n in range(20)]


def test_lost_frames_leave_a_gap_in_the_timestamps_only():
    line = Line(faults=Faults(media_lost=0.2), rng=Random(1))
    line.run(103.0)
    frames = [message for _, message in line.of(Media)]
    assert 0.7 * 150 < len(frames) < 0.9 * 150
    assert [frame.chunk for frame in frames] == [n + 1 for n in range(len(frames))]
    assert all(frame.timestamp_ms == round((at - 100.02) * 1000) for at, frame in line.of(Media))


def test_a_dead_line_sends_nothing_and_loses_what_is_said():
    line = Line()
    line.phone.speak(b"\x01" * 8000)
    line.phone.send_no_media_until(100.5)
    line.run(101.0)
    times = [at for at, _ in line.of(Media)]
    assert min(times) == pytest.approx(100.52)
    assert len(times) == 25


def test_keys_and_hanging_up():
    line = Line()
    line.run(100.1)
    line.phone.press("5", 100.1)
    line.phone.press("#", 100.2)
    line.run(100.3)
    line.phone.hang_up(100.3)
    line.run(200.0)
    assert [message.digit for _, message in line.of(Dtmf)] == ["5", "#"]
    assert isinstance(line.sent[-1][1], Stop)
    assert line.phone.ended_at == pytest.approx(100.3)
    assert line.phone.next_event_at() is None


def test_a_frame_of_another_stream_is_refused():
    with pytest.raises(WrongStreamError):
        SimulatedPhone().receive(MediaStreamWriter("MZ2").clear(), 0.0)


def test_a_malformed_frame_is_refused():
    with pytest.raises(MalformedMessageError):
        SimulatedPhone().receive(b'{"event":"media","streamSid":"MZ1"}', 0.0)


def test_a_phone_makes_one_call():
    phone = SimulatedPhone()
    phone.start(0.0)
    with pytest.raises(MisuseError, match="one call"):
        phone.start(1.0)
    with pytest.raises(MisuseError, match="start"):
        SimulatedPhone().speak(b"\x01")
