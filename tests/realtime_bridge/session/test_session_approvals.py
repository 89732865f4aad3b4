"""People's say, for function tools and for hosted ones."""

import pytest
from support.machine_script import (
    BILLING,
    MachineScript,
    barge_in,
    called,
    creates,
    finish,
    script,
    waiting_refund,
)

from realtime_bridge.approvals import ApprovalSettings
from realtime_bridge.session import commands, events, inputs
from realtime_bridge.session.specs import AgentSpec, McpSpec, ToolSpec
from realtime_bridge.wire import Item, Response, client, server


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


def test_a_request_says_whether_the_caller_may_decide_it_themself():
    assert waiting_refund().told(events.ToolApprovalRequested)[0].request.approval_by_caller is None
    s = MachineScript(AgentSpec(name="desk", tools=(ToolSpec(name="refund", checked=True, approval_by_caller="1"),)))
    called(s, "refund", "{}")
    s.do(inputs.CallChecked(call_id="call_x", needs_approval=True))
    assert s.told(events.ToolApprovalRequested)[0].request.approval_by_caller == "1"


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
