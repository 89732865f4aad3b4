"""What the offline model hears and says over a telephone: mu-law in, turns and words out, and back."""

from __future__ import annotations

import jiwer
import numpy as np
import pytest
from support.speech import (
    RATE,
    Samples,
    from_pcm16,
    in_quiet,
    librivox,
    over_the_phone,
    plain_words,
    to_mulaw,
    to_pcm16,
    tones,
)

from realtime_bridge.audio import Downsampler
from realtime_bridge.localmodel.formats import for_recognizer
from realtime_bridge.localmodel.moonshine import MoonshineRecognizer
from realtime_bridge.localmodel.silero import SileroVad
from realtime_bridge.localmodel.turns import SpeechStarted, SpeechStopped, TurnDetector, TurnEvent, TurnSettings

FRAME_SAMPLES = 160


def listen(audio: Samples, settings: TurnSettings | None = None) -> list[TurnEvent]:
    """The events of a call, fed as a telephone feeds it: 20 ms at a time."""
    ear = TurnDetector(SileroVad(), settings or TurnSettings())
    frames = (audio[at : at + FRAME_SAMPLES] for at in range(0, audio.size, FRAME_SAMPLES))
    return [event for frame in frames for event in ear.feed(frame)]


def transcribe_turn(recognizer: MoonshineRecognizer, audio: Samples) -> str:
    """The words of a recording that must be exactly one turn."""
    start, stop = listen(audio)
    assert isinstance(start, SpeechStarted)
    assert isinstance(stop, SpeechStopped)
    turn = to_mulaw(audio)[start.audio_start_ms * 8 : stop.audio_end_ms * 8]
    return recognizer.transcribe(for_recognizer(turn, "audio/pcmu"))


def test_read_sentences_are_one_turn_each_and_understood(recognizer):
    said, heard = [], []
    for clip in librivox():
        audio = over_the_phone(in_quiet(clip.samples))
        said.append(plain_words(clip.words))
        heard.append(plain_words(transcribe_turn(recognizer, audio)))
    assert jiwer.wer(said, heard) <= 0.06, heard


def test_several_sentences_in_one_call_are_that_many_turns_at_the_right_places():
    clips = [in_quiet(clip.samples) for clip in librivox()]
    events = listen(over_the_phone(np.concatenate(clips)))
    assert [type(event) for event in events] == [SpeechStarted, SpeechStopped] * len(clips)
    begin_ms = 0
    for clip, start, stop in zip(clips, events[::2], events[1::2], strict=True):
        end_ms = begin_ms + clip.size // 8
        assert isinstance(start, SpeechStarted)
        assert isinstance(stop, SpeechStopped)
        # 600 ms of quiet, up to 400 of the reader's breath, less 300 of padding; 1200 ms of quiet, 500 of it waited for
        assert begin_ms + 250 <= start.audio_start_ms <= begin_ms + 750
        assert end_ms - 1200 <= stop.audio_end_ms <= end_ms - 400
        begin_ms = end_ms


def test_speech_is_noticed_within_a_few_frames(voice):
    """The synthesizer begins sharply, so the delay is the detector's own; it varies with where the windows fall."""
    delays_ms = []
    for text in ("No, wait a minute.", "Hello?", "Actually, I changed my mind.", "Yes please.", "Stop.", "Excuse me."):
        (_, audio), *_ = voice.speak(text)
        speech = telephone_rate(audio)
        for quiet_ms in range(600, 632, 4):
            onset_ms = quiet_ms + int(np.flatnonzero(np.abs(speech) > 0.02)[0]) // 8
            delays_ms.append(_start_noticed_ms(over_the_phone(in_quiet(speech, before_ms=quiet_ms))) - onset_ms)
    assert np.median(delays_ms) <= 100
    assert max(delays_ms) <= 300  # a vowel out of nowhere leaves the network in doubt for a syllable


def _start_noticed_ms(audio: Samples) -> int:
    """How much audio had been fed when the turn began."""
    ear = TurnDetector(SileroVad(), TurnSettings())
    frames = range(FRAME_SAMPLES, audio.size, FRAME_SAMPLES)
    return next(end // 8 for end in frames if ear.feed(audio[end - FRAME_SAMPLES : end]))


def _music() -> Samples:
    """Plucked chords with a beat and vibrato."""
    time = np.arange(10 * RATE) / RATE
    audio = np.zeros(time.size)
    for beat in range(40):
        at = beat * RATE // 4
        decay = np.exp(-4 * time[: time.size - at])
        for note in (220, 277, 330, 440 + 55 * (beat % 4)):
            vibrato = 1 + 0.003 * np.sin(2 * np.pi * 5 * time[: time.size - at])
            audio[at:] += 0.05 * decay * np.sin(2 * np.pi * note * time[: time.size - at] * vibrato)
    return audio.astype(np.float32)


def _noise(level: float) -> Samples:
    return np.random.default_rng(3).normal(0.0, level, 10 * RATE).astype(np.float32)


def _knocks() -> Samples:
    generator = np.random.default_rng(4)
    audio = np.zeros(10 * RATE)
    for at in range(RATE // 2, 9 * RATE, 5003):
        audio[at : at + 400] = 0.8 * generator.normal(size=400) * np.exp(-np.arange(400) / 60)
    return audio.astype(np.float32)


def _dtmf() -> Samples:
    keys = [(697, 1209), (770, 1336), (852, 1477), (941, 1336), (941, 1477)] * 3
    return np.concatenate([tones(*key, seconds=0.6, on_ms=200, off_ms=1000) for key in keys])


@pytest.mark.parametrize(
    "audio",
    [
        pytest.param(np.zeros(10 * RATE, np.float32), id="silence"),
        pytest.param(_noise(0.001), id="hiss"),
        pytest.param(_noise(0.2), id="loud white noise"),
        pytest.param(_dtmf(), id="DTMF"),
        pytest.param(tones(440, 480, seconds=12, on_ms=2000, off_ms=4000), id="ringback"),
        pytest.param(tones(480, 620, seconds=10, on_ms=500, off_ms=500), id="busy"),
        pytest.param(tones(1100, seconds=10, on_ms=500, off_ms=3000), id="fax"),
        pytest.param(_music(), id="music"),
        pytest.param(_knocks(), id="knocks"),
    ],
)
def test_what_is_not_speech_starts_no_turn(audio):
    assert listen(over_the_phone(audio)) == []


def telephone_rate(audio_24k: Samples) -> Samples:
    return from_pcm16(Downsampler().process(to_pcm16(audio_24k)))


SPOKEN = [
    "Hello, this is the front desk. How can I help you today?",
    "Your order A-1042 is ready, and the total is $42.50.",
    "I have booked a table for four on Friday at 7:15 p.m.",
    "Please call 415-555-0100 between nine and five.",
    "I am transferring you to billing now. One moment, please.",
    "Is there anything else I can do for you?",
    "Your refund of twelve dollars has been approved.",
    "Thank you for calling, and goodbye.",
]


def test_what_the_voice_says_is_understood_over_the_phone(recognizer, voice):
    heard = []
    for text in SPOKEN:
        speech = telephone_rate(np.concatenate([audio for _, audio in voice.speak(text)]))
        heard.append(plain_words(transcribe_turn(recognizer, over_the_phone(in_quiet(speech)))))
    assert jiwer.wer([plain_words(text) for text in SPOKEN], heard) <= 0.05, heard
