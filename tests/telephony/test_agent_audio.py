"""The agent's audio on its way to the phone: every sample once, in order, in whole frames; what exceeds the phone waits."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.audio.transcode import transcoder
from telephony.agent_audio import PHONE_MS_MAX, WAITING_MS_MAX, AgentAudio
from telephony.phone_audio import FRAME_BYTES, PhoneAudio
from telephony.playout import ItemKey, PlayoutLedger
from telephony.twilio.media_stream import MediaStreamWriter, decode_command
from telephony.twilio.messages import ClearAudio, PlayMark, PlayMedia

MS = 8  # bytes
FIRST, SECOND, OTHER = ItemKey("r1", "i1", 0), ItemKey("r1", "i2", 0), ItemKey("r2", "i3", 0)
SILENCE = b"\xff"


class Way:
    """The way from a model to a phone; `wire` is the audio that was sent, `marks` where in it marks stand."""

    def __init__(self, audio="pcmu", *, holdback_ms=None):
        self.ledger = PlayoutLedger()
        self.audio = AgentAudio(PhoneAudio(MediaStreamWriter("MZ" + "0" * 32), self.ledger), transcoder(audio))
        if holdback_ms is not None:
            self.audio.hold_back(holdback_ms)
        self.wire = b""
        self.marks = []

    def says(self, key, audio, now=0.0):
        self.take(self.audio.delta(key, audio, now))

    def ends(self, key, now=0.0):
        self.take(self.audio.finish(key, now))

    def take(self, frames):
        for frame in frames:
            match decode_command(frame):
                case PlayMedia(mulaw=mulaw):
                    assert mulaw
                    assert len(mulaw) % FRAME_BYTES == 0, "whole frames only"
                    self.wire += mulaw
                case PlayMark():
                    self.marks.append(len(self.wire))
                case ClearAudio():
                    raise AssertionError("nobody asked for a clear")


def sound(n, ms):
    """So much audio that can be told from others."""
    return bytes([n % 120]) * (ms * MS)


# ---- frames --------------------------------------------------------------------------------------------------------------


def test_audio_goes_out_in_whole_frames_as_it_comes_and_the_rest_with_the_end():
    way = Way()
    way.says(FIRST, sound(1, 50))
    assert way.wire == sound(1, 40)
    way.says(FIRST, sound(2, 15))
    assert way.wire == sound(1, 50) + sound(2, 10)
    way.ends(FIRST)
    assert way.wire == sound(1, 50) + sound(2, 15) + SILENCE * (15 * MS)
    assert way.marks[-1] == len(way.wire), "a mark tells when it has been heard"


def test_the_next_item_ends_the_one_before_it():
    way = Way()
    way.says(FIRST, sound(1, 30))
    way.says(SECOND, sound(2, 30))
    assert way.wire == sound(1, 30) + SILENCE * (10 * MS) + sound(2, 20)
    way.ends(FIRST)
    assert way.wire[-20 * MS :] == sound(2, 20)
    way.ends(SECOND)
    assert way.wire[-20 * MS :] == sound(2, 10) + SILENCE * (10 * MS)


def test_the_end_of_a_response_ends_its_item_and_no_other():
    way = Way()
    way.says(OTHER, sound(1, 30))
    way.take(way.audio.finish_response("r1", 0.0))
    assert way.wire == sound(1, 20)
    way.take(way.audio.finish_response("r2", 0.0))
    assert len(way.wire) == 40 * MS
    way.says(FIRST, sound(2, 30))
    way.take(way.audio.finish_response(None, 0.0))
    assert len(way.wire) == 80 * MS


def test_the_phones_audio_is_as_long_as_the_models_whatever_its_format():
    way = Way("pcm")
    for _ in range(50):
        way.says(FIRST, b"\1\2" * 24 * 20)
    assert way.audio.item_ms == 1000
    way.ends(FIRST)
    assert len(way.wire) == pytest.approx(1000 * MS, abs=20 * MS)


PIECES = st.lists(
    st.tuples(st.sampled_from([FIRST, SECOND, OTHER, ItemKey("r2", "i4", 1)]), st.integers(0, 300)), max_size=30
)


@given(PIECES, st.sampled_from([None, 0, 100]))
def test_every_sample_goes_out_once_and_in_order_whatever_it_is_cut_into(pieces, holdback_ms):
    way, said = Way(holdback_ms=holdback_ms), b""
    for number, (key, ms) in enumerate(pieces):
        way.says(key, sound(number, ms), now=number * 0.01)
        said += sound(number, ms)
    way.take(way.audio.finish_response(None, 1.0))
    way.take(way.audio.let_go(100.0))
    assert way.wire.replace(SILENCE, b"") == said
    assert len(way.wire) % FRAME_BYTES == 0
    assert way.ledger.sent_wire == len(way.wire)
    assert not said or way.marks[-1] == len(way.wire)


# ---- more than a phone may hold ---------------------------------------------------------------------------------------------


def test_what_the_phone_may_not_hold_waits_and_goes_out_as_it_plays():
    way = Way()
    for n in range(400):
        way.says(FIRST, sound(n, 1000))
    way.ends(FIRST)
    assert len(way.wire) == PHONE_MS_MAX * MS
    assert way.audio.unheard(0.0)
    now = 0.0
    while way.audio.due_at(now) < inf:
        now = way.audio.due_at(now)
        assert way.ledger.unplayed_ms(now) < PHONE_MS_MAX
        way.take(way.audio.refill(now))
        assert way.ledger.unplayed_ms(now) <= PHONE_MS_MAX + 1000
    assert way.wire == b"".join(sound(n, 1000) for n in range(400))
    assert now == pytest.approx(100, abs=2), "as late as can be"
    assert not way.audio.unheard(401.0)


def test_audio_beyond_all_limits_is_left_out_and_counted():
    way = Way()
    minutes = sound(1, 60_000)
    for _ in range((PHONE_MS_MAX + WAITING_MS_MAX) // 60_000 + 2):
        way.says(FIRST, minutes)
    assert way.audio.lost_ms == 120_000


# ---- what is not to be heard -------------------------------------------------------------------------------------------------


def test_a_clear_takes_back_all_that_is_here_and_names_what_it_cuts():
    way = Way()
    for n in range(400):
        way.says(FIRST, sound(n, 1000))
    clear, cut = way.audio.clear(2.0)
    assert isinstance(decode_command(clear), ClearAudio)
    (item,) = cut
    assert (item.key, item.heard_ms, item.audio_ms) == (FIRST, 2000, 400_000)
    assert (way.audio.unheard(2.0), way.audio.due_at(2.0)) == (False, inf)
    way.says(SECOND, sound(7, 20), now=3.0)
    assert way.wire[-20 * MS :] == sound(7, 20)


def test_a_response_that_is_dropped_leaves_what_the_phone_has_and_what_others_say():
    way = Way()
    for n in range(301):
        way.says(FIRST, sound(n, 1000))
    way.says(OTHER, sound(9, 1000))
    way.audio.drop("r1")
    way.says(OTHER, sound(10, 1000))
    way.take(way.audio.refill(10.0))
    assert way.wire == b"".join(sound(n, 1000) for n in range(300)) + sound(9, 1000) + sound(10, 1000)


def test_held_back_audio_is_heard_when_it_is_released_or_its_time_has_come():
    way = Way(holdback_ms=500)
    way.says(FIRST, sound(1, 100), now=0.0)
    way.says(FIRST, sound(2, 100), now=0.1)
    assert way.wire == b""
    assert way.audio.unheard(0.1)
    way.take(way.audio.release("i1", 0, 100, 0.2))
    assert way.wire == sound(1, 100)
    assert way.audio.due_at(0.2) == 0.6
    way.take(way.audio.let_go(0.6))
    assert way.wire == sound(1, 100) + sound(2, 100)


def test_held_back_audio_of_a_dropped_response_is_never_heard():
    way = Way(holdback_ms=500)
    way.says(FIRST, sound(1, 100), now=0.0)
    way.audio.drop("r1")
    way.take(way.audio.let_go(10.0))
    assert (way.wire, way.audio.unheard(10.0)) == (b"", False)


def test_nothing_is_due_where_nothing_waits_and_never_in_the_past():
    way = Way()
    assert way.audio.due_at(5.0) == inf
    way.says(FIRST, sound(1, 100))
    assert way.audio.due_at(5.0) == inf
    held = Way(holdback_ms=100)
    held.says(FIRST, sound(1, 100), now=0.0)
    assert held.audio.due_at(5.0) > 5.0


def test_a_probe_is_a_mark_and_no_audio():
    way = Way()
    way.take(way.audio.probe(1.0))
    assert (way.wire, way.marks) == (b"", [0])
