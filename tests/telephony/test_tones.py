"""Keypad tones as ITU-T Q.23 has them, and a hold loop that nobody is startled by."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.audio.g711 import mulaw_to_pcm16
from realtime_bridge.errors import MisuseError
from telephony import tones

PAIRS = {key: (tones.LOW_HZ[i // 4], tones.HIGH_HZ[i % 4]) for i, key in enumerate("123A456B789C*0#D")}
PERIOD = (tones.TONE_MS + tones.GAP_MS) * 8


def samples(mulaw):
    return np.frombuffer(mulaw_to_pcm16(mulaw), np.int16).astype(float)


def level_dbm0(sound, hz):
    """Of one frequency, by correlation; a full-scale sine is +3.17 dBm0."""
    time = np.arange(len(sound)) / 8000
    amplitude = 2 * np.abs(np.mean(sound * np.exp(-2j * np.pi * hz * time))) / 32768
    return 20 * np.log10(max(amplitude, 1e-9)) + 3.17


@pytest.mark.parametrize(("key", "pair"), PAIRS.items())
def test_each_key_is_its_two_frequencies_at_their_levels_and_no_other(key, pair):
    sound = samples(tones.keypad_tones(key))[40:760]  # without the edges
    others = set(tones.LOW_HZ + tones.HIGH_HZ) - set(pair)
    assert level_dbm0(sound, pair[0]) == pytest.approx(-9, abs=0.5)
    assert level_dbm0(sound, pair[1]) == pytest.approx(-7, abs=0.5)
    assert all(level_dbm0(sound, hz) < -27 for hz in others)  # 20 dB below, ITU-T Q.24's allowance for recognition


@given(st.text(alphabet="0123456789*#ABCDabcd", min_size=1, max_size=tones.DIGITS_MAX))
def test_keys_follow_one_another_with_a_pause_between(keys):
    mulaw = tones.keypad_tones(keys)
    assert len(mulaw) == PERIOD * len(keys)
    for n, key in enumerate(keys):
        assert mulaw[n * PERIOD : (n + 1) * PERIOD] == tones.keypad_tones(key.upper())
        assert set(mulaw[n * PERIOD + tones.TONE_MS * 8 : (n + 1) * PERIOD]) == {0xFF}


def test_pauses_are_silent():
    for key, ms in ((",", 500), ("w", 500), ("W", 1000)):
        assert tones.keypad_tones(key) == b"\xff" * (8 * ms)


@pytest.mark.parametrize(("keys", "why"), [("", "1 to 64"), ("1" * 65, "1 to 64"), ("12x", "'X'"), ("1 2", "' '")])
def test_what_no_phone_has_is_refused(keys, why):
    with pytest.raises(MisuseError, match=why):
        tones.keypad_tones(keys)


def test_the_hold_loop_is_soft_and_never_clicks():
    sound = samples(tones.hold_music())
    assert len(sound) % 160 == 0
    assert 500 < np.abs(sound).max() < 4000
    assert np.abs(np.diff(sound, append=sound[0])).max() < 1200
    step = tones.HOLD_NOTE_MS * 8
    edges = [abs(sound[at]) for at in range(0, len(sound), step)]
    assert max(edges) < 16  # so it may be cut there
