"""Errors, usage, the line, and the end of a session."""

import pytest
from support.machine_script import (
    MachineScript,
    called,
    creates,
    finish,
    growing_reply,
    script,
    waiting_refund,
)

from realtime_bridge.session import commands, events, inputs
from realtime_bridge.session.usage import Price
from realtime_bridge.transport import base
from realtime_bridge.wire import Response, ResponseStatusDetails, Usage, server


def error(s: MachineScript, code: str, **fields) -> events.SessionError:
    s.model.feed(server.ErrorEvent(error=server.ErrorDetail(type="error", message="m", code=code, **fields)))
    return s.told(events.SessionError)[-1]


@pytest.mark.parametrize("code", ["response_cancel_not_active", "input_audio_buffer_commit_empty", "session_expired"])
def test_harmless_errors_are_warnings(code):
    s = script()
    assert error(s, code).level == "warning"
    s.say("still here")
    assert len(creates(s)) == 1


def test_other_errors_are_told_and_survived():
    s = script()
    told = error(s, "something_new")
    assert (told.level, told.fatal, told.source) == ("error", False, "model")
    s.say("still here")
    assert len(creates(s)) == 1


@pytest.mark.parametrize(
    "code", ["insufficient_quota", "invalid_api_key", "account_deactivated", "billing_hard_limit_reached"]
)
def test_errors_that_no_retry_can_mend_end_the_session(code):
    s = script()
    assert error(s, code).fatal
    assert len(s.asked(commands.Close)) == 1


def test_a_failed_reply_is_asked_for_again_but_not_for_ever():
    s = script()
    s.say("hello")
    for _ in range(5):
        if not creates(s):
            break
        response_id = s.model.begin(creates(s)[-1])
        details = ResponseStatusDetails(type="failed", error={"type": "server_error", "message": "oops"})
        s.model.feed(server.ResponseDone(response=Response(id=response_id, status="failed", status_details=details)))
    assert len(creates(s)) == 3


def test_usage_is_told_per_response_and_in_total():
    s = script(price=Price(text_in=1_000_000.0))
    usage = Usage(total_tokens=5, input_tokens=3, output_tokens=2)
    s.model.reply("one", usage=usage)
    s.model.reply("two", usage=usage)
    last = s.told(events.UsageUpdated)[-1]
    assert (last.turn.total, last.total.total, last.total.responses, last.cost) == (5, 10, 2, 0.0)
    assert s.machine.usage == last.total


def test_keys_and_silence_are_told():
    s = script()
    s.model.feed(
        base.DtmfReceived(digit="5"),
        server.InputAudioBufferDtmfEventReceived(event="#", received_at=1),
        server.InputAudioBufferTimeoutTriggered(audio_start_ms=0, audio_end_ms=1, item_id="i"),
    )
    assert [e.digit for e in s.told(events.Dtmf)] == ["5", "#"]
    assert s.told(events.InputTimeout)[0].item_id == "i"


def test_everything_the_transport_says_can_be_seen():
    s = script()
    odd = server.UnknownEvent(type="new.thing", payload={"type": "new.thing"})
    s.model.feed(odd, base.TransportProblem(message="odd frame", where="$.x"))
    assert odd in [e.event for e in s.told(events.TransportEventSeen)]
    assert s.told(events.SessionError)[0].message == "odd frame (at $.x)"


def test_out_of_band_responses_leave_no_trace_in_the_conversation():
    s = script()
    s.do(inputs.ResponseWanted(params={"conversation": "none", "instructions": "classify"}))
    s.model.reply("complaint", to=creates(s)[0], calls=[("look_up", "{}")], written=True)
    assert s.told(events.AgentStart) == []
    assert s.asked(commands.RunTool) == []


def test_at_the_end_nobody_is_asked_any_more_and_what_runs_is_stopped():
    s = waiting_refund()
    called(s, "look_up", call_id="running")
    called(s, "note", call_id="background")
    s.model.feed(base.TransportClosed(reason="hung up"))
    assert [(e.approved, e.by) for e in s.told(events.ToolApprovalResolved)] == [(False, "session_end")]
    assert [c.call_id for c in s.asked(commands.CancelTool)] == ["running"], "a background tool may finish"
    assert s.told(events.SessionEnd) == [events.SessionEnd(reason="hung up")]
    before = len(s.commands)
    finish(s, "running")
    s.say("hello?")
    s.do(inputs.ApprovalGiven(call_id="call_x", approved=True))
    s.wait(60)
    assert len(s.commands) == before


def test_closing_waits_for_the_transport_and_ends_once():
    s = script()
    s.do(inputs.CloseWanted(reason="done"))
    assert s.asked(commands.Close)[0].reason == "done"
    assert s.told(events.SessionEnd) == []
    s.model.feed(base.TransportClosed(reason="done"), base.TransportClosed(reason="again"))
    assert len(s.told(events.SessionEnd)) == 1


def test_what_nobody_heard_when_the_call_ended_was_not_said():
    s = script()
    growing_reply(s, "Good morning", " to you")
    s.model.feed(base.TransportClosed(reason="hung up"))
    assert (s.machine.history[0].text, s.machine.history[0].heard_ms) == ("", 0)
