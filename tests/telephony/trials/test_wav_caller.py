"""Callers out of sound alone: who said what when, how each turn began, and that they can call again."""

import numpy as np
import pytest
from support.scripted_model import LoudnessVad, tone
from support.small_call import small_call

from realtime_bridge.audio.g711 import mulaw_to_pcm16, pcm16_to_mulaw
from realtime_bridge.tape import TapeKey, TapeKeys, seal
from telephony.testing.script import AfterTurn, GoOn, HangUp, IntoUtterance, Say
from telephony.testing.speech import LINES
from telephony.testing.twilio.wav import wav_of_mulaw
from telephony.testing.wav_sound import WavError
from telephony.trials.recorded_caller import RecordedCaller
from telephony.trials.wav_caller import caller_of, caller_of_wav

SECONDS = 20
SPOKEN = [line.mulaw for line in LINES.values()]


def side(*pieces):
    """Twenty seconds of silence with (at_ms, mu-law) in it."""
    sound = bytearray(b"\xff" * 8000 * SECONDS)
    for at_ms, mulaw in pieces:
        sound[at_ms * 8 : at_ms * 8 + len(mulaw)] = mulaw
    return bytes(sound)


def agent_speaks(start_ms, end_ms):
    return start_ms, pcm16_to_mulaw(tone(end_ms - start_ms, rate=8000))


def write(path, *sides, key=None):
    data = wav_of_mulaw(*sides)
    path.write_bytes(data if key is None else seal(data, key))
    return path


@pytest.fixture
def stereo(tmp_path):
    """The caller answers a greeting, and interrupts what comes next."""
    caller = side((3000, SPOKEN[0]), (12_000, SPOKEN[1]))
    agent = side(agent_speaks(500, 1400), agent_speaks(1800, 2500), agent_speaks(9000, 12_400))
    return write(tmp_path / "call.wav", caller, agent)


def test_turns_of_a_stereo_file_begin_as_people_take_turns(stereo):
    caller = caller_of_wav(stereo)
    first, second = caller.turns
    assert isinstance(first.begins, AfterTurn)
    assert first.begins.gap_ms == pytest.approx(500 - 200, abs=120)  # a turn has a little quiet before it
    assert isinstance(second.begins, IntoUtterance)
    assert second.begins.heard_ms == pytest.approx(3000 - 200, abs=120)
    assert isinstance(caller.hangs_up, GoOn | AfterTurn)
    assert caller.seconds == SECONDS
    steps = caller.steps()
    assert [type(step) for step in steps if isinstance(step, Say | HangUp)] == [Say, Say, HangUp]


def test_their_sound_is_the_file_s(stereo):
    (first, _second) = caller_of_wav(stereo).turns
    spoken = np.frombuffer(mulaw_to_pcm16(SPOKEN[0]), "<i2").astype(float)
    turn = np.frombuffer(mulaw_to_pcm16(first.mulaw), "<i2").astype(float)
    begins = round((3000 - first.at_ms) * 8)
    assert np.array_equal(turn[begins : begins + len(spoken)][: len(spoken) // 2], spoken[: len(spoken) // 2])


def test_who_spoke_into_the_last_syllable_has_not_interrupted(tmp_path):
    path = write(tmp_path / "call.wav", side((3000, SPOKEN[0])), side(agent_speaks(500, 3040)))
    (turn,) = caller_of_wav(path).turns
    assert isinstance(turn.begins, AfterTurn)


def test_who_was_not_stopped_by_a_cough_was_not_cut_off(tmp_path):
    caller = side((2000, SPOKEN[0][: 8 * 150]), (9000, SPOKEN[1]))
    path = write(tmp_path / "call.wav", caller, side(agent_speaks(500, 8000)))
    assert isinstance(caller_of_wav(path).turns[-1].begins, AfterTurn)


def test_a_mono_file_is_the_caller_alone_who_goes_by_her_own_pauses(tmp_path):
    path = write(tmp_path / "caller.WAV", side((1000, SPOKEN[0]), (9000, SPOKEN[1])))
    first, second = caller_of(path).turns
    assert isinstance(first.begins, GoOn)
    assert isinstance(second.begins, GoOn)
    assert first.at_ms == pytest.approx(800, abs=120)
    assert second.begins.gap_ms == pytest.approx(8000 - len(SPOKEN[0]) / 8 - 300, abs=600)


def test_a_sealed_recording_needs_its_key(tmp_path):
    key = TapeKey(b"w" * 32)
    path = write(tmp_path / "call.wav", side((1000, SPOKEN[0])), side(), key=key)
    assert len(caller_of(path, TapeKeys([key])).turns) == 1


def test_a_file_in_which_nobody_speaks_is_refused(tmp_path):
    swapped = write(tmp_path / "call.wav", side(), side((1000, SPOKEN[0])))
    with pytest.raises(WavError, match="nobody speaks on the left channel; is the caller on the right one"):
        caller_of_wav(swapped)


def test_a_call_s_own_recording_gives_the_caller_that_its_tape_gives(tmp_path):
    call = small_call(tmp_path)
    taped = RecordedCaller.from_tape(call.folder.tape)
    heard = caller_of_wav(call.folder.recording, vad_factory=LoudnessVad)
    assert [type(turn.begins) for turn in heard.turns] == [type(turn.begins) for turn in taped.turns]
    for one, other in zip(heard.turns, taped.turns, strict=True):
        assert one.at_ms == pytest.approx(other.at_ms, abs=120)
