"""Where audio lies in a recording: at the sample where it was said or heard, however it arrived."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.errors import MisuseError
from telephony.playout import ItemKey, PlayoutLedger
from telephony.records.recording import AGENT, CALLER, UNPLAYED_BYTES_MAX, CallRecording

FRAME = 160
KEY = ItemKey("resp_1", "item_1", 0)


def channel_of(placements, channel, length):
    """The mu-law samples of one channel; None where there are none."""
    samples = [None] * length
    for placement in placements:
        if placement.channel == channel:
            samples[placement.start : placement.end] = placement.mulaw
    return samples


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


def test_the_callers_frames_lie_at_their_timestamps():
    recording = CallRecording()
    audio = noise(10 * FRAME)
    for i in range(10):
        recording.caller_audio(40 + i * 20, audio[i * FRAME : (i + 1) * FRAME])
    (placement,) = recording.take()
    assert (placement.channel, placement.start, bytes(placement.mulaw)) == (CALLER, 320, audio)
    assert recording.length_samples == 320 + 10 * FRAME


def test_a_gap_in_the_timestamps_stays_a_gap():
    recording = CallRecording()
    recording.caller_audio(0, noise(FRAME, 1))
    recording.caller_audio(100, noise(FRAME, 2))
    samples = channel_of(recording.take(), CALLER, 960)
    assert samples == [*noise(FRAME, 1), *[None] * 640, *noise(FRAME, 2)]


def test_a_millisecond_of_jitter_makes_no_seam_and_never_adds_up():
    recording = CallRecording()
    jitter = random.Random(1)
    for i in range(3000):
        recording.caller_audio(i * 20 + jitter.choice([-1, 0, 1]), bytes(FRAME))
    assert [(p.start, p.end) for p in recording.take()] == [(0, 3000 * FRAME)]


def test_a_phone_whose_clock_drifts_is_followed():
    recording = CallRecording()
    for i in range(10_000):  # 0.5 % fast: a second in 200 s
        recording.caller_audio(round(i * 20 * 1.005), bytes(FRAME))
    assert abs(recording.length_samples - 10_000 * FRAME * 1.005) <= 2 * 8 + FRAME


def test_a_frame_that_comes_late_lies_where_it_belongs():
    recording = CallRecording()
    for ms, seed in ((0, 1), (40, 3), (20, 2), (60, 4)):
        recording.caller_audio(ms, noise(FRAME, seed))
    samples = channel_of(recording.take(), CALLER, 4 * FRAME)
    assert samples == [b for seed in (1, 2, 3, 4) for b in noise(FRAME, seed)]


def test_what_the_agent_said_lies_where_it_was_played_not_where_it_was_sent():
    recording = CallRecording()
    audio = noise(8000)
    recording.agent_audio(audio[:3000])
    recording.agent_audio(audio[3000:])
    assert recording.take() == []
    recording.agent_played(0, 4000, 1234.5)
    recording.agent_played(4000, 8000, 1734.5)
    (placement,) = recording.take()
    assert (placement.channel, placement.start, bytes(placement.mulaw)) == (AGENT, 9876, audio)


def test_what_a_clear_threw_away_never_appears():
    recording = CallRecording()
    audio = noise(8000)
    recording.agent_audio(audio)
    recording.agent_played(0, 1600, 100.0)
    recording.agent_played(4800, 6400, 5000.0)
    samples = channel_of(recording.take(), AGENT, 5200 * 8)
    assert samples[800:2400] == list(audio[:1600])
    assert samples[40_000:41_600] == list(audio[4800:6400])
    assert sum(sample is not None for sample in samples) == 3200


@given(
    st.lists(st.tuples(st.integers(1, 700), st.integers(0, 300), st.integers(0, 9)), max_size=30),
    st.lists(st.integers(1, 900), min_size=1, max_size=10),
    st.lists(st.booleans(), max_size=30),
)
def test_any_spans_in_any_order_of_sending_and_taking_lie_at_their_sample(spans, pieces, takes):
    """Each span: its length, a gap before it in ms, how much before it was thrown away."""
    size = sum(length + skipped for length, _, skipped in spans)
    audio = noise(size)
    recording = CallRecording()
    placements = []
    sent = wire = at = 0
    expected = {}
    for i, (length, gap_ms, skipped) in enumerate(spans):
        wire += skipped
        while sent < wire + length:
            piece = audio[sent : sent + pieces[sent % len(pieces)]]
            recording.agent_audio(piece)
            sent += len(piece)
        at += (gap_ms + 3) * 8  # more than what is closed as a seam
        recording.agent_played(wire, wire + length, at / 8)
        expected |= dict(zip(range(at, at + length), audio[wire : wire + length], strict=True))
        wire += length
        at += length
        if i < len(takes) and takes[i]:
            placements += recording.take()
    placements += recording.take()
    samples = channel_of(placements, AGENT, recording.length_samples)
    assert {i: sample for i, sample in enumerate(samples) if sample is not None} == expected


@pytest.mark.parametrize("span", [(0, 81), (10, 5), (-1, 5)])
def test_a_span_that_was_not_sent_is_refused(span):
    recording = CallRecording()
    recording.agent_audio(bytes(80))
    with pytest.raises(MisuseError, match="cannot have been played"):
        recording.agent_played(*span, 0.0)


def test_a_span_out_of_order_is_refused():
    recording = CallRecording()
    recording.agent_audio(bytes(80))
    recording.agent_played(0, 40, 0.0)
    with pytest.raises(MisuseError, match="spans up to 40 are known"):
        recording.agent_played(39, 60, 5.0)


@pytest.mark.parametrize("at_ms", [float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(at_ms):
    recording = CallRecording()
    recording.agent_audio(bytes(80))
    with pytest.raises(MisuseError, match="played at"):
        recording.agent_played(0, 80, at_ms)


def test_a_wild_timestamp_does_not_make_a_wild_recording():
    recording = CallRecording(length_ms_max=1000)
    recording.caller_audio(10**15, bytes(FRAME))
    recording.caller_audio(990, noise(FRAME))
    (placement,) = recording.take()
    assert bytes(placement.mulaw) == noise(FRAME)[:80]
    assert recording.length_samples == 8000
    assert recording.lost_bytes == FRAME + 80


def test_audio_from_before_the_phones_clock_began_is_cut_to_it():
    recording = CallRecording()
    recording.agent_audio(noise(FRAME))
    recording.agent_played(0, FRAME, -5.0)
    (placement,) = recording.take()
    assert (placement.start, bytes(placement.mulaw)) == (0, noise(FRAME)[40:])


def test_audio_that_no_phone_can_hold_is_forgotten_and_the_rest_stays_in_place():
    recording = CallRecording()
    for _ in range(UNPLAYED_BYTES_MAX // 8000):
        recording.agent_audio(bytes(8000))
    recording.agent_audio(noise(8000))
    assert recording.lost_bytes == 8000
    recording.agent_played(0, 8000 + 80, 500.0)
    recording.agent_played(UNPLAYED_BYTES_MAX, UNPLAYED_BYTES_MAX + 8000, 700_000.0)
    first, second = recording.take()
    assert (first.start, first.end) == (4000 + 8000, 4000 + 8080)
    assert (second.start, bytes(second.mulaw)) == (5_600_000, noise(8000))


def test_the_ledgers_spans_put_the_agent_where_the_phone_played_it():
    """A barge-in, audio after it, and a model slower than real time, told by the ledger that serves calls."""
    recording, ledger = CallRecording(), PlayoutLedger()
    audio = noise(80_000)
    sent = 0

    def send(size, now):
        nonlocal sent
        ledger.received(KEY, size)
        ledger.sent(KEY, size, now)
        recording.agent_audio(audio[sent : sent + size])
        sent += size

    def tell(now):
        for span in ledger.take_played(now):
            recording.agent_played(span.wire_start, span.wire_end, span.played_at * 1000)

    send(16_000, 1.0)  # two seconds, cut after one
    ledger.clear(2.0)
    tell(2.0)
    send(4000, 3.0)
    tell(3.4)
    send(4000, 4.0)  # the buffer has been dry for half a second
    tell(10.0)
    samples = channel_of(recording.take(), AGENT, recording.length_samples)
    expected = [None] * 36_000
    expected[8000:16_000] = audio[:8000]
    expected[24_000:28_000] = audio[16_000:20_000]
    expected[32_000:36_000] = audio[20_000:24_000]
    assert samples == expected
