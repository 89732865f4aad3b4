"""The phone's loudspeaker: when each byte is played, and when marks come back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.testing.playback import BUFFER_S_MAX, Cleared, MarkEcho, Playback, PlayedSpan

SECOND = b"\x55" * 8000


def echoes(playback, now):
    return list(iter(lambda: playback.take_echo(now), None))


def test_audio_plays_from_its_arrival_eight_bytes_to_the_millisecond():
    playback = Playback()
    playback.play(SECOND, now=10.0)
    assert playback.heard_bytes(9.0) == 0
    assert playback.heard_bytes(10.25) == 2000
    assert playback.heard_bytes(12.0) == 8000
    assert playback.buffered_bytes(10.25) == 6000


def test_audio_behind_other_audio_waits_for_it():
    playback = Playback()
    playback.play(SECOND, now=10.0)
    playback.play(SECOND, now=10.1)
    assert playback.played_spans(13.0) == [PlayedSpan(wire_start=0, wire_end=16000, played_at=10.0)]


def test_audio_after_a_pause_begins_a_new_span():
    playback = Playback()
    playback.play(SECOND, now=10.0)
    playback.play(SECOND, now=11.5)
    assert playback.played_spans(12.0) == [
        PlayedSpan(wire_start=0, wire_end=8000, played_at=10.0),
        PlayedSpan(wire_start=8000, wire_end=12000, played_at=11.5),
    ]


def test_a_mark_comes_back_when_the_audio_before_it_has_been_played():
    playback = Playback()
    playback.play(SECOND, now=10.0)
    playback.mark("a", now=10.0)
    playback.play(SECOND, now=10.0)
    playback.mark("b", now=10.0)
    assert playback.echo_due_at == 11.0
    assert echoes(playback, 10.999) == []
    assert echoes(playback, 12.0) == [MarkEcho("a", 11.0, "played"), MarkEcho("b", 12.0, "played")]


def test_a_mark_for_an_empty_buffer_comes_back_at_once():
    playback = Playback()
    playback.mark("a", now=3.0)
    playback.play(SECOND, now=4.0)
    playback.mark("b", now=7.0)
    assert echoes(playback, 7.0) == [MarkEcho("a", 3.0, "played"), MarkEcho("b", 7.0, "played")]


def test_a_clear_throws_away_what_is_unplayed_and_echoes_its_marks_in_order():
    playback = Playback()
    for name in "abc":
        playback.play(SECOND, now=10.0)
        playback.mark(name, now=10.0)
    playback.clear(now=11.5)
    assert playback.clears == [Cleared(at=11.5, wire=12000, heard_bytes=12000, thrown_bytes=12000)]
    assert echoes(playback, 11.5) == [
        MarkEcho("a", 11.0, "played"),
        MarkEcho("b", 11.5, "cleared"),
        MarkEcho("c", 11.5, "cleared"),
    ]
    assert playback.heard_bytes(20.0) == 12000
    assert playback.buffered_bytes(11.5) == 0


def test_audio_after_a_clear_plays_at_once_and_keeps_its_place_on_the_wire():
    playback = Playback()
    playback.play(SECOND, now=10.0)
    playback.clear(now=10.5)
    playback.play(SECOND, now=10.6)
    assert playback.played_spans(10.85) == [
        PlayedSpan(wire_start=0, wire_end=4000, played_at=10.0),
        PlayedSpan(wire_start=8000, wire_end=10000, played_at=10.6),
    ]
    assert playback.heard_bytes_of(3000, 9000, at=20.0) == 2000
    assert playback.heard_bytes_of(4000, 8000, at=20.0) == 0
    playback.clear(now=10.85)
    assert playback.clears[-1] == Cleared(at=10.85, wire=10000, heard_bytes=6000, thrown_bytes=6000)


def test_a_clear_of_an_empty_buffer_throws_nothing_away():
    playback = Playback()
    playback.play(SECOND, now=10.0)
    playback.clear(now=12.0)
    assert playback.clears == [Cleared(at=12.0, wire=8000, heard_bytes=8000, thrown_bytes=0)]


def test_audio_beyond_ten_minutes_is_thrown_away_and_the_rest_plays_on():
    playback = Playback()
    for _ in range(int(BUFFER_S_MAX) + 5):
        playback.play(SECOND, now=10.0)
    playback.play(SECOND, now=11.0)  # there is room for a second again
    assert playback.heard_bytes(10_000.0) == 601 * 8000
    assert [(span.wire_start, span.wire_end) for span in playback.played_spans(10_000.0)] == [
        (0, 600 * 8000),
        (605 * 8000, 606 * 8000),
    ]


def test_a_phone_with_a_fast_clock_is_done_sooner():
    playback = Playback(drift_ppm=1000)
    for _ in range(100):
        playback.play(SECOND, now=0.0)
    playback.mark("end", now=0.0)
    assert playback.echo_due_at == pytest.approx(100 / 1.001)


def test_after_hanging_up_nothing_is_heard_or_echoed():
    playback = Playback()
    playback.play(SECOND, now=10.0)
    playback.mark("a", now=10.0)
    playback.hang_up(now=10.5)
    assert playback.heard_bytes(20.0) == 4000
    assert echoes(playback, 20.0) == []


def test_the_sound_of_a_moment_is_what_was_playing_then_and_silence_else():
    playback = Playback()
    playback.play(b"\x01" * 80 + b"\x02" * 80, now=10.0)
    playback.play(b"\x03" * 160, now=10.040)
    assert playback.heard(9.990, 160) == b"\xff" * 80 + b"\x01" * 80
    assert playback.heard(10.000, 480) == b"\x01" * 80 + b"\x02" * 80 + b"\xff" * 160 + b"\x03" * 160


def test_the_sound_up_to_a_clear_ends_there():
    playback = Playback()
    playback.play(b"\x01" * 160, now=10.0)
    playback.clear(now=10.005)
    playback.play(b"\x02" * 80, now=10.010)
    assert playback.heard(10.0, 160) == b"\x01" * 40 + b"\xff" * 40 + b"\x02" * 80


events = st.lists(
    st.tuples(
        st.floats(0, 0.5),  # seconds since the event before
        st.one_of(st.integers(1, 4000), st.just("mark"), st.just("clear")),
    ),
    max_size=60,
)


@given(events)
def test_every_mark_comes_back_once_in_order_and_every_byte_is_played_or_thrown_away(events):
    playback, now, marks, came = Playback(), 0.0, 0, []
    for wait, what in events:
        now += wait
        if what == "mark":
            playback.mark(f"{marks}", now)
            marks += 1
        elif what == "clear":
            playback.clear(now)
        else:
            playback.play(b"\x11" * what, now)
        came += echoes(playback, now)
    end = now + 100.0
    came += echoes(playback, end)
    assert [echo.name for echo in came] == [f"{n}" for n in range(marks)]
    assert [echo.at for echo in came] == sorted(echo.at for echo in came)
    assert playback.heard_bytes(end) + sum(clear.thrown_bytes for clear in playback.clears) == len(playback.wire)
    spans = playback.played_spans(end)
    assert sum(span.wire_end - span.wire_start for span in spans) == playback.heard_bytes(end)
    ends = [span.played_at + (span.wire_end - span.wire_start) / 8000 for span in spans]
    assert all(span.played_at >= before - 1e-9 for before, span in zip(ends, spans[1:], strict=False))
    samples = int((end + 1) * 8000)
    assert playback.heard(0.0, samples).count(0x11) == pytest.approx(playback.heard_bytes(end), abs=len(spans))
