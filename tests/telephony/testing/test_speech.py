"""The recorded caller: the clips are there, licensed, and understood over a telephone line."""

from importlib.resources import files

import numpy as np
import pytest

from realtime_bridge.audio.g711 import mulaw_to_pcm16
from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.silero import SileroVad
from realtime_bridge.localmodel.turns import SpeechStarted, SpeechStopped, TurnDetector, TurnSettings
from telephony.testing.script import InterruptAfter, Say
from telephony.testing.speech import CLIPS, LINES, compose, demo_steps, spell
from telephony.testing.speech.dialogue import CUSTOMER_NUMBER

HERE = files("telephony.testing.speech")


def test_every_clip_is_recorded_and_every_recording_is_a_clip():
    recorded = [*(HERE / "wav").iterdir(), *(HERE / "wav" / "digits").iterdir()]
    names = {path.name for path in recorded if path.is_file()}
    assert names == {f"{name.rpartition('/')[2]}.wav" for name in CLIPS}


def test_the_pack_is_small_and_carries_its_licence():
    size = sum(len((HERE / "wav" / f"{name}.wav").read_bytes()) for name in CLIPS)
    assert size < 600_000
    assert "Allison Smith" in (HERE / "ATTRIBUTION.md").read_text()
    assert "ShareAlike" in (HERE / "LICENSE-CC-BY-SA-3.0.txt").read_text()


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_is_loud_inside_its_bounds_and_quiet_at_them(name):
    samples = np.frombuffer(mulaw_to_pcm16(compose(name)), np.int16).astype(float)
    windows = samples[: samples.size // 80 * 80].reshape(-1, 80)  # 10 ms each
    level = np.sqrt(np.square(windows).mean(axis=1))
    assert level.max() > 3000
    assert level[0] < 0.1 * level.max()
    assert level[-1] < 0.1 * level.max()


def test_pauses_are_silence_of_their_length():
    assert compose("hello", 100, "goodbye") == compose("hello") + b"\xff" * 800 + compose("goodbye")


def test_numbers_are_spelt_digit_by_digit():
    assert spell("42", 50) == ("digits/4", 50, "digits/2")


def test_what_cannot_be_said_is_refused():
    with pytest.raises(MisuseError, match="no clip 'nonsense'"):
        compose("nonsense")
    with pytest.raises(MisuseError, match="0-9"):
        spell("4a")


def test_the_demo_call_says_every_line_and_interrupts_once():
    steps = demo_steps()
    assert [step.label for step in steps if isinstance(step, Say)] == list(LINES)
    assert sum(isinstance(step, InterruptAfter) for step in steps) == 1
    assert sum(len(line.mulaw) for line in LINES.values()) / 8000 < 20


@pytest.mark.parametrize("name", LINES)
def test_the_offline_recogniser_understands_every_line_in_one_piece(name, ears):
    heard = ears(LINES[name].mulaw)
    assert len(heard) == 1
    assert heard[0] in LINES[name].recognised


def test_the_customer_number_can_be_read_from_what_is_recognised(ears):
    [heard] = ears(LINES["number"].mulaw)
    words = {"zero": "0", "one": "1", "two": "2", "four": "4", "seven": "7", "nine": "9"}
    number = "".join(words.get(word, word) for word in heard.lower().replace(",", "").rstrip(".").split()[5:])
    assert number == CUSTOMER_NUMBER


@pytest.fixture(scope="module")
def ears(recognizer):
    """Mu-law in, the turns found in it as text: detector, resampler and recogniser of the offline model."""

    def hear(mulaw):
        line = b"\xff" * 4000 + mulaw + b"\xff" * 8000
        audio = np.frombuffer(mulaw_to_pcm16(line), np.int16).astype(np.float32) / 32768
        events = TurnDetector(SileroVad(), TurnSettings(silence_duration_ms=300)).feed(audio)
        starts = [event.audio_start_ms * 8 for event in events if isinstance(event, SpeechStarted)]
        ends = [event.audio_end_ms * 8 for event in events if isinstance(event, SpeechStopped)]
        return [recognizer.transcribe(to_16_khz(audio[a:b])) for a, b in zip(starts, ends, strict=True)]

    return hear


def to_16_khz(audio):
    return np.interp(np.arange(0, audio.size, 0.5), np.arange(audio.size), audio).astype(np.float32)
