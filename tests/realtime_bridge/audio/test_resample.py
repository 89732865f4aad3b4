"""The resamplers as streams: lengths, seams, exactness, edges of the range."""

import hashlib
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from realtime_bridge.audio import Downsampler, Upsampler
from realtime_bridge.errors import ProtocolError

BOTH = pytest.mark.parametrize("resampler", [Upsampler, Downsampler])
HOUR_S = 3600


def noise(samples, seed=0):
    """PCM16 at full scale, so that the output clips here and there."""
    return random.Random(seed).randbytes(2 * samples)


def sine(hz, rate, seconds, amplitude=10_000):
    return np.rint(amplitude * np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate)).astype("<i2").tobytes()


def samples_of(pcm16):
    return np.frombuffer(pcm16, "<i2").astype(float)


def in_chunks(resampler, pcm16, chunk_samples):
    """The whole stream without its tail, given in equal chunks."""
    size = 2 * chunk_samples
    return b"".join(resampler.process(pcm16[at : at + size]) for at in range(0, len(pcm16), size))


@BOTH
@settings(deadline=None)
@given(seed=st.integers(0, 2**32), chunks=st.lists(st.integers(0, 900) | st.integers(4000, 11_000), max_size=8))
def test_any_split_gives_the_whole_bit_for_bit(resampler, seed, chunks):
    whole, split = resampler(), resampler()
    stream = noise(sum(chunks), seed)
    expected = whole.process(stream) + whole.flush()
    out, at = b"", 0
    for chunk in chunks:
        out += split.process(stream[at : at + 2 * chunk])
        at += 2 * chunk
    assert out + split.flush() == expected


@BOTH
def test_single_samples_give_the_whole(resampler):
    stream = noise(500)
    assert in_chunks(resampler(), stream, 1) == resampler().process(stream)


@pytest.mark.parametrize(
    ("resampler", "digest"),
    [
        (Upsampler, "f3eb2ed8cb1817be4a7cc5720bc5d6dfffe93fe0f4d3e8f1881a62235902d806"),
        (Downsampler, "fc8aa144017754fbdaeeb23404f38073e98bd19a56b90b4831f095e733d2bc52"),
    ],
)
def test_every_machine_makes_the_same_bytes(resampler, digest):
    stream = resampler()
    assert hashlib.sha256(stream.process(noise(50_000)) + stream.flush()).hexdigest() == digest


@given(chunks=st.lists(st.integers(0, 2000), max_size=10))
def test_up_gives_three_samples_for_one(chunks):
    up = Upsampler()
    assert [len(up.process(noise(chunk))) for chunk in chunks] == [2 * 3 * chunk for chunk in chunks]


@given(chunks=st.lists(st.integers(0, 2000), max_size=10))
def test_down_gives_every_third_sample_of_the_whole_stream(chunks):
    down, taken, given_back = Downsampler(), 0, 0
    for chunk in chunks:
        taken += chunk
        given_back += len(down.process(noise(chunk))) // 2
        assert given_back == -(-taken // 3)


def test_twenty_milliseconds_there_and_back_keep_their_length():
    up, down = Upsampler(), Downsampler()
    for _ in range(50):
        wide = up.process(noise(160))
        assert len(wide) == 2 * 480
        assert len(down.process(wide)) == 2 * 160


@pytest.mark.parametrize(("resampler", "rate", "out_rate"), [(Upsampler, 8000, 24_000), (Downsampler, 24_000, 8000)])
def test_an_hour_does_not_drift(resampler, rate, out_rate):
    stream, out_samples = resampler(), 0
    silent_second = bytes(2 * rate)
    for _ in range(HOUR_S):
        out_samples += len(stream.process(silent_second)) // 2
    assert out_samples == HOUR_S * out_rate
    click = np.zeros(rate, "<i2")
    click[rate // 2] = 20_000
    heard = samples_of(stream.process(click.tobytes()))
    assert np.argmax(heard) == out_rate // 2 + out_rate * 1.5e-3


@pytest.mark.parametrize(("resampler", "rate", "out_rate"), [(Upsampler, 8000, 24_000), (Downsampler, 24_000, 8000)])
def test_an_impulse_is_heard_once_and_its_echoes_lie_around_it(resampler, rate, out_rate):
    """1.5 ms of delay, and a response as long before as after it: no phase distortion."""
    stream = resampler()
    response = samples_of(stream.process(np.array([20_000], "<i2").tobytes()) + stream.flush())
    centre = round(out_rate * 1.5e-3)
    assert np.argmax(np.abs(response)) == centre
    before, after = response[:centre][::-1], response[centre + 1 :]
    assert np.array_equal(before, after[: len(before)])
    assert not after[len(before) :].any()


@BOTH
@pytest.mark.parametrize("level", [0, 1, -1, 1000, -32768, 32767])
def test_a_constant_stays_what_it_is(resampler, level):
    stream = resampler()
    stream.process(np.full(100, level, "<i2").tobytes())
    assert set(samples_of(stream.process(np.full(5000, level, "<i2").tobytes()))) == {level}


@BOTH
def test_silence_follows_sound_without_hiss(resampler):
    stream = resampler()
    stream.process(noise(4801))
    stream.process(bytes(2 * 72))
    assert not any(stream.process(bytes(2 * 9600)))


@BOTH
def test_too_loud_is_clipped_and_does_not_wrap(resampler):
    square = np.tile(np.repeat(np.array([32767, -32768], "<i2"), 30), 200)
    out = samples_of(resampler().process(square.tobytes()))
    assert out.max() == 32767
    assert out.min() == -32768
    assert np.abs(np.diff(out)).max() < 45_000  # wrapping would jump by 65,535


@pytest.mark.parametrize(
    ("resampler", "rate", "out_rate", "chunk"),
    [(Upsampler, 8000, 24_000, 160), (Downsampler, 24_000, 8000, 480), (Downsampler, 24_000, 8000, 501)],
)
@pytest.mark.parametrize("hz", [200, 997, 2500])
def test_a_tone_has_no_ticks_at_the_edges_of_frames(resampler, rate, out_rate, chunk, hz):
    out = samples_of(in_chunks(resampler(), sine(hz, rate, 1.2), chunk))[out_rate // 10 : out_rate // 10 + out_rate]
    phase = 2 * np.pi * hz * np.arange(out_rate) / out_rate
    tone = 2 * np.mean(out * np.sin(phase)) * np.sin(phase) + 2 * np.mean(out * np.cos(phase)) * np.cos(phase)
    assert np.abs(out - tone).max() < 8  # of 10,000, that is 62 dB down: rounding and what images there are
    spectrum = np.abs(np.fft.rfft(out)) / (out_rate / 2)
    spectrum[hz] = 0.0
    # Ticks at 50 frames a second would be a comb of lines: none may stand out, 65 dB below the tone.
    assert spectrum.max() < 10_000 * 10 ** (-65 / 20)


@pytest.mark.parametrize("hz", [4600, 5000, 7000, 9000, 11_900])
def test_what_the_phone_cannot_carry_does_not_fold_into_the_voice(hz):
    out = samples_of(Downsampler().process(sine(hz, 24_000, 1.0)))
    assert np.abs(out[100:]).max() < 10_000 * 10 ** (-60 / 20)


@BOTH
def test_the_tail_is_three_milliseconds_and_the_next_stream_starts_in_silence(resampler):
    stream, fresh = resampler(), resampler()
    stream.process(noise(1000))
    tail = stream.flush()
    assert len(tail) == 2 * (72 if resampler is Upsampler else 24)
    assert any(tail)
    assert stream.process(noise(777, seed=1)) == fresh.process(noise(777, seed=1))


@BOTH
def test_the_tail_comes_once(resampler):
    stream = resampler()
    stream.process(b"")
    assert stream.flush() == b""
    stream.process(noise(10))
    assert stream.flush() != b""
    assert stream.flush() == b""


@BOTH
def test_a_reset_forgets_the_stream(resampler):
    stream, fresh = resampler(), resampler()
    stream.process(noise(1001))
    stream.reset()
    assert stream.flush() == b""
    assert stream.process(noise(777, seed=1)) == fresh.process(noise(777, seed=1))


@BOTH
def test_half_a_sample_is_refused_and_leaves_the_stream_as_it_was(resampler):
    stream, untouched = resampler(), resampler()
    for each in (stream, untouched):
        each.process(noise(100))
    with pytest.raises(ProtocolError, match="3 bytes"):
        stream.process(b"123")
    assert stream.process(noise(50)) == untouched.process(noise(50))


@BOTH
def test_nothing_in_gives_nothing_out(resampler):
    assert resampler().process(b"") == b""
