"""A call's two ways between phone and model."""

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_bridge.audio import transcoder
from realtime_bridge.audio.g711 import MULAW_SILENCE

BOTH_KINDS = pytest.mark.parametrize("kind", ["pcm", "pcmu"])


def noise(size, seed=0):
    return random.Random(seed).randbytes(size)


def tone(milliseconds):
    return np.rint(9000 * np.sin(2 * np.pi * 440 / 24_000 * np.arange(24 * milliseconds))).astype("<i2").tobytes()


def test_each_kind_names_its_format_as_the_api_does():
    pcm, pcmu = transcoder("pcm"), transcoder("pcmu")
    assert (pcm.model_format, pcm.model_format_json) == ("pcm", {"type": "audio/pcm", "rate": 24000})
    assert (pcmu.model_format, pcmu.model_format_json) == ("pcmu", {"type": "audio/pcmu"})


@BOTH_KINDS
@given(sizes=st.lists(st.integers(0, 1000), max_size=8))
def test_no_sample_of_the_caller_is_held_back(kind, sizes):
    ways = transcoder(kind)
    for size in sizes:
        assert len(ways.to_model(noise(size))) * 8 == size * ways.model_bytes_per_ms


@BOTH_KINDS
@settings(deadline=None)
@given(item=st.binary(max_size=3000), cuts=st.lists(st.integers(0, 3000), max_size=6))
def test_an_item_cut_anywhere_sounds_the_same(kind, item, cuts):
    whole, cut = transcoder(kind), transcoder(kind)
    edges = [0, *sorted(min(at, len(item)) for at in cuts), len(item)]
    parts = [cut.to_phone(item[start:end]) for start, end in pairwise(edges)]
    assert b"".join(parts) + cut.flush_to_phone() == whole.to_phone(item) + whole.flush_to_phone()


@BOTH_KINDS
def test_whole_frames_there_and_back_keep_their_length(kind):
    ways = transcoder(kind)
    for _ in range(20):
        assert len(ways.to_phone(ways.to_model(noise(160)))) == 160


@BOTH_KINDS
def test_silence_stays_silence(kind):
    ways = transcoder(kind)
    assert ways.to_phone(ways.to_model(MULAW_SILENCE * 1600)) + ways.flush_to_phone() == MULAW_SILENCE * (
        1600 + (24 if kind == "pcm" else 0)
    )


def test_a_tone_gets_through_in_both_directions():
    ways = transcoder("pcm")
    up = np.frombuffer(ways.to_model(transcoder("pcm").to_phone(tone(200))), "<i2").astype(float)
    spectrum = np.abs(np.fft.rfft(up[2400:4800] * np.hanning(2400)))
    assert np.argmax(spectrum) == 440 / 10
    assert 8500 < np.abs(up[2400:]).max() < 9500


def test_half_a_sample_at_an_items_end_is_dropped():
    ways, fresh = transcoder("pcm"), transcoder("pcm")
    ways.to_phone(tone(20) + b"\x01")
    ways.flush_to_phone()
    assert ways.to_phone(tone(20)) == fresh.to_phone(tone(20))


def test_after_a_barge_in_nothing_of_the_old_item_is_heard():
    ways, fresh = transcoder("pcm"), transcoder("pcm")
    ways.to_phone(tone(33) + b"\x01")
    ways.reset_to_phone()
    assert ways.flush_to_phone() == b""
    assert ways.to_phone(tone(20)) == fresh.to_phone(tone(20))


def test_pass_through_touches_no_byte_and_has_no_tail():
    ways, audio = transcoder("pcmu"), bytes(range(256))
    assert ways.to_model(audio) == audio
    assert ways.to_phone(audio) == audio
    assert ways.flush_to_phone() == b""
    ways.reset_to_phone()
    assert ways.to_phone(audio) == audio
