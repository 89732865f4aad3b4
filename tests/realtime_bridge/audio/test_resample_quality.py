"""How good the resamplers sound, by PESQ (ITU-T P.862) and signal-to-noise ratio, one direction at a time.

There and back would flatter: the way down picks the very samples that the way up started from. So each direction is
compared with an ideal resampler, a cut in the spectrum of the whole recording, of the same recorded speech.
The ratio is measured within the telephone band: what lies above 3400 Hz is the transition of any filter this short.
"""

import wave
from pathlib import Path

import numpy as np
import pesq
import pytest

from realtime_bridge.audio import Downsampler, Upsampler

SPEECH = Path(__file__).parents[2] / "data" / "librivox-sense-and-sensibility-0880.wav"
SPEECH_RATE = 16_000
TELEPHONE_BAND_HZ = 3400
DELAY_S = 1.5e-3


def band_limited(samples, rate, hz):
    spectrum = np.fft.rfft(samples)
    spectrum[np.arange(len(spectrum)) * rate / len(samples) > hz] = 0.0
    return np.fft.irfft(spectrum, len(samples))


def ideally_resampled(samples, rate, new_rate):
    length = len(samples) * new_rate // rate
    spectrum, bins = np.fft.rfft(samples), min(len(samples), length) // 2
    padded = np.zeros(length // 2 + 1, complex)
    padded[:bins] = spectrum[:bins]
    return np.fft.irfft(padded, length) * (length / len(samples))


def pcm16(samples):
    return np.clip(np.rint(samples), -32768, 32767).astype("<i2")


def through(resampler, samples, chunk_samples, delay_samples):
    """`samples` in chunks, as a call has them, aligned with the original again."""
    data, size = pcm16(samples).tobytes(), 2 * chunk_samples
    out = b"".join(resampler.process(data[at : at + size]) for at in range(0, len(data), size)) + resampler.flush()
    length = len(out) // 2 - 2 * delay_samples
    return np.frombuffer(out, "<i2").astype(float)[delay_samples : delay_samples + length]


def signal_to_noise_db(reference, rate, out):
    reference, out = (band_limited(each, rate, TELEPHONE_BAND_HZ) for each in (reference, out))
    return 10 * np.log10(np.sum(reference**2) / np.sum((reference - out) ** 2))


@pytest.fixture(scope="module")
def speech():
    """Recorded speech with all its sound up to 8 kHz, in whole tenths of a second."""
    with wave.open(str(SPEECH)) as file:
        assert file.getframerate() == SPEECH_RATE
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)
    return samples[: len(samples) // 1600 * 1600]


def test_speech_on_its_way_down_to_the_phone_is_as_good_as_ideal(speech):
    wide = pcm16(ideally_resampled(speech, SPEECH_RATE, 24_000))
    ideal = ideally_resampled(wide.astype(float), 24_000, 8000)
    out = through(Downsampler(), wide, 4800, round(DELAY_S * 8000))
    assert len(out) == len(ideal)
    assert pesq.pesq(8000, pcm16(ideal), pcm16(out), "nb") >= 4.545  # of 4.549
    assert signal_to_noise_db(ideal, 8000, out) >= 44


def test_speech_on_its_way_up_to_the_model_is_as_good_as_ideal(speech):
    phone = pcm16(band_limited(ideally_resampled(speech, SPEECH_RATE, 8000), 8000, TELEPHONE_BAND_HZ))
    ideal = ideally_resampled(phone.astype(float), 8000, 24_000)
    out = through(Upsampler(), phone, 160, round(DELAY_S * 24_000))
    assert len(out) == len(ideal)
    at_16k = [pcm16(ideally_resampled(each, 24_000, 16_000)) for each in (ideal, out)]  # the rate of wideband PESQ
    assert pesq.pesq(16_000, *at_16k, "wb") >= 4.62  # of 4.644
    assert signal_to_noise_db(ideal, 24_000, out) >= 38
