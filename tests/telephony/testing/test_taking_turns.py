"""A scripted caller who takes turns with the agent as people do, in virtual time."""

import numpy as np
import pytest

from realtime_bridge.audio.g711 import MULAW_SILENCE, pcm16_to_mulaw
from telephony.testing import AfterTurn, GoOn, HangUp, IntoUtterance, Patience, Press, Say, StayOnLine
from telephony.testing.phone import SimulatedPhone
from telephony.testing.result import conclude
from telephony.testing.script import ScriptedCaller
from telephony.testing.twilio.line import Line
from telephony.twilio.media_stream import MediaStreamWriter

START = 50.0


def tone(ms, level=8000):
    samples = level * np.sin(np.arange(ms * 8) * 2 * np.pi * 440 / 8000)
    return pcm16_to_mulaw(samples.astype("<i2").tobytes())


WORDS = tone(300)


class Clock:
    now = START


def call(steps, *agent, clock=None, closes_at=None):
    """Run the script against an agent who plays audio, or None for a clear, at fixed seconds of the call."""
    phone, clock = SimulatedPhone(), clock or Clock()
    writer = MediaStreamWriter(phone.ids.stream_sid)
    phone.start(START)
    caller = ScriptedCaller(steps, phone)
    script = sorted(((START + at, audio) for at, audio in agent), key=lambda line: line[0])
    while (at := phone.next_event_at()) is not None:
        if closes_at is not None and at >= START + closes_at:
            phone.cut_off(at)
            caller.give_up("the server closed the stream")
            break
        if script and script[0][0] <= at:
            at, audio = script.pop(0)
            phone.receive(writer.clear() if audio is None else writer.media(audio), at)
        clock.now = at
        caller.advance(at)
        phone.advance(at)
    return conclude(phone, caller, [])


def begins(result):
    return [round(said.start, 3) for said in result.said]


def test_he_speaks_when_the_agent_s_turn_is_over_and_his_gap_has_passed():
    assert begins(call([AfterTurn(500), Say(WORDS)], (1.003, tone(700)))) == [2.2]


def test_a_pause_inside_what_the_phone_has_already_does_not_end_the_agent_s_turn():
    sound = tone(300) + MULAW_SILENCE * 8 * 900 + tone(300)
    assert begins(call([AfterTurn(200), Say(WORDS)], (1.0, sound))) == [2.7]


def test_he_may_begin_in_the_agent_s_last_syllable():
    assert begins(call([AfterTurn(-120), Say(WORDS)], (1.0, tone(1000)))) == [1.88]


def test_he_waits_for_as_many_utterances_as_he_expects():
    agent = [(1.0, tone(300)), (2.5, tone(300))]
    assert begins(call([AfterTurn(200, utterances=2), Say(WORDS)], *agent)) == [3.0]
    assert begins(call([AfterTurn(200), Say(WORDS)], *agent)) == [1.5]


def test_he_does_not_wait_for_ever_for_an_utterance_that_does_not_come():
    steps = [AfterTurn(200, utterances=2, patience=Patience(short_ms=1500)), Say(WORDS)]
    assert begins(call(steps, (1.0, tone(300)))) == [pytest.approx(2.8, abs=0.021)]


def test_he_waits_while_the_agent_is_at_work():
    clock = Clock()
    patience = Patience(is_busy=lambda: clock.now < START + 2.6)
    result = call([AfterTurn(200, patience=patience), Say(WORDS)], (1.0, tone(300)), (2.5, tone(300)), clock=clock)
    assert begins(result) == [3.0]
    stuck = Patience(is_busy=lambda: True, long_ms=4000)
    result = call([AfterTurn(200, patience=stuck), Say(WORDS)], (1.0, tone(300)))
    assert begins(result) == [pytest.approx(5.3, abs=0.021)]


def test_short_gaps_of_the_network_do_not_end_an_utterance():
    assert begins(call([IntoUtterance(1000), Say(WORDS)], (1.0, tone(300)), (1.5, tone(2000)))) == [2.0]


def test_he_interrupts_where_he_is_told_to():
    result = call(
        [IntoUtterance(400), Say(WORDS), AfterTurn(300), HangUp()], (1.003, tone(5000)), (1.6, None), (2.5, WORDS)
    )
    assert begins(result) == [1.4]
    assert result.failure is None
    assert result.seconds == pytest.approx(3.1, abs=0.03)


def test_he_interrupts_the_utterance_that_he_means():
    agent = [(1.0, tone(800)), (2.5, tone(3000))]
    assert begins(call([IntoUtterance(700, utterance=2), Say(WORDS)], *agent)) == [3.2]


def test_an_utterance_that_is_over_before_is_interrupted_at_its_end():
    assert begins(call([IntoUtterance(4000), Say(WORDS)], (1.0, tone(500)))) == [pytest.approx(1.8, abs=0.021)]
    told = Patience(is_busy=lambda: False)
    assert begins(call([IntoUtterance(4000, patience=told), Say(WORDS)], (1.0, tone(500)))) == [
        pytest.approx(1.5, abs=0.021)
    ]


def test_an_agent_of_fewer_utterances_is_interrupted_when_its_turn_is_over():
    steps = [IntoUtterance(400, utterance=2, patience=Patience(short_ms=1000)), Say(WORDS)]
    assert begins(call(steps, (1.0, tone(500)))) == [pytest.approx(2.5, abs=0.021)]


def test_he_goes_on_after_a_pause_of_his_own():
    result = call([GoOn(500), Say(WORDS), GoOn(700), Say(WORDS), GoOn(200), Press("1"), GoOn(400), HangUp()])
    assert begins(result) == [0.5, 1.5]
    assert result.seconds == pytest.approx(2.4, abs=0.05)
    assert result.failure is None


def test_he_lets_an_agent_finish_who_speaks_up_in_his_pause():
    result = call([Say(WORDS), GoOn(2000, answer_gap_ms=400), Say(WORDS)], (1.0, tone(2000)))
    assert begins(result) == [0.0, 3.4]


def test_he_stays_until_the_agent_hangs_up():
    result = call([AfterTurn(200), Say(WORDS), StayOnLine()], (1.0, tone(300)), closes_at=4.0)
    assert result.failure is None
    assert result.seconds == pytest.approx(4.0, abs=0.03)
    assert call([StayOnLine(3.0)]).seconds == pytest.approx(3.0, abs=0.03)


def test_an_agent_who_hangs_up_before_his_last_word_fails_the_script():
    result = call([AfterTurn(200), Say(WORDS), StayOnLine()], closes_at=4.0)
    assert result.failure == "step 1 of 3, AfterTurn: the server closed the stream"


def test_an_agent_who_never_speaks_fails_the_script():
    result = call([AfterTurn(200, patience=Patience(timeout_s=2)), Say(WORDS)])
    assert result.failure == "step 1 of 2, AfterTurn: the agent has not had its turn within 2 s"


def test_on_a_line_that_does_not_tell_what_is_to_come_he_goes_by_ear():
    line = Line(START, on_hang_up=lambda: None)
    caller = ScriptedCaller([AfterTurn(500), Say(WORDS)], line)
    line.behaviour = caller.advance
    line.announcer.play(tone(300), "", START)
    line.heard.ear.listen(START)
    line.advance(START + 3)
    [said] = caller.said
    assert said.start == pytest.approx(START + 0.8, abs=0.06)
