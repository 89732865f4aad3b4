"""WAV files of telephone systems: all kinds that are read, and what is said of those that cannot be."""

import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from realtime_bridge.audio.g711 import mulaw_to_pcm16, pcm16_to_alaw, pcm16_to_mulaw
from telephony.testing.wav_sound import WavError, decode_wav

PCM, FLOAT, ALAW, MULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
BITS = {PCM: 16, FLOAT: 32, ALAW: 8, MULAW: 8}
ENCODE = {PCM: bytes, ALAW: pcm16_to_alaw, MULAW: pcm16_to_mulaw}


def chunk(name, content, size=None):
    return name + struct.pack("<I", len(content) if size is None else size) + content + b"\0" * (len(content) % 2)


def fmt(tag=PCM, channels=1, rate=8000, *, bits=None, align=None, extra=b""):
    bits = BITS.get(tag, 16) if bits is None else bits
    align = channels * bits // 8 if align is None else align
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * align, align, bits) + extra)


def riff(*chunks):
    content = b"WAVE" + b"".join(chunks)
    return chunk(b"RIFF", content)


def tone(hz, rate, seconds=0.5, high=8000):
    return (high * np.sin(2 * np.pi * hz / rate * np.arange(int(rate * seconds)))).astype("<i2")


def wav(*sides, tag=PCM, rate=8000):
    frames = np.stack(sides, axis=1).astype("<i2").tobytes()
    return riff(fmt(tag, len(sides), rate), chunk(b"data", ENCODE[tag](frames)))


def pcm_of(mulaw):
    return np.frombuffer(mulaw_to_pcm16(mulaw), "<i2").astype(float)


def likeness(mulaw, expected):
    return float(np.corrcoef(pcm_of(mulaw)[: len(expected)], expected[: len(mulaw)])[0, 1])


@pytest.mark.parametrize("tag", [PCM, ALAW, MULAW])
@pytest.mark.parametrize("rate", [8000, 16_000])
def test_each_kind_is_read_and_each_side_keeps_to_its_channel(tag, rate):
    left, right = tone(440, rate), tone(1000, rate)
    sound = decode_wav(wav(left, right, tag=tag, rate=rate))
    assert sound.seconds == pytest.approx(0.5, abs=0.001)
    assert [len(channel) for channel in sound.channels] == [4000, 4000]
    caller, agent = sound.channels
    assert likeness(caller, tone(440, 8000)) > 0.999
    assert likeness(agent, tone(1000, 8000)) > 0.999
    (mono,) = decode_wav(wav(left, tag=tag, rate=rate)).channels
    assert mono == caller


def test_what_phones_cannot_carry_does_not_fold_into_the_voice():
    (mono,) = decode_wav(wav(tone(6000, 16_000), rate=16_000)).channels
    assert np.abs(pcm_of(mono)[400:-400]).max() < 100


def test_mu_law_of_a_phone_is_taken_byte_for_byte():
    mulaw = bytes(range(256)) * 4
    (mono,) = decode_wav(riff(fmt(MULAW), chunk(b"data", mulaw))).channels
    assert mono == mulaw


def test_other_parts_and_the_extensible_form_are_no_hindrance():
    guid = struct.pack("<HIH", 16, 3, MULAW) + bytes.fromhex("000000001000800000aa00389b71")
    extensible = fmt(EXTENSIBLE, bits=8, extra=struct.pack("<H", 22) + guid)
    data = riff(chunk(b"LIST", b"odd"), extensible, chunk(b"fact", bytes(4)), chunk(b"data", b"\xff" * 800))
    assert decode_wav(data).seconds == 0.1


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_file_that_was_written_to_a_pipe_is_as_long_as_what_is_there(size):
    assert decode_wav(riff(fmt(), chunk(b"data", bytes(1600), size))).seconds == 0.1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a WAV file"),
        (b"ID3\x04 some music", "not a WAV file"),
        (b"RIFF\x04\0\0\0AVI ", "not a WAV file"),
        (b"RF64" + bytes(20), "RF64"),
        (riff(), "no 'fmt '"),
        (riff(fmt()), "no 'data'"),
        (riff(chunk(b"data", bytes(100)), fmt()), "before what says of which kind"),
        (riff(chunk(b"fmt ", b"\x01\0\x01\0"), chunk(b"data", bytes(2))), "4 bytes, 16 at least"),
        (riff(fmt(rate=44_100), chunk(b"data", bytes(100))), "44100 Hz.*8000 or 16000.*sox"),
        (riff(fmt(rate=0), chunk(b"data", bytes(100))), "0 Hz"),
        (riff(fmt(bits=8), chunk(b"data", bytes(100))), "8-bit samples: 16-bit"),
        (riff(fmt(bits=24), chunk(b"data", bytes(96))), "24-bit"),
        (riff(fmt(channels=6), chunk(b"data", bytes(1200))), "6 channels"),
        (riff(fmt(channels=0), chunk(b"data", bytes(1200))), "0 channels"),
        (riff(fmt(FLOAT), chunk(b"data", bytes(1200))), "floating-point"),
        (riff(fmt(85), chunk(b"data", bytes(1200))), "MP3"),
        (riff(fmt(999), chunk(b"data", bytes(1200))), "format 999"),
        (riff(fmt(EXTENSIBLE), chunk(b"data", bytes(1200))), "not known"),
        (riff(fmt(align=7), chunk(b"data", bytes(1200))), "7 bytes to a frame"),
        (riff(fmt(), chunk(b"data", bytes(16_000), 32_000)), "cut off: 1.0 s of the 2.0 s"),
        (riff(fmt(), chunk(b"data", b"")), "empty"),
        (riff(fmt(), chunk(b"data", b"x")), "empty"),
        (riff(fmt(MULAW), chunk(b"data", bytes(3601 * 8000))), "too long: 60 minutes"),
        (riff(*(chunk(b"junk", b"") for _ in range(1001))), "more than 1000 parts"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_told_with_its_reason(data, why):
    with pytest.raises(WavError, match=why):
        decode_wav(data)


@given(st.binary(max_size=200), st.integers(0, 120), st.integers(0, 120))
@example(b"\xff\xff\xff\xff", 16, 16)
def test_no_file_does_more_than_be_refused(noise, at, end):
    whole = wav(tone(440, 8000, 0.01))
    for data in (noise, whole[:at], whole[:at] + noise + whole[end:]):
        try:
            sound = decode_wav(data)
        except WavError:
            continue
        assert 0 < sound.seconds < 1
