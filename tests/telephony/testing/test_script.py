"""A scripted caller in virtual time: he speaks, waits, interrupts and gives up by what he hears."""

import wave

import numpy as np
import pytest

from realtime_bridge.audio.g711 import pcm16_to_mulaw
from realtime_bridge.errors import MisuseError
from telephony.testing.phone import SimulatedPhone
from telephony.testing.result import conclude
from telephony.testing.script import HangUp, InterruptAfter, Pause, Press, Say, ScriptedCaller, WaitForAgent
from telephony.twilio.media_stream import MediaStreamReader, MediaStreamWriter
from telephony.twilio.messages import Dtmf

START = 50.0


def tone(ms, level=8000):
    samples = level * np.sin(np.arange(ms * 8) * 2 * np.pi * 440 / 8000)
    return pcm16_to_mulaw(samples.astype("<i2").tobytes())


WORDS = tone(300)


def call(steps, *agent):
    """Run the script against an agent who plays audio, or None for a clear, at fixed seconds of the call."""
    phone = SimulatedPhone()
    writer = MediaStreamWriter(phone.ids.stream_sid)
    reader = MediaStreamReader()
    frames = phone.start(START)
    caller = ScriptedCaller(steps, phone)
    script = sorted(((START + at, audio) for at, audio in agent), key=lambda line: line[0])
    while (at := phone.next_event_at()) is not None:
        while script and script[0][0] <= at:
            due, audio = script.pop(0)
            phone.receive(writer.clear() if audio is None else writer.media(audio), due)
        caller.advance(at)
        frames += phone.advance(at)
    result = conclude(phone, caller, [])
    return result, [reader.receive(frame) for frame in frames]


def test_the_caller_speaks_once_the_agent_has_been_quiet_long_enough():
    result, _ = call([WaitForAgent(quiet_ms=500), Say(WORDS, "hello"), HangUp()], (1.0, tone(700)))
    [said] = result.said
    assert said.label == "hello"
    assert said.start == pytest.approx(1.0 + 0.7 + 0.5, abs=0.05)
    assert said.end - said.start == pytest.approx(0.3)
    assert result.seconds == pytest.approx(said.end, abs=0.03)
    assert result.failure is None


def test_a_pause_between_two_words_does_not_end_the_agents_answer():
    result, _ = call([WaitForAgent(quiet_ms=500), Say(WORDS)], (1.0, tone(300)), (1.7, tone(300)))
    assert result.said[0].start == pytest.approx(2.5, abs=0.05)
    assert len(result.audible) == 2


def test_what_the_agent_said_before_is_no_answer_to_what_came_after():
    steps = [WaitForAgent(), Say(WORDS, "a"), WaitForAgent(), Say(WORDS, "b")]
    result, _ = call(steps, (0.5, tone(300)), (5.0, tone(300)))
    assert [said.label for said in result.said] == ["a", "b"]
    assert result.said[1].start == pytest.approx(5.9, abs=0.05)
    assert result.answer_delays_ms() == pytest.approx([(5.0 - result.said[0].end) * 1000], abs=25)


def test_an_interruption_comes_after_so_much_was_heard():
    result, _ = call(
        [InterruptAfter(400), Say(WORDS, "stop"), WaitForAgent(), HangUp()],
        (1.0, tone(5000)),
        (1.6, None),
        (2.5, tone(200)),
    )
    assert result.said[0].start == pytest.approx(1.4, abs=0.05)
    [cleared] = result.clears
    assert cleared.at == pytest.approx(1.6)
    assert cleared.wire / 8 == pytest.approx(600, abs=1)
    assert result.clear_delays_ms() == pytest.approx([(1.6 - result.said[0].start) * 1000])
    assert result.heard_ms(0, 40_000) == pytest.approx(600, abs=1)
    assert result.heard_ms(0, 40_000, at=1.1) == pytest.approx(100, abs=1)
    assert result.failure is None


def test_silence_in_the_agents_audio_is_not_heard_as_speech():
    result, _ = call([WaitForAgent(), HangUp()], (1.0, b"\xff" * 8000 + tone(300)))
    assert result.audible[0].start == pytest.approx(2.0, abs=0.03)


def test_an_agent_who_never_answers_ends_the_call_and_fails_the_script():
    result, _ = call([Say(WORDS), WaitForAgent(timeout_s=3), Say(WORDS)])
    assert result.failure == "step 2 of 3, WaitForAgent: the agent has not finished an answer within 3 s"
    assert result.seconds == pytest.approx(3.3, abs=0.1)
    assert len(result.said) == 1


def test_an_agent_who_is_too_brief_to_be_interrupted_fails_the_script():
    result, _ = call([InterruptAfter(1000, timeout_s=4), HangUp()], (0.5, tone(300)))
    assert result.failure is not None
    assert "not been heard for 1000 ms within 4 s" in result.failure


def test_keys_pauses_and_the_end_of_the_script():
    result, messages = call([Pause(500), Press("1"), Pause(250), Press("#")])
    assert [message.digit for message in messages if isinstance(message, Dtmf)] == ["1", "#"]
    assert result.seconds == pytest.approx(0.78, abs=0.03)


def test_the_recording_has_the_caller_left_and_the_agent_right_where_they_were_heard(tmp_path):
    result, _ = call([Pause(500), Say(WORDS), Pause(500)], (0.25, tone(500)), (0.5, None))
    result.save_wav(tmp_path / "call.wav")
    with wave.open(str(tmp_path / "call.wav")) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, 2)
        sound = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)
    assert len(sound) / 8000 == pytest.approx(result.seconds, abs=0.001)
    left, right = (np.flatnonzero(np.abs(channel) > 1000) / 8000 for channel in sound.T)
    said = result.said[0]
    assert (left[0], left[-1]) == pytest.approx((said.start, said.end), abs=0.002)
    assert (right[0], right[-1]) == pytest.approx((0.25, 0.5), abs=0.002)


def test_a_caller_needs_a_phone_whose_call_has_begun():
    with pytest.raises(MisuseError, match="start"):
        ScriptedCaller([], SimulatedPhone())
