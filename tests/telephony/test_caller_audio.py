"""The caller's audio on its way to the model: all of it, once, in order, and no more silence than time has passed."""

import json
from math import inf

import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.audio.transcode import transcoder
from telephony.caller_audio import AHEAD_MS_MAX, HELD_MS_MAX, REPEATED_MS, STALL_S, CallerAudio
from telephony.twilio.messages import Media

SID = "MZ" + "0" * 32
MS = 8  # bytes
SILENCE = b"\xff"


class Way:
    """The way from a phone to a model that listens or does not; `heard` is what the models were given."""

    def __init__(self, audio="pcmu", *, ready=True):
        self.audio = CallerAudio(transcoder(audio))
        self.heard = b""
        self.now = 0.0
        if ready:
            self._take(self.audio.model_ready())

    def says(self, mulaw, timestamp_ms, at=None):
        self.now = self.now if at is None else at
        media = Media(1, SID, "inbound", 1, timestamp_ms, pybase64.b64encode(mulaw), mulaw)
        self._take(self.audio.media(media, self.now))

    def wait(self, until):
        while self.audio.stalls_at <= until:
            self._take(self.audio.stall(self.audio.stalls_at))
        self.now = until

    def ready(self):
        self._take(self.audio.model_ready())

    def _take(self, frames):
        for frame in frames:
            event = json.loads(frame)
            assert event["type"] == "input_audio_buffer.append"
            self.heard += pybase64.b64decode(event["audio"])


def frame(n):
    """20 ms that can be told from others."""
    return bytes([n % 200]) * (20 * MS)


# ---- frames that follow each other ---------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=400), max_size=20), st.booleans())
def test_what_follows_without_a_gap_reaches_the_model_as_it_is(pieces, ready_late):
    way, timestamp_ms = Way(ready=not ready_late), 0
    for piece in pieces:
        whole = piece[: len(piece) // MS * MS]
        way.says(whole, timestamp_ms)
        timestamp_ms += len(whole) // MS
    if ready_late:
        assert way.heard == b""
        way.ready()
    assert way.heard == b"".join(piece[: len(piece) // MS * MS] for piece in pieces)


def test_a_models_own_format_gets_as_much_audio():
    way = Way("pcm")
    for n in range(50):
        way.says(frame(n), 20 * n)
    assert len(way.heard) == pytest.approx(1000 * 48, abs=5 * 48)


def test_while_muted_the_model_hears_silence_for_as_long():
    way = Way()
    way.says(frame(1), 0)
    way.audio.muted = True
    way.says(frame(2), 20)
    way.audio.muted = False
    way.says(frame(3), 40)
    assert way.heard == frame(1) + SILENCE * 160 + frame(3)


def test_empty_frames_are_nothing():
    way = Way(ready=False)
    for _ in range(1000):
        way.says(b"", 0)
    way.ready()
    for _ in range(1000):
        way.says(b"", 0)
    assert way.heard == b""
    assert len(way.audio._held) == len(way.audio._latest) == 0


# ---- gaps and stalls -----------------------------------------------------------------------------------------------------------


def test_a_gap_is_filled_when_the_next_frame_tells_of_it():
    way = Way()
    way.says(frame(1), 0, at=0.0)
    way.says(frame(2), 120, at=0.12)
    assert way.heard == frame(1) + SILENCE * 800 + frame(2)


def test_timestamps_that_wobble_are_no_gap():
    way = Way()
    way.says(frame(1), 0, at=0.0)
    way.says(frame(2), 29, at=0.02)
    way.says(frame(3), 41, at=0.04)
    assert way.heard == frame(1) + frame(2) + frame(3)


def test_a_phone_that_falls_silent_is_made_up_for_while_it_lasts_and_not_once_more_afterwards():
    way = Way()
    way.says(frame(1), 0, at=0.0)
    way.wait(2.0)
    assert len(way.heard) / MS == pytest.approx(2000, abs=120)
    way.says(frame(2), 2000, at=2.0)
    assert len(way.heard) / MS == pytest.approx(2020, abs=20)


def test_nothing_is_made_up_before_the_first_frame():
    way = Way()
    assert way.audio.stalls_at == inf
    way.says(frame(1), 5_000_000, at=3.0)
    assert way.heard == frame(1)
    assert way.audio.stalls_at == 3.0 + STALL_S


@pytest.mark.parametrize("jump_ms", [600, 10_000, 10**9, 2**53])
def test_timestamps_that_jump_back_and_forth_make_no_silence_of_their_own(jump_ms):
    way = Way()
    for n in range(200):
        way.says(frame(n), (20 * n) + jump_ms * (n % 2), at=n * 0.02)
    made_up_ms = len(way.heard) / MS - 200 * 20
    assert made_up_ms <= AHEAD_MS_MAX + 0.2 * 4000
    assert way.audio.unfilled_ms > 0


@given(st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 2**53) | st.integers(0, 60_000)), max_size=60))
def test_no_timestamps_make_much_more_audio_than_time_has_passed(frames):
    way, at = Way(), 0.0
    for pause_ms, timestamp_ms in frames:
        at += pause_ms / 1000
        way.wait(at)
        way.says(frame(1), timestamp_ms, at=at)
    # A stall may be filled, and what it held up come after all: that is the phone's audio, not ours.
    assert len(way.heard) / MS <= 1.1 * at * 1000 + AHEAD_MS_MAX + 20 * len(frames) + 1


# ---- models that come and go -----------------------------------------------------------------------------------------------


def test_what_is_said_while_no_model_listens_is_held_for_the_next():
    way = Way()
    way.audio.turn_ended()
    way.audio.model_gone()
    way.says(frame(1), 0)
    way.says(frame(2), 20)
    assert way.heard == b""
    way.ready()
    way.says(frame(3), 40)
    assert way.heard == frame(1) + frame(2) + frame(3)


def test_a_caller_who_has_just_begun_to_speak_is_heard_from_the_start_by_the_next_model():
    way = Way()
    for n in range(100):
        way.says(frame(n), 20 * n)
    before = way.heard
    way.audio.model_gone()
    way.says(frame(100), 2000)
    way.ready()
    repeated = way.heard.removeprefix(before)
    assert repeated == b"".join(frame(n) for n in range(100 - REPEATED_MS // 20, 101))


def test_a_turn_that_the_old_model_has_dealt_with_is_not_heard_again():
    way = Way()
    way.says(frame(1), 0)
    way.audio.turn_ended()
    way.says(frame(2), 20)
    way.audio.model_gone()
    way.ready()
    assert way.heard == frame(1) + frame(2) + frame(2)


def test_a_model_that_goes_before_it_listens_changes_nothing():
    way = Way()
    way.says(frame(1), 0)
    way.audio.turn_ended()
    way.audio.model_gone()
    way.says(frame(2), 20)
    way.audio.model_gone()
    way.audio.model_gone()
    way.ready()
    assert way.heard == frame(1) + frame(2)


def test_of_a_long_absence_the_newest_half_minute_is_kept_and_the_rest_is_counted():
    way = Way(ready=False)
    for n in range(1600):
        way.says(frame(n), 20 * n)
    assert way.audio.lost_ms == 32_000 - HELD_MS_MAX == 2000
    way.ready()
    assert way.heard == b"".join(frame(n) for n in range(100, 1600))


def test_what_was_held_goes_out_in_pieces_of_a_second_at_most():
    way = Way(ready=False)
    for n in range(130):
        way.says(frame(n), 20 * n)
    sizes = [len(pybase64.b64decode(json.loads(sent)["audio"])) for sent in way.audio.model_ready()]
    assert sizes == [8000, 8000, 4800]
