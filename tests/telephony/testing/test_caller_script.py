"""What a caller does, as people write it down."""

import pytest

from realtime_bridge.errors import MisuseError
from telephony.testing import (
    AfterTurn,
    HangUp,
    InterruptAfter,
    InterruptAt,
    Pause,
    Press,
    Recorded,
    Say,
    StayOnLine,
    Until,
)
from telephony.testing.caller_script import AgentEar, spoken_steps


class Voice:
    def say(self, text):
        return text.encode()

    def play(self, recorded):
        return recorded.mulaw


def steps(*script, ear=None):
    """With waits for the caller's turn in short."""
    return ["wait" if isinstance(step, AfterTurn) else step for step in spoken_steps(script, Voice(), ear)]


def test_text_is_said_when_it_is_the_callers_turn_and_the_call_hung_up_in_the_end():
    assert steps("Hello.", "Goodbye.") == [
        *("wait", Say(b"Hello.", "Hello.")),
        *("wait", Say(b"Goodbye.", "Goodbye.")),
        *("wait", HangUp()),
    ]


def test_behind_a_step_that_waits_text_is_said_at_once():
    assert steps(InterruptAfter(800), "Stop.", Pause(300), "Please.", HangUp()) == [
        *(InterruptAfter(800), Say(b"Stop.", "Stop.")),
        *(Pause(300), Say(b"Please.", "Please.")),
        *("wait", HangUp()),
    ]


def test_keys_follow_each_other_and_what_is_said_then_waits():
    pressed = steps(Press("1"), Press("2"), "Hello.", Pause(100), HangUp())
    assert pressed == ["wait", Press("1"), Press("2"), "wait", Say(b"Hello.", "Hello."), Pause(100), HangUp()]


def test_recordings_are_played_and_a_caller_may_stay_on_the_line():
    assert steps(Recorded(b"\1\2", "Hello."), Recorded(b"\3"), Pause(1), StayOnLine()) == [
        *("wait", Say(b"\1\2", "Hello.")),
        *("wait", Say(b"\3", "step 2")),
        *(Pause(1), StayOnLine()),
    ]


def test_words_are_waited_for_with_the_ear_of_who_can_tell_them():
    heard = []
    until, say, *_ = steps(InterruptAt("Tuesday", 5), "Stop.", ear=AgentEar(None, lambda words: words in heard))
    assert isinstance(until, Until)
    assert (until.what, until.timeout_s) == ("said 'Tuesday'", 5)
    assert not until.condition()
    heard.append("Tuesday")
    assert until.condition()
    assert say == Say(b"Stop.", "Stop.")


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (["Hello.", " "], "step 2: there is nothing to say in ' '"),
        ([b"Hello."], "step 1: b'Hello.' is nothing that a caller can do"),
        ([InterruptAt("x")], "step 1: this caller cannot tell words: use InterruptAfter"),
    ],
)
def test_what_is_no_step_is_refused(script, told):
    with pytest.raises(MisuseError, match=told):
        steps(*script)
