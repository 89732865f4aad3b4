"""Steering in the middle of a call: keys both ways, hold, mute, words given, answering machines."""

import asyncio

import numpy as np
import pytest
from support.steered_call import PATIENT, SPEECH, WORD_S, SteeredCall, heard_hz, loudest

from realtime_bridge import ToolContext
from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.parts import CallTool
from realtime_bridge.localmodel.parts import Say as SayThis
from telephony import tones
from telephony.records.folder import CallFolder
from telephony.replay.verify import verify_tape
from telephony.steering.control_settings import ControlSettings, DigitSettings, MachineSettings, SilenceSettings
from telephony.testing import HangUp, Pause, Press, Say, WaitForAgent
from telephony.tools import collect_digits, hang_up, hold_caller, press_keys, resume_caller

HELLO = [SayThis("Hello, this is the desk.")]
LONG = [SayThis("word " * 24)]  # 6 s
OFF = SilenceSettings(after_s=None)


# ---- keys out --------------------------------------------------------------------------------------------------------


def test_keys_are_pressed_as_tones_after_what_the_agent_says():
    steered = SteeredCall(HELLO, [SayThis("One moment."), CallTool("press_keys", {"keys": "1w#"})], tools=[press_keys])
    result = steered.run([WaitForAgent(), Say(SPEECH), Pause(6_000), HangUp()])
    assert result.failure is None
    start = result.said[0].end
    first = next(span for span in result.audible if span.start > start)
    tones_at = first.start + 2 * WORD_S
    seen = [heard_hz(result, tones_at + at, tones_at + at + 0.09) for at in np.arange(0, 1.2, 0.01)]
    assert any({697, 1209} == {round(f) for f in hz} for hz in map(_nearest, seen))
    assert any({941, 1477} == hz for hz in map(_nearest, seen))
    assert "Pressed 1w#." in [item.content[0].text if item.content else item.output for item in steered.session.history if item.type == "function_call"]  # fmt: skip


def _nearest(found):
    return {min((*tones.LOW_HZ, *tones.HIGH_HZ), key=lambda hz: abs(hz - f)) for f in found}


# ---- keys in ---------------------------------------------------------------------------------------------------------


def keys(text):
    return [step for key in text for step in (Press(key), Pause(400))]


def test_keys_that_nobody_waits_for_go_into_the_conversation():
    steered = SteeredCall(HELLO, [SayThis("Thank you.")])
    result = steered.run([WaitForAgent(), *keys("123#"), WaitForAgent(), HangUp()])
    assert result.failure is None
    assert steered.told[-1] == ("user", "The caller pressed 1 2 3 # on the keypad.")


def test_a_pause_ends_what_was_pressed():
    steered = SteeredCall(HELLO, [SayThis("Thank you.")], [SayThis("Thank you.")])
    steered.run([WaitForAgent(), *keys("12"), Pause(3_000), *keys("3"), Pause(4_000)])
    assert steered.told[1:] == [
        ("user", "The caller pressed 1 2 on the keypad."),
        ("assistant", "Thank you."),
        ("user", "The caller pressed 3 on the keypad."),
    ] or [text for role, text in steered.told if role == "user"] == [
        "The caller pressed 1 2 on the keypad.",
        "The caller pressed 3 on the keypad.",
    ]


def test_the_first_key_stops_the_agent():
    steered = SteeredCall(LONG, [SayThis("Thank you.")])
    result = steered.run([Pause(2_000), *keys("1#"), WaitForAgent(), HangUp()])
    assert len(result.clears) == 1
    assert result.clears[0].at == pytest.approx(2.0, abs=0.1)


def test_keys_can_be_left_out_of_the_conversation():
    settings = ControlSettings(digits=DigitSettings(to_conversation=False), silence=OFF)
    steered = SteeredCall(LONG, settings=settings)
    result = steered.run([Pause(1_000), *keys("123#"), Pause(6_000)])
    assert result.clears == ()
    assert len(steered.brain.asked) == 1


def test_a_tool_collects_digits_of_which_the_conversation_is_told_nothing_else():
    collect = CallTool("collect_digits", {"digits_max": 4, "timeout_s": 5, "terminator": "#"})
    steered = SteeredCall(
        HELLO, [SayThis("Your PIN, please."), collect], [SayThis("Thank you.")], tools=[collect_digits]
    )
    steered.run([WaitForAgent(), Say(SPEECH), WaitForAgent(), *keys("47"), *keys("11"), WaitForAgent(), HangUp()])
    assert not any("keypad" in text for _, text in steered.told)
    assert any(item.output == "The caller entered 4 7 1 1." for item in steered.brain.asked[-1].items)


@pytest.mark.parametrize(("pressed", "digits"), [("12#", "12"), ("", ""), ("1234567", "1234"), ("7", "7"), ("#", "")])
def test_collected_digits_end_by_terminator_time_or_number(pressed, digits):
    steered = SteeredCall(HELLO)
    steered.at(0.5, lambda c: c.control.collect_digits(digits_max=4, timeout_s=4))
    steered.run([WaitForAgent(), *keys(pressed), Pause(8_000)])
    assert steered.results == [digits]


def test_the_time_for_digits_begins_when_the_agent_has_finished_speaking():
    steered = SteeredCall(LONG)
    steered.at(0.1, lambda c: c.control.collect_digits(timeout_s=3))
    steered.run([Pause(8_500), *keys("5#"), Pause(1_000)])
    assert steered.results == ["5"]


# ---- words given -----------------------------------------------------------------------------------------------------


def test_words_are_said_next_or_at_once():
    for interrupt, starts in ((False, 6.0), (True, 2.0)):
        steered = SteeredCall(LONG)
        steered.at(2.0, lambda c, now=interrupt: c.control.say('Mind the "gap" now.', interrupt=now))
        result = steered.run([Pause(10_000)])
        assert steered.results == [True]
        assert steered.history[-1] == ("assistant", "Mind the 'gap' now.", False)
        assert result.audible[-1].end == pytest.approx(starts + 1.1, abs=0.4)
        assert len(result.clears) == interrupt


def test_words_that_the_caller_cuts_off_were_not_heard():
    steered = SteeredCall(HELLO, [SayThis("Yes?")])
    steered.at(3.0, lambda c: c.control.say("word " * 20))
    steered.run([Pause(5_000), Say(SPEECH), Pause(5_000)])
    assert steered.results == [False]


def test_a_recording_is_played_to_its_end_whatever_the_caller_says():
    steered = SteeredCall(HELLO, [SayThis("Yes?")])
    steered.at(3.0, lambda c: c.control.play(tones.hold_music()))
    result = steered.run([Pause(4_000), Say(SPEECH), Pause(8_000)])
    assert steered.results == [True]
    assert tones.hold_music() in result.wire


# ---- hold and mute ---------------------------------------------------------------------------------------------------


def test_a_caller_on_hold_hears_music_and_the_agent_waits():
    steered = SteeredCall(
        HELLO,
        [SayThis("Please wait."), CallTool("hold_caller")],
        [],
        [SayThis("Thank you for waiting.")],
        tools=[hold_caller],
    )
    steered.at(8.0, lambda c: c.session.send_message("They are back.", respond=True))
    steered.at(12.0, lambda c: c.control.resume())
    result = steered.run([WaitForAgent(), Say(SPEECH), Pause(4_000), Say(SPEECH), Pause(8_000)])
    assert 500 < loudest(result, 5.5, 11.9) < 3_000
    assert loudest(result, 13.0, 13.5) > 8_000
    assert {262, 330} < heard_hz(result, 5.5, 11.9)
    # Said while on hold, and not heard by the model: it did not answer.
    assert [text for role, text, _ in steered.history if role == "user"] == ["Well.", "They are back."]
    assert steered.history[-1] == ("assistant", "Thank you for waiting.", False)


def test_hold_ends_by_itself_and_the_agent_is_told():
    settings = ControlSettings(hold_s_max=10, silence=SilenceSettings(after_s=3), hold_sound="silence")
    steered = SteeredCall(HELLO, [SayThis("Here I am again.")], settings=settings)
    steered.at(3.0, lambda c: c.control.hold())
    result = steered.run([Pause(16_000)])
    assert [text for _, text, _ in steered.history if "hold" in text] == [
        "The caller has waited on hold for 10 seconds and is back on the line. Tell them how things stand."
    ]
    assert ("assistant", "Here I am again.", False) in steered.history
    quiet = result.audible[1].start - result.audible[0].end
    assert quiet == pytest.approx(11.5, abs=0.5)


def test_time_on_hold_is_no_silence_of_the_caller_s():
    settings = ControlSettings(silence=SilenceSettings(after_s=4, prompts=("Still there?",)))
    steered = SteeredCall(HELLO, settings=settings)
    steered.at(2.0, lambda c: c.control.hold())
    steered.at(14.0, lambda c: c.control.resume())
    result = steered.run([Pause(20_000)])
    assert steered.history[1] == ("assistant", "Still there?", False)
    assert result.audible[-1].start == pytest.approx(18.1, abs=0.3)


def test_an_agent_takes_the_caller_off_hold_itself():
    steered = SteeredCall(
        HELLO, [SayThis("Wait."), CallTool("hold_caller")], [CallTool("resume_caller")], [SayThis("Thank you.")],
        tools=[hold_caller, resume_caller],
    )  # fmt: skip
    result = steered.run([WaitForAgent(), Say(SPEECH), WaitForAgent(), HangUp()])
    assert result.failure is None
    assert not steered.control.on_hold
    assert ("assistant", "Thank you.", False) in steered.history


def test_each_side_can_be_muted():
    steered = SteeredCall(HELLO, [SayThis("I hear you.")], [SayThis("I hear you.")], [SayThis("I hear you.")])
    steered.at(2.5, lambda c: c.control.mute())
    steered.at(5.0, lambda c: c.control.mute(muted=False))
    steered.at(5.0, lambda c: c.control.mute_agent())
    steered.at(9.0, lambda c: c.control.mute_agent(muted=False))
    result = steered.run(
        [Pause(3_000), Say(SPEECH), Pause(2_000), Say(SPEECH), Pause(4_000), Say(SPEECH), Pause(4_000)]
    )
    assert [(role, text) for role, text, _ in steered.history if role == "user"] == [("user", "Well.")] * 2
    assert [(text, cut) for role, text, cut in steered.history if role == "assistant"] == [
        ("Hello, this is the desk.", False), ("", True), ("I hear you.", False),
    ]  # fmt: skip
    assert [span.start for span in result.audible][1:] == [pytest.approx(11.8, abs=0.6)]


@pytest.mark.parametrize("mute", ["mute", "mute_agent"])
def test_nobody_is_asked_why_they_are_silent_while_somebody_is_muted(mute):
    steered = SteeredCall(HELLO, settings=ControlSettings(silence=SilenceSettings(after_s=4)))
    steered.at(3.0, lambda c: getattr(c.control, mute)())
    steered.at(40.0, lambda c: getattr(c.control, mute)(muted=False))
    result = steered.run([Pause(42_000), Pause(4_000), HangUp()])
    assert result.failure is None
    assert [round(span.start, 0) for span in result.audible[1:]] == [44.0]


# ---- answering machines ------------------------------------------------------------------------------------------------


def machine(on_machine="leave_message", **options):
    plan = MachineSettings(on_machine=on_machine, message="Please call us back.", **options)
    return ControlSettings(machine=plan, silence=SilenceSettings(after_s=5))


ANNOUNCEMENT = [Say(SPEECH), Pause(300)] * 4


def test_a_message_is_left_when_the_announcement_is_over():
    steered = SteeredCall(LONG, *[[SayThis("Hello?")]] * 9, settings=machine())
    steered.at(2.0, lambda c: c.control.machine_detected("machine_start"))
    result = steered.run([*ANNOUNCEMENT, Pause(60_000)])
    spoke_until = result.said[-1].end
    message = [span for span in result.audible if span.start > 2.2]
    assert [(span.start, span.end) for span in message] == [
        (pytest.approx(spoke_until + 2.5, abs=0.7), pytest.approx(spoke_until + 3.5, abs=0.7))
    ]
    assert len(steered.twilio.made("completed")) == 1
    assert steered.ending.reason == "a message was left on an answering machine"


def test_after_the_beep_the_message_comes_at_once():
    steered = SteeredCall(LONG, settings=machine())
    steered.at(4.0, lambda c: c.control.machine_detected("machine_end_beep"))
    result = steered.run([Pause(60_000)])
    assert steered.history[-1] == ("assistant", "Please call us back.", False)
    assert result.seconds == pytest.approx(5.2, abs=0.4)


def test_a_machine_that_never_ends_is_spoken_to_after_all():
    steered = SteeredCall(HELLO, *[[SayThis("Hello?")]] * 40, settings=machine(announcement_s_max=10))
    steered.at(2.0, lambda c: c.control.machine_detected("machine_start"))
    result = steered.run([*ANNOUNCEMENT * 10, Pause(60_000)])
    assert 12 < result.seconds < 15


def test_recorded_audio_can_be_left():
    steered = SteeredCall(LONG)
    steered.at(1.0, lambda c: c.control.leave_message(tones.hold_music(), pause_s=2.0))
    result = steered.run([Pause(60_000)])
    assert tones.hold_music() in result.wire
    assert result.seconds == pytest.approx(3.1 + len(tones.hold_music()) / 8000, abs=0.3)


@pytest.mark.parametrize(
    ("on_machine", "answered_by", "ends"),
    [("hang_up", "machine_start", True), ("talk", "machine_start", False), ("talk", "fax", True),
     ("leave_message", "human", False), ("leave_message", "unknown", False)],
)  # fmt: skip
def test_what_answered_decides(on_machine, answered_by, ends):
    steered = SteeredCall(HELLO, settings=machine(on_machine))
    steered.at(1.0, lambda c: c.control.machine_detected(answered_by))
    steered.run([Pause(4_000)])
    assert len(steered.twilio.made("completed")) == ends


# ---- the record ----------------------------------------------------------------------------------------------------------


def test_a_steered_call_replays_to_the_same_bytes(tmp_path):
    steered = SteeredCall(LONG, [SayThis("Yes?")], [SayThis("Good.")], settings=PATIENT, data_dir=tmp_path)
    steered.at(1.0, lambda c: c.control.press("12#"))
    steered.at(3.0, lambda c: c.control.hold())
    steered.at(9.0, lambda c: c.control.resume())
    steered.at(10.0, lambda c: c.control.mute_agent())
    steered.at(12.0, lambda c: c.control.mute_agent(muted=False))
    steered.at(12.5, lambda c: c.control.play(tones.hold_music()))
    steered.at(13.0, lambda c: c.control.say("Mind the gap.", interrupt=True))
    steered.run([Pause(2_000), Say(SPEECH), Pause(12_000), Say(SPEECH), Pause(8_000)])
    folder = CallFolder(tmp_path, steered.phone.ids.call_sid)
    assert verify_tape(folder.tape).identical
    assert folder.read_record().problems == ()


# ---- outside of a phone call ---------------------------------------------------------------------------------------------


def test_words_said_on_hold_are_heard_afterwards_and_not_called_heard():
    steered = SteeredCall(HELLO)
    steered.at(2.0, lambda c: c.control.hold())
    steered.at(4.0, lambda c: c.control.say("Mind the gap."))
    steered.at(6.0, lambda c: c.control.resume())
    steered.run([Pause(9_000)])
    assert False in steered.results
    assert steered.history[-1] == ("assistant", "Mind the gap.", False)


def test_the_tools_say_what_they_need():
    context = ToolContext(context={"a program's": "own"}, tool_name="hang_up", call_id="c")
    with pytest.raises(MisuseError, match="hang_up steers a phone call"):
        asyncio.run(hang_up.call(context, '{"reason": "done"}'))
