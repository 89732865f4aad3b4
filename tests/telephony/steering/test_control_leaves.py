"""The small machines of a call's steering: silence, length, keys, words given, and what goes on."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.approvals import ApprovalRequest
from realtime_bridge.errors import MisuseError
from realtime_bridge.session import events
from realtime_bridge.transport.base import AudioReceived, ItemCut
from realtime_bridge.wire import Response, server
from telephony.steering.activity import SPEECH_S_MAX, Activity
from telephony.steering.control_settings import ControlSettings, DigitSettings, LengthSettings, SilenceSettings
from telephony.steering.digits import DigitEntry
from telephony.steering.length import CallLength
from telephony.steering.silence import Prompt, SayGoodbye, SilencePolicy
from telephony.steering.utterance import BEGIN_S_MAX, SAID_S_MAX, Utterance, say_exactly

# ---- silence ---------------------------------------------------------------------------------------------------------

TWICE = SilenceSettings(after_s=5, prompts=("One?", "Two?"), goodbye="Bye.")


def test_each_step_comes_after_so_much_silence_once():
    policy = SilencePolicy(TWICE)
    assert policy.due(0.0, 4.9) is None
    assert policy.due(0.0, 5.0) == Prompt("One?")
    assert policy.due(0.0, 9.0) is None
    assert policy.due(8.0, 13.0) == Prompt("Two?")  # what the agent said took until 8.0
    assert policy.due(8.0, 18.0) == SayGoodbye("Bye.")
    assert policy.due_at(8.0) == inf


def test_nothing_is_due_while_something_goes_on_or_when_switched_off():
    policy = SilencePolicy(TWICE)
    assert policy.due(None, 100.0) is None
    policy.switch_off()
    assert policy.due(0.0, 100.0) is None
    assert SilencePolicy(SilenceSettings(after_s=None)).due_at(0.0) == inf


def test_a_caller_who_is_heard_begins_it_anew_and_a_withdrawn_goodbye_too():
    policy = SilencePolicy(TWICE)
    policy.due(0.0, 5.0)
    policy.caller_was_heard()
    assert policy.due(6.0, 11.0) == Prompt("One?")
    policy.due(6.0, 16.0)
    assert isinstance(policy.due(6.0, 21.0), SayGoodbye)
    policy.go_on()
    assert policy.due(30.0, 35.0) == Prompt("One?")


# ---- length ----------------------------------------------------------------------------------------------------------


def test_a_call_is_warned_and_ended_once():
    length = CallLength(LengthSettings(seconds_max=300, warning_before_s=60), 1000.0)
    assert length.next_deadline() == 1240.0
    assert [length.due(at) for at in (1239.0, 1240.0, 1299.0, 1300.0, 1301.0)] == [None, "warn", None, "end", None]
    assert length.next_deadline() == inf


def test_a_short_call_is_not_warned_and_a_late_look_warns_no_more():
    assert CallLength(LengthSettings(seconds_max=100, warning_before_s=60), 0.0).next_deadline() == 100.0
    length = CallLength(LengthSettings(seconds_max=300, warning_before_s=60), 0.0)
    assert [length.due(400.0), length.due(401.0)] == ["end", None]


# ---- keys ------------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from("0123456789*#"), st.floats(0.0, 3.0)), max_size=40))
def test_no_key_is_lost_and_none_told_twice(story):
    entry = DigitEntry(digits_max=5, pause_s=2.0, terminator="#")
    told, now = [], 0.0
    for key, pause_s in story:
        told += [entry.press(key, now)]
        now += pause_s
        told += [entry.due(now)]
    told = [entered for entered in [*told, entry.end()] if entered is not None]
    assert "".join(entered.digits + entered.terminator for entered in told) == "".join(key for key, _ in story)
    assert all(len(entered.digits) <= 5 for entered in told)


def test_the_first_key_has_its_own_time():
    entry = DigitEntry(digits_max=5, pause_s=2.0, terminator="")
    assert entry.next_deadline() == inf
    entry.wait(10.0, 1.0)
    assert entry.due(10.9) is None
    assert entry.due(11.0).ended_by == "timeout"
    entry.press("#", 20.0)  # no terminator, so a key like others
    entry.wait(10.0, 20.0)
    assert entry.next_deadline() == 22.0
    assert (entry.due(22.0).digits, entry.begun) == ("#", False)


# ---- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: ControlSettings(hold_s_max=1), "hold_s_max"),
        (lambda: ControlSettings(goodbye_s_max=1e9), "goodbye_s_max"),
        (lambda: SilenceSettings(after_s=0), "after_s"),
        (lambda: LengthSettings(seconds_max=0), "seconds_max"),
        (lambda: DigitSettings(terminator="E"), "terminator"),
        (lambda: DigitSettings(message="Keys!"), "digits"),
    ],
)
def test_a_wrong_setting_is_named(make, field):
    with pytest.raises(MisuseError, match=field):
        make()


# ---- what goes on ----------------------------------------------------------------------------------------------------


def seen(event):
    return events.TransportEventSeen(event=event)


STARTS = seen(server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"))
STOPS = seen(server.InputAudioBufferSpeechStopped(audio_end_ms=0, item_id="u"))
CREATED = seen(server.ResponseCreated(response=Response(id="r")))
DONE = seen(server.ResponseDone(response=Response(id="r")))
AUDIO = seen(AudioReceived(response_id="r", item_id="i", content_index=0, audio_ms=100))
PLAYS = events.AudioStart(agent="a", response_id="r", item_id="i")
STOPPED = events.AudioStopped(agent="a", response_id="r", item_id="i")
CUT = events.AudioInterrupted(
    cuts=(ItemCut(response_id="r", item_id="i", content_index=0, heard_ms=0, audio_ms=1),), by="speech"
)
TOOL = events.AgentToolStart(agent="a", tool="t", call_id="c", arguments="{}")
TOOL_ENDS = events.AgentToolEnd(agent="a", tool="t", call_id="c", arguments="{}", output="", outcome="ok")
ASKED = events.ToolApprovalRequested(request=ApprovalRequest(call_id="c", agent="a", tool="t", arguments="{}"))
ANSWERED = events.ToolApprovalResolved(request=ASKED.request, approved=True, by="program")


@pytest.mark.parametrize(
    ("begins", "ends"),
    [([STARTS], [STOPS]), ([CREATED], [DONE]), ([CREATED, AUDIO, DONE], [STOPPED]), ([AUDIO, PLAYS], [CUT]),
     ([TOOL], [TOOL_ENDS]), ([ASKED], [ANSWERED]), ([ASKED, ANSWERED, TOOL], [TOOL_ENDS]),
     ([CREATED, events.Reconnecting(reason="lost")], [events.Reconnected(attempt=1, items=0)])],
)  # fmt: skip
def test_silence_is_when_nobody_speaks_and_nothing_is_waited_for(begins, ends):
    activity = Activity(0.0)
    assert activity.still_since(1.0) == 0.0
    for event in begins:
        assert activity.handle(event, 2.0)
    assert activity.still_since(3.0) is None
    for event in ends:
        activity.handle(event, 4.0)
    assert activity.still_since(5.0) == 4.0


def test_a_lost_event_does_not_stand_in_the_way_for_good():
    activity = Activity(0.0)
    activity.handle(STARTS, 1.0)
    assert activity.next_deadline(1.0) == 1.0 + SPEECH_S_MAX
    assert activity.still_since(1.0 + SPEECH_S_MAX) == 1.0 + SPEECH_S_MAX


def test_the_agent_has_answered_when_it_is_heard_after_the_caller():
    activity = Activity(0.0)
    activity.handle(PLAYS, 1.0)
    assert activity.agent_has_answered
    activity.handle(STARTS, 2.0)
    assert not activity.agent_has_answered
    activity.handle(PLAYS, 3.0)
    activity.handle(events.Dtmf(digit="1"), 4.0)
    assert not activity.agent_has_answered


def test_events_of_no_concern_are_told_apart():
    assert not Activity(0.0).handle(events.HistoryUpdated(history=()), 1.0)


# ---- words given -----------------------------------------------------------------------------------------------------


def created(token, response_id="r"):
    metadata = say_exactly("x", token)["metadata"]
    return seen(server.ResponseCreated(response=Response(id=response_id, metadata=metadata)))


def done(status="completed", response_id="r"):
    return seen(server.ResponseDone(response=Response(id=response_id, status=status)))


def begins(response_id="r"):
    return events.AgentStart(agent="a", response_id=response_id)


@pytest.mark.parametrize(
    ("story", "outcome"),
    [
        ([created("t"), begins(), done()], "said"),
        ([created("t"), begins(), done("incomplete")], "said"),
        ([created("t"), begins(), done("cancelled")], "cut"),
        ([created("t"), begins(), done("failed")], "failed"),
        ([created("t"), begins(), CUT], "cut"),
        ([created("t"), begins(), events.Reconnecting(reason="lost")], "failed"),
        (
            [created("t"), done("cancelled")],
            None,
        ),  # cancelled by the session as the caller spoke: it is asked for again
        ([created("t"), done("cancelled"), created("t", "r2"), begins("r2"), done(response_id="r2")], "said"),
        ([created("other"), begins(), done()], None),
    ],
)
def test_what_became_of_words(story, outcome):
    utterance = Utterance("t", 0.0)
    for event in story:
        utterance.handle(event, 1.0)
    assert utterance.outcome == outcome


def test_words_that_were_said_may_yet_be_cut_off():
    utterance = Utterance("t", 0.0)
    for event in (created("t"), begins(), done(), CUT):
        utterance.handle(event, 1.0)
    assert (utterance.outcome, utterance.cut) == ("said", True)


def test_words_are_not_waited_for_for_ever():
    late, stuck = Utterance("t", 0.0), Utterance("t", 0.0)
    late.due(BEGIN_S_MAX)
    assert late.outcome == "late"
    for event in (created("t"), begins()):
        stuck.handle(event, 1.0)
    assert stuck.next_deadline() == 1.0 + SAID_S_MAX
    stuck.due(1.0 + SAID_S_MAX)
    assert (stuck.outcome, stuck.next_deadline()) == ("failed", inf)
