"""How steered calls end: the goodbye is heard, the end comes once, and in time, whatever fails."""

import asyncio
import itertools

import pytest
from support.steered_call import PATIENT, SPEECH, WORD_S, SteeredCall

from realtime_bridge.localmodel.parts import CallTool
from realtime_bridge.localmodel.parts import Say as SayThis
from telephony.steering.control_settings import ControlSettings, LengthSettings, SilenceSettings
from telephony.testing import InterruptAfter, Pause, Say, WaitForAgent
from telephony.tools import hang_up

HELLO = [SayThis("Hello, this is the desk.")]
BYE = "Thank you for calling the desk today. Goodbye!"
HANG_UP = CallTool("hang_up", {"reason": "all is said"})
BYE_S = len(BYE.split()) * WORD_S


def call(*responses, **options):
    return SteeredCall(HELLO, *responses, tools=[hang_up], **options)


def assert_ended_once(steered):
    assert len(steered.twilio.made("completed")) == 1
    assert steered.control.over


def test_the_agent_hangs_up_when_its_goodbye_has_been_heard():
    steered = call([SayThis(BYE), HANG_UP])
    result = steered.run([WaitForAgent(), Say(SPEECH), Pause(30_000)])
    assert_ended_once(steered)
    goodbye = result.audible[-1]
    assert goodbye.end - goodbye.start == pytest.approx(BYE_S, abs=0.1)
    assert goodbye.end < steered.twilio.at("completed")[0] < goodbye.end + 0.3
    assert steered.ending.reason == "all is said"
    assert steered.history[-1] == ("assistant", BYE, False)


def test_an_agent_that_says_no_goodbye_is_given_one():
    steered = call([HANG_UP])
    result = steered.run([WaitForAgent(), Say(SPEECH), Pause(30_000)])
    assert_ended_once(steered)
    assert result.audible[-1].end - result.audible[-1].start == pytest.approx(WORD_S, abs=0.1)
    assert steered.history[-1] == ("assistant", "Goodbye!", False)


def test_a_caller_who_speaks_into_the_goodbye_is_not_hung_up_on():
    steered = call([SayThis(BYE), HANG_UP], [SayThis("Of course, go on.")], [SayThis(BYE), HANG_UP])
    steps = [WaitForAgent(), Say(SPEECH), InterruptAfter(500), Say(SPEECH), WaitForAgent(), Say(SPEECH), Pause(30_000)]
    result = steered.run(steps)
    assert_ended_once(steered)
    assert len(result.said) == 3
    assert result.audible[-1].end - result.audible[-1].start == pytest.approx(BYE_S, abs=0.1)
    assert ("system", "The caller spoke before your goodbye was over, so the call goes on. Hang up again when it is time.") in steered.told  # fmt: skip


def test_without_twilio_s_api_the_stream_is_closed():
    steered = call([SayThis(BYE), HANG_UP], rest=False)
    result = steered.run([WaitForAgent(), Say(SPEECH), Pause(30_000)])
    assert steered.twilio.requests == []
    assert "server closed" in result.failure
    assert result.seconds < result.audible[-1].end + 0.3
    assert steered.ending.in_order


@pytest.mark.parametrize("fails", ["completed", "slow"])
def test_when_twilio_s_api_fails_the_stream_is_closed(fails):
    steered = call([SayThis(BYE), HANG_UP], fails=[fails])
    result = steered.run([WaitForAgent(), Say(SPEECH), Pause(60_000)])
    assert_ended_once(steered)
    assert "server closed" in result.failure
    assert result.seconds < result.audible[-1].end + PATIENT.rest_s_max + 2


def test_a_goodbye_that_never_comes_is_not_waited_for_long():
    steered = call([HANG_UP, RuntimeError("the brain is dead")], settings=ControlSettings(goodbye="mute"))
    result = steered.run([WaitForAgent(), Say(SPEECH), Pause(60_000)])
    assert_ended_once(steered)
    assert result.seconds < result.said[-1].end + ControlSettings().goodbye_wait_s + 3


def test_an_operator_hangs_up_at_once_or_after_what_is_being_said():
    for after_goodbye in (False, True):
        steered = SteeredCall([SayThis("word " * 20)])
        steered.at(2.0, lambda c, after=after_goodbye: c.control.hang_up("an operator", after_goodbye=after))
        result = steered.run([Pause(30_000)])
        assert_ended_once(steered)
        assert steered.results == [True]
        assert result.seconds == pytest.approx(result.audible[0].start + 5 if after_goodbye else 2.1, abs=0.5)
        assert steered.ending.reason == "an operator"


def test_everybody_who_hangs_up_hears_of_the_one_end():
    steered = SteeredCall([SayThis("word " * 20)])
    for at in (1.0, 1.5, 2.0):
        steered.at(at, lambda c: c.control.hang_up("me"))
    steered.at(8.0, lambda c: c.control.hang_up("late"))
    steered.run([Pause(30_000)])
    assert_ended_once(steered)
    assert steered.results == [True] * 3


def test_a_silent_caller_is_asked_twice_and_then_hung_up_on():
    settings = ControlSettings(
        silence=SilenceSettings(after_s=5, prompts=("Hello?", "Still there?"), goodbye="Bye then.")
    )
    steered = SteeredCall(HELLO, settings=settings)
    result = steered.run([Pause(60_000)])
    assert_ended_once(steered)
    spans = result.audible
    assert [text for role, text, _ in steered.history] == [
        "Hello, this is the desk.",
        "Hello?",
        "Still there?",
        "Bye then.",
    ]
    assert [b.start - a.end for a, b in itertools.pairwise(spans)] == [pytest.approx(5.1, abs=0.2)] * 3
    assert result.seconds == pytest.approx(spans[-1].end + 0.1, abs=0.3)
    assert steered.ending.reason == "the caller was silent"


def test_a_caller_who_answers_a_prompt_is_asked_anew_later():
    settings = ControlSettings(silence=SilenceSettings(after_s=3, prompts=("Hello?",), goodbye="Bye."))
    steered = SteeredCall(HELLO, [SayThis("Good.")], settings=settings)
    steered.run([Pause(5_500), Say(SPEECH), Pause(60_000)])
    assert_ended_once(steered)
    assert [text for role, text, _ in steered.history if role == "assistant"] == [
        "Hello, this is the desk.", "Hello?", "Good.", "Hello?", "Bye.",
    ]  # fmt: skip


def test_a_silent_caller_who_speaks_into_the_goodbye_is_heard():
    settings = ControlSettings(silence=SilenceSettings(after_s=3, prompts=(), goodbye=BYE))
    steered = SteeredCall(HELLO, [SayThis("Oh, good.")], settings=settings)
    result = steered.run([WaitForAgent(), InterruptAfter(500), Say(SPEECH), WaitForAgent(), Pause(1_000)])
    assert result.failure is None
    assert steered.twilio.requests == []


def test_a_call_s_time_ends_it_after_a_warning_even_while_the_caller_talks():
    length = LengthSettings(
        seconds_max=30, warning_before_s=10, warning="Ten seconds left.", goodbye="Time is up. Goodbye!"
    )
    steered = SteeredCall(HELLO, settings=ControlSettings(length=length, silence=SilenceSettings(after_s=None)))
    talk = [step for _ in range(30) for step in (Say(SPEECH), Pause(1_500))]
    result = steered.run([WaitForAgent(), *talk, Pause(60_000)])
    assert_ended_once(steered)
    assert "Ten seconds left." in [text for _, text, _ in steered.history]
    assert steered.history[-1] == ("assistant", "Time is up. Goodbye!", False)
    assert result.audible[-1].end - result.audible[-1].start == pytest.approx(4 * WORD_S, abs=0.1)
    assert 30 < result.seconds < 36
    assert steered.ending.reason == "the call's time was up"


def test_a_caller_who_hangs_up_leaves_nobody_waiting():
    steered = SteeredCall([SayThis("word " * 40)])
    steered.at(1.0, lambda c: c.control.hang_up("too late"))
    steered.at(1.0, lambda c: c.control.collect_digits(timeout_s=60))
    steered.at(1.0, lambda c: c.control.say("Something."))
    steered.at(1.0, lambda c: c.control.play(bytes(80_000)))
    steered.run([Pause(2_000)])
    assert sorted(map(repr, steered.results)) == ["''", "False", "False", "True"]
    assert steered.twilio.requests == []


def test_nothing_can_be_done_after_the_end_and_nothing_fails():
    steered = SteeredCall(HELLO)
    steered.run([Pause(2_000)])

    async def late():
        control = steered.control
        await control.hold()
        await control.resume()
        await control.mute_agent()
        await control.machine_detected("machine_start")
        return [
            await control.hang_up(),
            await control.say("x"),
            await control.press("1"),
            await control.collect_digits(),
            (await control.transfer("+14155550100")).outcome,
        ]

    assert asyncio.run(late()) == [True, False, False, "", "not_possible"]
