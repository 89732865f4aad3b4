"""Hand-offs from one agent to another."""

from support.machine_script import BILLING, called, creates, finish, script

from realtime_bridge.session import commands, events, inputs
from realtime_bridge.wire import client


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
