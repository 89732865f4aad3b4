"""Conversations with the session machine: what the model says comes from a ScriptedTransport, time from the test."""

import pytest
from support.machine_script import MachineScript

from realtime_bridge.approvals import ApprovalSettings
from realtime_bridge.session import commands, events, inputs
from realtime_bridge.session.items import message
from realtime_bridge.session.specs import AgentSpec, HandoffSpec, McpSpec, ToolSpec
from realtime_bridge.session.usage import Price
from realtime_bridge.transport import base
from realtime_bridge.transport.base import ItemCut
from realtime_bridge.wire import ContentPart, Item, Response, ResponseStatusDetails, Usage, client, server

TOOLS = (
    ToolSpec(name="look_up"),
    ToolSpec(name="refund", checked=True),
    ToolSpec(name="note", background=True),
    ToolSpec(name="later", on_barge_in="speak_later"),
    ToolSpec(name="fragile", on_barge_in="cancel"),
    ToolSpec(name="slow", filler="One moment, please."),
)
DESK = AgentSpec(
    name="desk", tools=TOOLS, handoffs=(HandoffSpec(name="to_billing"), HandoffSpec(name="to_sales")), voice="marin"
)
BILLING = AgentSpec(name="billing", tools=(ToolSpec(name="invoice"),), voice="cedar")


def script(agent=DESK, **settings) -> MachineScript:
    return MachineScript(agent, **settings)


def called(s: MachineScript, name: str, arguments: str = "{}", call_id: str = "call_x") -> str:
    """The model makes one call, in a response of its own that then ends."""
    response_id = s.model.begin()
    s.model.call(response_id, name, arguments, call_id=call_id)
    s.model.feed(server.ResponseDone(response=Response(id=response_id, status="completed", conversation_id="c")))
    return response_id


def finish(s: MachineScript, call_id: str = "call_x", output: str = "done", **fields) -> None:
    s.do(inputs.ToolFinished(call_id=call_id, output=output, **fields))


def barge_in(s: MachineScript, item_id: str = "item_1", heard_ms: int = 100, audio_ms: int = 1000) -> None:
    """The caller speaks while the agent does; a phone reports what was cut before the model's event."""
    cut = ItemCut(response_id="r", item_id=item_id, content_index=0, heard_ms=heard_ms, audio_ms=audio_ms)
    s.model.feed(
        base.PlaybackInterrupted(cuts=(cut,), by="speech"),
        server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"),
    )


def creates(s: MachineScript) -> list[client.ResponseCreate]:
    return s.sent(client.ResponseCreate)


# -- talking ---------------------------------------------------------------------------------------------------------


def test_a_message_is_sent_and_answered():
    s = script()
    s.say("hello")
    (item,) = [e.item for e in s.sent(client.ConversationItemCreate)]
    assert (item.role, item.content[0].text) == ("user", "hello")
    s.model.reply("Good morning", to=creates(s)[0])
    assert s.texts() == [("user", "hello"), ("assistant", "Good morning")]
    end = s.told(events.AgentEnd)[0]
    assert (end.agent, end.output, end.status) == ("desk", "Good morning", "completed")


def test_a_message_may_ask_for_no_answer():
    s = script()
    s.say("by the way", respond=False)
    assert creates(s) == []


def test_a_message_the_model_refuses_is_taken_back():
    s = script()
    s.say("hello")
    item_id = s.sent(client.ConversationItemCreate)[0].item.id
    error = server.ErrorDetail(type="invalid_request_error", message="no", event_id=item_id)
    s.model.feed(server.ErrorEvent(error=error))
    assert s.texts() == []
    assert s.told(events.SessionError)[0].level == "error"


@pytest.mark.parametrize(("greeting", "says"), [(True, None), ("Welcome to Acme", "Welcome to Acme")])
def test_the_agent_may_speak_first(greeting, says):
    (request,) = creates(script(greeting=greeting))
    instructions = request.response.get("instructions")
    assert instructions is None if says is None else says in instructions


def test_the_first_event_is_the_empty_history():
    assert isinstance(script().told(events.SessionEvent.__args__)[-1], events.HistoryUpdated)


def test_two_messages_get_two_answers_one_after_the_other():
    s = script()
    s.say("one")
    s.say("two")
    assert len(creates(s)) == 1
    s.model.reply("first", to=creates(s)[0])
    s.model.reply("second", to=creates(s)[1])
    assert len(creates(s)) == 2


def test_what_the_caller_says_is_in_the_history_with_its_transcript():
    s = script()
    s.model.heard("I want a refund")
    assert s.texts() == [("user", "I want a refund")]


def test_nothing_is_said_while_the_caller_speaks():
    s = script()
    s.model.feed(server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"))
    s.say("hint")
    assert creates(s) == []
    s.model.feed(server.InputAudioBufferSpeechStopped(audio_end_ms=1, item_id="u"))
    assert creates(s) == [], "the model is about to answer the caller"
    s.wait(5)
    assert len(creates(s)) == 1


def test_a_caller_who_never_stops_speaking_does_not_silence_the_agent_for_ever():
    s = script()
    s.model.feed(server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"))
    s.say("hint")
    s.wait(35)
    assert len(creates(s)) == 1


def test_a_reply_that_begins_while_the_caller_speaks_is_cancelled_and_asked_for_again():
    s = script()
    s.say("hello")
    s.model.feed(server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"))
    response_id = s.model.begin(creates(s)[0])
    assert [e.response_id for e in s.sent(client.ResponseCancel)] == [response_id]
    assert s.asked(commands.Discard)[0].response_id == response_id
    s.model.feed(
        server.ResponseDone(response=Response(id=response_id, status="cancelled")),
        server.InputAudioBufferSpeechStopped(audio_end_ms=1, item_id="u"),
    )
    s.wait(5)
    assert len(creates(s)) == 2
    assert s.told(events.AgentStart) == [], "nobody heard of it"


def test_turn_detection_that_does_not_interrupt_leaves_replies_alone():
    s = script()
    session = {"audio": {"input": {"turn_detection": {"type": "server_vad", "interrupt_response": False}}}}
    s.model.feed(server.SessionUpdated(session=session))
    s.say("hello")
    s.model.feed(server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"))
    s.model.begin(creates(s)[0])
    assert s.sent(client.ResponseCancel) == []


def test_committed_audio_is_answered_where_the_model_does_not_find_turns_itself():
    s = script()
    s.do(inputs.AudioCommitted())
    assert creates(s) == []
    s.model.feed(server.SessionUpdated(session={"audio": {"input": {"turn_detection": None}}}))
    s.do(inputs.AudioCommitted())
    assert len(s.sent(client.InputAudioBufferCommit)) == 2
    assert len(creates(s)) == 1


def test_raw_events_go_through_but_responses_take_their_turn():
    s = script()
    s.do(inputs.ClientEventWanted(event=client.InputAudioBufferClear()))
    assert len(s.sent(client.InputAudioBufferClear)) == 1
    s.model.begin()
    s.do(inputs.ClientEventWanted(event=client.ResponseCreate(response={"instructions": "x"})))
    assert creates(s) == []
    s.do(inputs.ClientEventWanted(event=client.ResponseCancel()))
    assert len(s.sent(client.ResponseCancel)) == 1


# -- interruptions ---------------------------------------------------------------------------------------------------


def test_interrupt_stops_the_reply_on_the_phone():
    s = script()
    s.model.begin()
    s.do(inputs.InterruptWanted())
    assert len(s.asked(commands.Interrupt)) == 1
    assert s.sent(client.ResponseCancel) == [], "the transport cancels what it plays"


def test_interrupt_before_the_reply_began_makes_it_an_orphan():
    s = script()
    s.say("hello")
    s.do(inputs.InterruptWanted())
    response_id = s.model.begin(creates(s)[0])
    assert [e.response_id for e in s.sent(client.ResponseCancel)] == [response_id]
    assert s.asked(commands.Discard)[0].response_id == response_id


def test_after_a_barge_in_the_history_holds_what_was_heard():
    s = script()
    s.model.reply("one two three four five six seven eight")
    item_id = s.machine.history[0].item_id
    s.model.feed(base.PlaybackStarted(response_id="r", item_id=item_id, content_index=0))
    barge_in(s, item_id, heard_ms=1200, audio_ms=2400)
    item = s.machine.history[0]
    assert (item.text, item.cut, item.heard_ms) == ("one two three four", True, 1200)
    assert s.told(events.AudioInterrupted)[0].cuts[0].heard_ms == 1200


def test_what_was_written_of_a_cancelled_reply_but_never_came_as_audio_was_not_heard():
    s = script()
    response_id = s.model.begin()
    item = Item(type="message", id="a", role="assistant", status="in_progress", content=())
    where = {"response_id": response_id, "output_index": 0}
    details = ResponseStatusDetails(type="cancelled", reason="turn_detected")
    s.model.feed(
        server.ResponseOutputItemAdded(item=item, **where),
        server.ResponseOutputAudioTranscriptDelta(delta="Hello the", item_id="a", content_index=0, **where),
        server.ResponseDone(response=Response(id=response_id, status="cancelled", status_details=details)),
    )
    assert (s.machine.history[0].text, s.machine.history[0].unheard) == ("", "Hello the")


def test_where_the_program_plays_the_session_truncates_itself():
    s = script(plays_audio=False)
    response_id = s.model.begin()
    item = Item(type="message", id="a", role="assistant", status="in_progress", content=())
    part = {"response_id": response_id, "output_index": 0, "item_id": "a", "content_index": 0}
    s.model.feed(
        server.ResponseOutputItemAdded(item=item, response_id=response_id, output_index=0),
        server.ResponseOutputAudioTranscriptDelta(delta="one two three four", **part),
        base.AudioReceived(response_id=response_id, item_id="a", content_index=0, audio_ms=2000),
    )
    s.now += 1.0
    s.model.feed(server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"))
    (truncate,) = s.sent(client.ConversationItemTruncate)
    assert (truncate.item_id, truncate.audio_end_ms) == ("a", 1000)
    assert s.machine.history[0].text == "one two"
    assert s.told(events.AudioInterrupted)[0].by == "speech"
    s.model.feed(base.AudioReceived(response_id=response_id, item_id="a", content_index=0, audio_ms=3000))
    s.do(inputs.InterruptWanted())
    assert len(s.sent(client.ConversationItemTruncate)) == 1, "late audio of that reply counts no more"


# -- tools -----------------------------------------------------------------------------------------------------------


def test_a_tool_runs_and_its_result_is_spoken_of():
    s = script()
    called(s, "look_up", '{"order": 1}')
    (run,) = s.asked(commands.RunTool)
    assert (run.agent, run.tool, run.arguments) == ("desk", "look_up", '{"order": 1}')
    assert creates(s) == []
    finish(s, output="shipped")
    assert s.outputs() == {"call_x": "shipped"}
    assert len(creates(s)) == 1
    end = s.told(events.AgentToolEnd)[0]
    assert (end.output, end.outcome) == ("shipped", "ok")


def test_a_result_that_lands_while_the_model_speaks_waits_for_the_end():
    s = script()
    called(s, "look_up")
    other = s.model.begin()
    finish(s)
    assert creates(s) == []
    s.model.feed(server.ResponseDone(response=Response(id=other, status="completed")))
    assert len(creates(s)) == 1


def test_a_reply_that_began_with_the_result_in_view_answers_it():
    s = script()
    called(s, "look_up")
    s.model.feed(server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"))
    finish(s)
    s.model.feed(server.InputAudioBufferSpeechStopped(audio_end_ms=0, item_id="u"))
    s.model.reply("It was shipped, and you are welcome")
    s.wait(10)
    assert creates(s) == []


def test_results_of_one_response_are_spoken_of_together():
    s = script()
    response_id = s.model.begin()
    s.model.call(response_id, "look_up", '{"a": 1}', call_id="one")
    s.model.call(response_id, "look_up", '{"a": 2}', call_id="two")
    s.model.feed(server.ResponseDone(response=Response(id=response_id, status="completed")))
    finish(s, "one")
    assert creates(s) == []
    finish(s, "two")
    assert len(creates(s)) == 1


def test_a_fast_result_does_not_wait_for_a_slow_one_for_ever():
    s = script()
    response_id = s.model.begin()
    s.model.call(response_id, "look_up", '{"a": 1}', call_id="one")
    s.model.call(response_id, "look_up", '{"a": 2}', call_id="two")
    s.model.feed(server.ResponseDone(response=Response(id=response_id, status="completed")))
    finish(s, "one")
    s.wait(4)
    assert len(creates(s)) == 1


def test_the_same_call_delivered_twice_runs_once():
    s = script()
    called(s, "look_up", '{"a": 1}')
    called(s, "look_up", '{ "a":1 }')
    assert len(s.asked(commands.RunTool)) == 1
    finish(s)
    called(s, "look_up", '{"a": 1}')
    assert len(s.asked(commands.RunTool)) == 1
    assert list(s.outputs()) == ["call_x"]


def test_a_call_id_used_again_for_another_call_is_refused():
    s = script()
    called(s, "look_up", '{"a": 1}')
    called(s, "look_up", '{"a": 2}')
    assert len(s.asked(commands.RunTool)) == 1
    assert s.told(events.SessionError)[0].code == "call_id_reused"


def test_a_call_goes_to_the_agent_whose_response_made_it():
    s = script()
    response_id = s.model.begin()
    s.do(inputs.AgentSwitched(agent=BILLING))
    s.model.call(response_id, "look_up", call_id="call_x")
    assert s.asked(commands.RunTool)[0].agent == "desk"


def test_a_tool_nobody_has_is_told_to_the_model():
    s = script()
    called(s, "invent")
    assert "look_up" in s.outputs()["call_x"]
    error = s.told(events.SessionError)[0]
    assert (error.code, error.tool) == ("tool_not_found", "invent")
    assert len(creates(s)) == 1, "so that it can mend it"


def test_a_model_that_only_makes_mistakes_does_not_talk_to_itself_for_ever():
    s = script()
    for n in range(20):
        called(s, "invent", call_id=f"call_{n}")
        if len(creates(s)) > n:
            s.model.reply(to=creates(s)[-1])
    assert len(creates(s)) == 5
    assert len(s.outputs()) == 20, "every call is answered all the same"


def test_an_unfinished_call_is_no_call():
    s = script()
    response_id = s.model.begin()
    item = Item(type="function_call", id="i", call_id="c", name="look_up", arguments='{"a', status="incomplete")
    s.model.feed(server.ResponseOutputItemDone(response_id=response_id, output_index=0, item=item))
    assert s.asked(commands.RunTool) == []


def test_calls_of_a_cancelled_orphan_are_answered_but_not_run():
    s = script()
    s.say("hello")
    s.do(inputs.InterruptWanted())
    response_id = s.model.begin(creates(s)[0])
    s.model.call(response_id, "look_up", call_id="call_x")
    assert s.asked(commands.RunTool) == []
    assert "not run" in s.outputs()["call_x"]


def test_a_background_tool_is_recorded_and_not_spoken_of():
    s = script()
    called(s, "note")
    finish(s)
    assert s.outputs() == {"call_x": "done"}
    s.wait(10)
    assert creates(s) == []


def test_a_silent_result_is_recorded_and_not_spoken_of():
    s = script()
    called(s, "look_up")
    finish(s, silent=True)
    s.wait(10)
    assert creates(s) == []


def test_what_user_code_raised_is_an_error_with_the_tools_name():
    s = script()
    called(s, "look_up")
    finish(s, output="It failed.", outcome="failed", error="tool look_up raised ValueError: x")
    error = s.told(events.SessionError)[0]
    assert (error.source, error.tool, error.call_id, error.fatal) == ("tool", "look_up", "call_x", False)
    assert s.outputs() == {"call_x": "It failed."}


def test_user_code_may_end_the_session():
    s = script()
    called(s, "look_up")
    finish(s, output="It failed.", outcome="failed", error="boom", fatal=True)
    assert s.asked(commands.Close)[0].error == "boom"
    s.say("anybody there?")
    assert creates(s) == []


@pytest.mark.parametrize(
    ("tool", "told", "spoken"),
    [("look_up", "done", False), ("later", "done", True), ("fragile", "cancelled", False)],
)
def test_after_a_barge_in_a_running_tool_follows_its_policy(tool, told, spoken):
    s = script()
    called(s, tool)
    barge_in(s)
    s.model.feed(server.InputAudioBufferSpeechStopped(audio_end_ms=1, item_id="u"))
    s.model.reply("Yes?")
    finish(s)
    s.wait(10)
    assert told in s.outputs()["call_x"]
    assert len(creates(s)) == (1 if spoken else 0)
    assert bool(s.asked(commands.CancelTool)) == (tool == "fragile")


def test_speech_on_a_silent_line_is_no_barge_in():
    s = script()
    called(s, "look_up")
    s.model.feed(server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"))
    s.model.feed(server.InputAudioBufferSpeechStopped(audio_end_ms=1, item_id="u"))
    s.model.reply("Just a moment")
    finish(s)
    assert len(creates(s)) == 1


def test_a_slow_tool_is_filled_with_words_once():
    s = script()
    called(s, "slow")
    s.wait(0.5)
    assert creates(s) == []
    s.wait(5)
    (filler,) = creates(s)
    assert "One moment, please." in filler.response["instructions"]
    assert filler.response["tool_choice"] == "none"
    s.model.reply("One moment, please.", to=filler)
    finish(s)
    assert len(creates(s)) == 2


def test_a_filler_is_not_said_after_the_result():
    s = script()
    s.model.feed(server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"))
    called(s, "slow")
    s.wait(2)
    finish(s)
    s.model.feed(server.InputAudioBufferSpeechStopped(audio_end_ms=0, item_id="u"))
    s.wait(10)
    assert all("instructions" not in request.response for request in creates(s))


# -- approvals -------------------------------------------------------------------------------------------------------


def waiting_refund(**settings) -> MachineScript:
    s = script(**settings)
    called(s, "refund", '{"amount": 5}')
    (check,) = s.asked(commands.CheckCall)
    assert check.arguments == '{"amount": 5}'
    s.do(inputs.CallChecked(call_id="call_x", needs_approval=True))
    return s


def test_a_call_waits_for_approval_with_its_exact_arguments():
    s = waiting_refund()
    request = s.told(events.ToolApprovalRequested)[0].request
    assert (request.tool, request.arguments, request.agent, request.kind) == (
        "refund",
        '{"amount": 5}',
        "desk",
        "function",
    )
    assert s.asked(commands.RunTool) == []


def test_approved_it_runs():
    s = waiting_refund()
    s.do(inputs.ApprovalGiven(call_id="call_x", approved=True))
    s.do(inputs.ApprovalGiven(call_id="call_x", approved=True))
    (run,) = s.asked(commands.RunTool)
    assert run.arguments == '{"amount": 5}'
    assert [(e.approved, e.by) for e in s.told(events.ToolApprovalResolved)] == [(True, "program")]
    assert s.told(events.SessionError)[0].code == "approval_unknown", "the second came too late"


@pytest.mark.parametrize(("message", "told"), [("Ask the manager.", "Ask the manager."), (None, "not approved")])
def test_rejected_it_is_answered_and_not_run(message, told):
    s = waiting_refund()
    s.do(inputs.ApprovalGiven(call_id="call_x", approved=False, message=message))
    assert s.asked(commands.RunTool) == []
    assert told in s.outputs()["call_x"]
    assert s.told(events.AgentToolEnd)[0].outcome == "rejected"
    assert len(creates(s)) == 1


@pytest.mark.parametrize("approved", [True, False])
def test_always_decides_later_calls_of_this_tool(approved):
    s = waiting_refund()
    s.do(inputs.ApprovalGiven(call_id="call_x", approved=approved, always=True, message=None if approved else "Never."))
    called(s, "refund", '{"amount": 6}', call_id="call_y")
    s.do(inputs.CallChecked(call_id="call_y", needs_approval=True))
    assert len(s.told(events.ToolApprovalRequested)) == 1
    if approved:
        assert [run.call_id for run in s.asked(commands.RunTool)] == ["call_x", "call_y"]
    else:
        assert s.outputs()["call_y"] == "Never."


@pytest.mark.parametrize(("policy", "runs"), [("reject", 0), ("approve", 1)])
def test_nobody_answering_is_answered_by_policy(policy, runs):
    s = waiting_refund(approvals=ApprovalSettings(timeout_s=20.0, on_timeout=policy))
    s.wait(19)
    assert s.told(events.ToolApprovalResolved) == []
    s.wait(2)
    assert s.told(events.ToolApprovalResolved)[0].by == "timeout"
    assert len(s.asked(commands.RunTool)) == runs


def test_a_call_that_needs_no_approval_runs_after_the_check():
    s = script()
    called(s, "refund")
    s.do(inputs.CallChecked(call_id="call_x"))
    assert len(s.asked(commands.RunTool)) == 1


def test_a_refused_call_goes_back_and_nobody_is_asked():
    s = script()
    called(s, "refund")
    s.do(inputs.CallChecked(call_id="call_x", refusal="amount: missing", outcome="invalid_arguments"))
    assert s.told(events.ToolApprovalRequested) == []
    assert s.outputs() == {"call_x": "amount: missing"}
    assert s.told(events.AgentToolEnd)[0].outcome == "invalid_arguments"


def test_a_failed_predicate_is_reported():
    s = script()
    called(s, "refund")
    s.do(inputs.CallChecked(call_id="call_x", needs_approval=True, error="predicate raised KeyError"))
    assert s.told(events.SessionError)[0].source == "approval"
    assert len(s.told(events.ToolApprovalRequested)) == 1


def test_the_caller_is_kept_company_while_somebody_decides():
    s = waiting_refund(approvals=ApprovalSettings(filler="I am asking my manager."))
    (filler,) = creates(s)
    assert "my manager" in filler.response["instructions"]
    s.model.reply("I am asking my manager.", to=filler)
    s.do(inputs.ApprovalGiven(call_id="call_x", approved=True))
    finish(s)
    assert len(creates(s)) == 2


def test_a_barge_in_leaves_waiting_approvals_alone():
    s = waiting_refund()
    barge_in(s)
    s.do(inputs.ApprovalGiven(call_id="call_x", approved=True))
    s.model.feed(server.InputAudioBufferSpeechStopped(audio_end_ms=1, item_id="u"))
    s.model.reply("Sure")
    finish(s)
    assert len(creates(s)) == 1, "the barge-in was before it ran"


def test_a_late_check_of_an_answered_call_changes_nothing():
    s = waiting_refund()
    s.do(inputs.ApprovalGiven(call_id="call_x", approved=False))
    s.do(inputs.CallChecked(call_id="call_x"))
    assert s.asked(commands.RunTool) == []


# -- hosted MCP ------------------------------------------------------------------------------------------------------

SHOP = AgentSpec(
    name="desk", mcp=(McpSpec(server_label="shop", definition={"type": "mcp", "allowed_tools": ["find", "buy"]}),)
)


def mcp_approval(s: MachineScript) -> None:
    item = Item(type="mcp_approval_request", id="req_1", server_label="shop", name="buy", arguments='{"n":1}')
    s.model.feed(
        server.ResponseOutputItemDone(response_id="r", output_index=0, item=item),
        server.ConversationItemDone(item=item),
    )


@pytest.mark.parametrize("approved", [True, False])
def test_a_hosted_tool_asks_for_approval_once(approved):
    s = script(SHOP)
    mcp_approval(s)
    (event,) = s.told(events.ToolApprovalRequested)
    assert (event.request.kind, event.request.server_label, event.request.tool) == ("mcp", "shop", "buy")
    s.do(inputs.ApprovalGiven(call_id="req_1", approved=approved, message="No."))
    answer = s.sent(client.ConversationItemCreate)[-1].item
    assert (answer.type, answer.approval_request_id, answer.approve) == ("mcp_approval_response", "req_1", approved)
    assert answer.reason == (None if approved else "No.")
    assert len(creates(s)) == (0 if approved else 1)


def test_always_answers_a_hosted_tool_without_asking():
    s = script(SHOP)
    mcp_approval(s)
    s.do(inputs.ApprovalGiven(call_id="req_1", approved=True, always=True))
    item = Item(type="mcp_approval_request", id="req_2", server_label="shop", name="buy", arguments="{}")
    s.model.feed(server.ConversationItemDone(item=item))
    assert len(s.told(events.ToolApprovalRequested)) == 1
    assert s.sent(client.ConversationItemCreate)[-1].item.approval_request_id == "req_2"


def test_hosted_tools_are_listed_for_the_agent_that_has_them():
    s = script(SHOP)
    tools = tuple({"name": name} for name in ("find", "buy", "admin"))
    s.model.feed(
        server.ConversationItemDone(item=Item(type="mcp_list_tools", id="l", server_label="shop", tools=tools))
    )
    assert s.machine.mcp_tools == {"shop": ("find", "buy")}
    s.do(inputs.AgentSwitched(agent=BILLING))
    assert s.machine.mcp_tools == {}
    assert [e.tools for e in s.told(events.McpToolsChanged)] == [{"shop": ("find", "buy")}, {}]


@pytest.mark.parametrize(
    ("fields", "outcome"), [({"output": "3 found"}, "ok"), ({"error": {"message": "down"}}, "failed")]
)
def test_a_hosted_call_is_told_and_spoken_of(fields, outcome):
    s = script(SHOP)
    response_id = s.model.begin()
    where = {"response_id": response_id, "output_index": 0}
    growing = Item(type="mcp_call", id="m", server_label="shop", name="find", arguments="")
    s.model.feed(
        server.ResponseOutputItemAdded(item=growing, **where),
        server.ResponseMcpCallArgumentsDone(item_id="m", arguments='{"q":"tea"}', **where),
        server.ResponseMcpCallInProgress(item_id="m", output_index=0),
        server.ResponseOutputItemDone(
            item=Item(type="mcp_call", id="m", server_label="shop", name="find", arguments='{"q":"tea"}', **fields),
            **where,
        ),
        server.ResponseDone(response=Response(id=response_id, status="completed")),
    )
    assert s.told(events.AgentToolStart)[0].arguments == '{"q":"tea"}'
    end = s.told(events.AgentToolEnd)[0]
    assert (end.outcome, end.server_label) == (outcome, "shop")
    assert len(creates(s)) == 1


# -- hand-offs -------------------------------------------------------------------------------------------------------


def test_a_hand_off_changes_everything_in_one_update():
    s = script()
    called(s, "to_billing")
    assert s.asked(commands.RunHandoff)[0].handoff == "to_billing"
    s.do(inputs.HandoffReady(call_id="call_x", agent=BILLING, output="Over to billing"))
    (update,) = s.sent(client.SessionUpdate)
    assert [tool["name"] for tool in update.session["tools"]] == ["invoice"]
    assert update.session["audio"]["output"]["voice"] == "cedar", "nothing was heard yet"
    order = [type(e).__name__ for e in s.model.sent]
    assert order == ["SessionUpdate", "ConversationItemCreate", "ResponseCreate"]
    assert s.outputs() == {"call_x": "Over to billing"}
    assert s.machine.agent == "billing"
    assert s.told(events.AgentHandoff) == [events.AgentHandoff(from_agent="desk", to_agent="billing", call_id="call_x")]
    assert s.told(events.AgentToolEnd) == []


def test_the_next_agent_speaks_with_the_first_ones_voice_once_it_was_heard():
    s = script()
    s.model.reply("Hello")
    called(s, "to_billing")
    s.do(inputs.HandoffReady(call_id="call_x", agent=BILLING, output="ok"))
    assert s.sent(client.SessionUpdate)[0].session["audio"]["output"]["voice"] == "marin"
    warning = s.told(events.SessionError)[0]
    assert (warning.code, warning.level) == ("voice_frozen", "warning")
    assert s.machine.agent == "billing"


def test_only_the_first_of_two_hand_offs_is_made():
    s = script()
    response_id = s.model.begin()
    s.model.call(response_id, "to_billing", call_id="one")
    s.model.call(response_id, "to_sales", call_id="two")
    assert [run.call_id for run in s.asked(commands.RunHandoff)] == ["one"]
    assert "ignored" in s.outputs()["two"]


def test_a_hand_off_that_fails_changes_nothing():
    s = script()
    called(s, "to_billing")
    finish(s, output="The transfer could not be made.", outcome="failed", error="on_handoff raised")
    assert s.machine.agent == "desk"
    assert s.told(events.SessionError)[0].source == "handoff"
    assert s.told(events.AgentToolEnd)[0].outcome == "failed"
    assert len(creates(s)) == 1


def test_what_is_to_be_said_during_a_hand_off_the_next_agent_says():
    s = script()
    called(s, "look_up", call_id="slow_one")
    called(s, "to_billing", call_id="move")
    finish(s, "slow_one")
    assert creates(s) == []
    s.do(inputs.HandoffReady(call_id="move", agent=BILLING, output="ok"))
    assert [type(e).__name__ for e in s.model.sent][-2:] == ["ConversationItemCreate", "ResponseCreate"]


def test_a_hand_off_may_filter_what_the_next_agent_sees():
    s = script()
    s.model.heard("my card number is 4111")
    called(s, "to_billing")
    kept = tuple(item for item in s.machine.history if item.type != "message")
    s.do(inputs.HandoffReady(call_id="call_x", agent=BILLING, output="ok", history=kept))
    assert len(s.sent(client.ConversationItemDelete)) == 1
    assert [item.type for item in s.machine.history] == ["function_call"]


def test_the_program_may_change_the_agent():
    s = script()
    s.do(inputs.AgentSwitched(agent=BILLING))
    assert s.machine.agent == "billing"
    assert s.told(events.AgentHandoff)[0].call_id is None
    assert creates(s) == []


# -- guardrails ------------------------------------------------------------------------------------------------------

GUARDED = AgentSpec(name="desk", guarded=True, tools=TOOLS)


def guarded(**settings) -> MachineScript:
    return script(GUARDED, every_chars=20, **settings)


def growing_reply(s: MachineScript, *pieces: str) -> tuple[str, str]:
    response_id = s.model.begin()
    item = Item(type="message", id="a", role="assistant", status="in_progress", content=())
    s.model.feed(server.ResponseOutputItemAdded(item=item, response_id=response_id, output_index=0))
    part = {"response_id": response_id, "item_id": "a", "content_index": 0}
    for n, piece in enumerate(pieces, 1):
        s.model.feed(
            server.ResponseOutputAudioTranscriptDelta(delta=piece, output_index=0, **part),
            base.AudioReceived(audio_ms=1000 * n, **part),
        )
    return response_id, "a"


def trip(s: MachineScript, **fields) -> None:
    s.do(inputs.GuardrailVerdict(run_id=s.asked(commands.RunGuardrails)[-1].run_id, tripped="no_prices", **fields))


def test_guardrails_run_on_the_growing_words():
    s = guarded()
    growing_reply(s, "It costs ten pounds", " and a penny.", " No more.", " At all.")
    assert [run.text for run in s.asked(commands.RunGuardrails)] == [
        "It costs ten pounds and a penny.",
        "It costs ten pounds and a penny. No more.",
    ]


def test_a_trip_stops_the_reply_and_tells_the_model_once():
    s = guarded()
    response_id, item_id = growing_reply(s, "It costs ten pounds and more")
    trip(s, info="a price")
    (event,) = s.told(events.GuardrailTripped)
    assert (event.guardrail, event.response_id, event.item_id, event.info) == (
        "no_prices",
        response_id,
        item_id,
        "a price",
    )
    assert len(s.asked(commands.Interrupt)) == 1
    assert s.asked(commands.Discard)[0].response_id == response_id
    assert "no_prices" in s.texts()[-1][1]
    assert creates(s) == [], "the reply is still ending"
    s.model.feed(server.ResponseDone(response=Response(id=response_id, status="cancelled")))
    assert len(creates(s)) == 1
    trip(s)
    assert len(s.told(events.GuardrailTripped)) == 1


def test_a_guardrail_may_have_its_own_words_for_the_model():
    s = guarded()
    growing_reply(s, "It costs ten pounds and more")
    trip(s, feedback="Name no prices.")
    assert s.texts()[-1] == ("system", "Name no prices.")


def test_a_trip_that_comes_late_does_not_reach_into_a_newer_turn():
    s = guarded()
    response_id, _ = growing_reply(s, "It costs ten pounds and more")
    s.model.feed(
        server.ResponseDone(response=Response(id=response_id, status="completed")),
        server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"),
    )
    trip(s)
    assert len(s.told(events.GuardrailTripped)) == 1
    assert s.asked(commands.Interrupt) == []
    assert s.asked(commands.Discard)[0].response_id == response_id
    assert not any(role == "system" for role, _ in s.texts())


def test_a_reply_that_was_complete_can_still_be_silenced():
    s = guarded()
    response_id, _ = growing_reply(s, "It costs ten pounds and more")
    s.model.feed(server.ResponseDone(response=Response(id=response_id, status="completed")))
    trip(s)
    assert len(s.asked(commands.Interrupt)) == 1, "the caller is still hearing it"
    assert len(creates(s)) == 1


def test_calls_of_a_reply_that_tripped_are_not_run():
    s = guarded()
    response_id, _ = growing_reply(s, "It costs ten pounds and more")
    trip(s)
    s.model.call(response_id, "look_up", call_id="call_x")
    assert s.asked(commands.RunTool) == []
    assert "not run" in s.outputs()["call_x"]


def test_a_guardrail_that_fails_is_reported_with_its_name():
    s = guarded()
    growing_reply(s, "It costs ten pounds and more")
    run_id = s.asked(commands.RunGuardrails)[0].run_id
    s.do(inputs.GuardrailVerdict(run_id=run_id, errors=(("no_prices", "raised KeyError"),)))
    error = s.told(events.SessionError)[0]
    assert (error.source, error.tool) == ("guardrail", "no_prices")


def test_typed_replies_are_guarded_too():
    s = guarded()
    s.model.reply("It costs ten pounds and more", written=True)
    trip(s)
    assert len(s.told(events.GuardrailTripped)) == 1


def test_audio_is_held_back_until_its_words_have_passed():
    s = guarded(holdback_ms=800)
    growing_reply(s, "Good", " morning", " to you")
    (first,) = s.asked(commands.RunGuardrails)
    s.do(inputs.GuardrailVerdict(run_id=first.run_id))
    release = s.asked(commands.Release)[-1]
    assert (release.item_id, release.audio_ms) == ("a", 1000), "only what cannot hold more than 'Good'"
    s.do(inputs.GuardrailVerdict(run_id=s.asked(commands.RunGuardrails)[-1].run_id))
    assert s.asked(commands.Release)[-1].audio_ms == 3000
    part = {
        "response_id": s.told(events.AgentStart)[0].response_id,
        "item_id": "a",
        "content_index": 0,
        "output_index": 0,
    }
    s.model.feed(server.ResponseOutputAudioTranscriptDone(transcript="Good morning to you", **part))
    assert len(s.asked(commands.RunGuardrails)) == 2, "the whole had passed already"


def test_audio_of_an_agent_without_guardrails_is_not_held():
    s = script(holdback_ms=800)
    growing_reply(s, "Good morning")
    assert s.asked(commands.Release) == [commands.Release(item_id="a", content_index=0)]


# -- history ---------------------------------------------------------------------------------------------------------


def test_an_edit_becomes_deletes_and_creates():
    s = script()
    s.model.heard("first")
    s.model.heard("second")
    s.do(inputs.HistoryEdited(history=(*s.machine.history[1:], message("new", "user", "third"))))
    assert [e.item_id for e in s.sent(client.ConversationItemDelete)] == ["item_1"]
    assert s.sent(client.ConversationItemCreate)[0].item.id == "new"
    assert [words for _, words in s.texts()] == ["second", "third"]


def test_an_edit_never_takes_away_a_call_that_waits():
    s = script()
    called(s, "look_up")
    s.do(inputs.HistoryEdited(history=()))
    assert [item.call_id for item in s.machine.history] == ["call_x"]
    finish(s)
    assert s.outputs() == {"call_x": "done"}


def test_audio_is_fetched_when_it_shall_be_kept():
    s = script(keep_audio=True)
    item = Item(type="message", id="u", role="user", content=(ContentPart(type="input_audio"),))
    s.model.feed(server.ConversationItemDone(item=item))
    assert [e.item_id for e in s.sent(client.ConversationItemRetrieve)] == ["u"]
    fetched = Item(type="message", id="u", role="user", content=(ContentPart(type="input_audio", audio="AAAA"),))
    s.model.feed(server.ConversationItemRetrieved(item=fetched))
    assert s.machine.history[0].content[0].audio == "AAAA"


# -- errors, usage and the line --------------------------------------------------------------------------------------


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


# -- the end ---------------------------------------------------------------------------------------------------------


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


# -- other model sessions --------------------------------------------------------------------------------------------


def test_a_lost_model_session_is_replaced_and_knows_what_was_heard():
    s = script()
    s.model.heard("I want a refund")
    s.model.reply("Certainly")
    called(s, "look_up")
    sent = len(s.model.sent)
    s.model.feed(base.ModelLost(message="gone"))
    s.say("are you there?", respond=False)
    assert len(s.model.sent) == sent, "there is nobody to send it to"
    s.model.feed(base.ModelConnected(attempt=2))
    told = s.model.sent[sent:]
    assert isinstance(told[0], client.SessionUpdate)
    assert [(e.item.type, e.item.role) for e in told[1:]] == [
        ("message", "user"),
        ("message", "assistant"),
        ("function_call", None),
        ("message", "user"),
        ("message", "system"),
    ]
    assert [type(e).__name__ for e in (*s.told(events.Reconnecting), *s.told(events.Reconnected))] == [
        "Reconnecting",
        "Reconnected",
    ]
    assert len(s.asked(commands.Resume)) == 1
    assert creates(s) == [], "nothing is greeted, nothing asked twice"
    finish(s, output="shipped")
    assert s.outputs() == {"call_x": "shipped"}
    assert len(s.asked(commands.RunTool)) == 1
    assert len(creates(s)) == 1


def test_a_reply_lost_half_way_is_asked_for_again():
    s = script()
    growing_reply(s, "Good morning", " to you")
    s.model.feed(base.ModelLost(message="gone"), base.ModelConnected(attempt=2))
    assert len(creates(s)) == 1
    assert s.machine.history[0].status == "incomplete"


def test_a_request_lost_on_the_way_is_asked_again():
    s = script()
    s.say("hello")
    s.model.feed(base.ModelLost(message="gone"), base.ModelConnected(attempt=2))
    assert len(creates(s)) == 2


def test_approvals_outlive_a_model_session():
    s = waiting_refund()
    s.model.feed(base.ModelLost(message="gone"))
    s.do(inputs.ApprovalGiven(call_id="call_x", approved=True))
    finish(s, output="refunded")
    s.model.feed(base.ModelConnected(attempt=2))
    assert s.outputs() == {"call_x": "refunded"}
    assert len(creates(s)) == 1
    assert len(s.told(events.ToolApprovalRequested)) == 1


def test_the_agent_after_a_hand_off_is_the_one_who_comes_back():
    s = script()
    s.model.feed(base.ModelLost(message="gone"))
    s.do(inputs.AgentSwitched(agent=BILLING))
    s.model.feed(base.ModelConnected(attempt=2))
    assert s.sent(client.SessionUpdate)[0].session["tools"][0]["name"] == "invoice"


def test_a_restored_item_that_is_cut_after_all_is_told_anew():
    s = script()
    s.model.reply("one two three four five six seven eight")
    item_id = s.machine.history[0].item_id
    s.model.feed(base.ModelLost(message="gone"), base.ModelConnected(attempt=2))
    barge_in(s, item_id, heard_ms=1200, audio_ms=2400)
    assert [e.item_id for e in s.sent(client.ConversationItemDelete)] == [item_id]
    assert s.sent(client.ConversationItemCreate)[-1].item.content[0].text == "one two three four"
    assert s.texts()[0] == ("assistant", "one two three four")


def test_a_transport_that_never_comes_back_ends_the_session():
    s = script()
    s.model.feed(base.ModelLost(message="gone"))
    s.wait(200)
    assert s.asked(commands.Close)[0].error is not None


def test_a_model_that_will_not_have_us_ends_the_session():
    s = script()
    s.model.feed(base.ModelLost(message="wrong key", code=401, retryable=False))
    assert s.told(events.SessionError)[0].fatal
    assert s.asked(commands.Close)[0].error == "wrong key"


def test_before_its_end_a_model_session_is_changed_at_a_quiet_moment():
    s = script(rotate_after_s=100.0)
    s.model.reply("Hello")
    s.wait(101)
    assert len(s.asked(commands.Rotate)) == 1
    response_id, _ = growing_reply(s, "I am talking")
    s.model.feed(base.SpareReady())
    assert s.asked(commands.Switch) == []
    s.model.feed(
        server.ResponseDone(response=Response(id=response_id, status="completed")),
        base.PlaybackFinished(response_id=response_id, item_id="a", content_index=0, audio_ms=1000),
    )
    assert len(s.asked(commands.Switch)) == 1
    order = [type(c).__name__ for c in s.commands]
    assert order.index("Switch") < order.index("Resume")
    assert s.told(events.Reconnecting)[0].planned
    assert creates(s) == []
    s.wait(101)
    assert len(s.asked(commands.Rotate)) == 2


def test_a_spare_that_never_comes_is_asked_for_again():
    s = script(rotate_after_s=100.0)
    s.wait(170)
    assert len(s.asked(commands.Rotate)) == 2
