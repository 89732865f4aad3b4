"""G.711: the code points of both laws."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.audio.g711 import (
    ALAW_SILENCE,
    MULAW_SILENCE,
    alaw_to_pcm16,
    mulaw_to_pcm16,
    pcm16_to_alaw,
    pcm16_to_mulaw,
)
from realtime_bridge.errors import ProtocolError

EVERY_CODE = bytes(range(256))
EVERY_SAMPLE = np.arange(-32768, 32768, dtype="<i2")


def test_every_mulaw_code_comes_back_except_that_the_two_zeros_become_one():
    negative_zero = 0x7F
    expected = EVERY_CODE.replace(bytes([negative_zero]), MULAW_SILENCE)
    assert pcm16_to_mulaw(mulaw_to_pcm16(EVERY_CODE)) == expected


def test_every_alaw_code_comes_back():
    assert pcm16_to_alaw(alaw_to_pcm16(EVERY_CODE)) == EVERY_CODE


def test_silence_is_the_code_of_the_sample_zero():
    assert pcm16_to_mulaw(bytes(2)) == MULAW_SILENCE
    assert mulaw_to_pcm16(MULAW_SILENCE) == bytes(2)
    assert pcm16_to_alaw(bytes(2)) == ALAW_SILENCE
    assert alaw_to_pcm16(ALAW_SILENCE) == b"\x08\x00"


def test_mulaw_decodes_to_the_values_of_its_table():
    # G.711 table 2a, at 14 bits: the largest value is 8031, the ends of the segments below it 3999, 1983, 975, ...
    ends = np.array([8031, 3999, 1983, 975, 471, 219, 93, 30], "<i2") * 4
    assert np.array_equal(np.frombuffer(mulaw_to_pcm16(bytes(range(0x80, 0x100, 0x10))), "<i2"), ends)
    assert np.array_equal(np.frombuffer(mulaw_to_pcm16(bytes(range(0x00, 0x80, 0x10))), "<i2"), -ends)


@pytest.mark.parametrize(
    ("encode", "decode", "bias", "finest_step", "largest"),
    [
        pytest.param(pcm16_to_mulaw, mulaw_to_pcm16, 132, 8, 32124, id="mu-law"),
        pytest.param(pcm16_to_alaw, alaw_to_pcm16, 0, 16, 32256, id="A-law"),
    ],
)
def test_a_sample_comes_back_within_the_laws_quantisation(encode, decode, bias, finest_step, largest):
    decoded = np.frombuffer(decode(encode(EVERY_SAMPLE.tobytes())), "<i2").astype(int)
    samples = np.clip(EVERY_SAMPLE.astype(int), -largest, largest)
    # A segment begins at half its end and has 16 steps: a step is at most a 16th of the value, and an error half a step.
    # The coder itself sees only the upper 14 (mu-law) or 13 bits (A-law) of a sample, half of the finest step.
    allowed = np.maximum(finest_step, (np.abs(samples) + bias) / 16) / 2 + finest_step / 2
    assert np.all(np.abs(decoded - samples) <= allowed)


@pytest.mark.parametrize(("encode", "decode"), [(pcm16_to_mulaw, mulaw_to_pcm16), (pcm16_to_alaw, alaw_to_pcm16)])
@given(samples=st.binary(max_size=400).map(lambda data: data[: len(data) // 2 * 2]))
def test_a_second_passage_changes_nothing(encode, decode, samples):
    once = decode(encode(samples))
    assert len(once) == len(samples)
    assert decode(encode(once)) == once


@pytest.mark.parametrize("encode", [pcm16_to_mulaw, pcm16_to_alaw])
def test_half_a_sample_is_the_peers_fault(encode):
    with pytest.raises(ProtocolError, match="5 bytes"):
        encode(b"12345")


def test_importing_it_warns_of_nothing():
    subprocess.run([sys.executable, "-W", "error", "-c", "import realtime_bridge.audio.g711"], check=True, timeout=60)
