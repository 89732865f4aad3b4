"""One conversation over several model sessions."""

import pytest
from support.machine_script import BILLING, barge_in, called, creates, finish, growing_reply, script, waiting_refund

from realtime_bridge.session import commands, events, inputs
from realtime_bridge.session.specs import AgentSpec, McpSpec
from realtime_bridge.transport import base
from realtime_bridge.wire import Item, Response, client, server


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


@pytest.mark.parametrize(("transcript", "asked_again"), [("I want a refund", False), (None, True)])
def test_a_caller_whose_turn_was_lost_is_answered_or_asked_again(transcript, asked_again):
    s = script()
    s.model.reply("Hello")
    s.model.feed(server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"))
    s.model.feed(server.InputAudioBufferSpeechStopped(audio_end_ms=0, item_id="u"))
    if transcript is not None:
        completed = {"item_id": "u", "content_index": 0, "transcript": transcript}
        s.model.feed(server.InputAudioTranscriptionCompleted(**completed))
    s.model.feed(base.ModelLost(message="gone"), base.ModelConnected(attempt=2))
    assert len(creates(s)) == 1
    note = s.sent(client.ConversationItemCreate)[-1].item.content[0].text
    assert ("say it again" in note) == asked_again


def test_a_hosted_servers_call_ends_with_its_model_session():
    s = script(AgentSpec(name="desk", mcp=(McpSpec(server_label="shop"),)))
    item = Item(type="mcp_approval_request", id="req_1", server_label="shop", name="buy", arguments="{}")
    s.model.feed(server.ConversationItemDone(item=item), base.ModelLost(message="gone"))
    assert [(e.approved, e.by) for e in s.told(events.ToolApprovalResolved)] == [(False, "model_lost")]
    s.do(inputs.ApprovalGiven(call_id="req_1", approved=True))
    s.model.feed(base.ModelConnected(attempt=2))
    assert all(e.item.type != "mcp_approval_response" for e in s.sent(client.ConversationItemCreate))


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


def of_twenty_seconds(**settings):
    """A session that the model will end after 20 s, as it says."""
    s = script(start=False, rotate_after_s=3300.0, **settings)
    s.now = 5000.0  # a machine's clock may show anything
    s.model.feed(server.SessionCreated(session={"expires_at": 1_000_020}))
    s.do(inputs.Started(unix_s=1_000_000.0))
    assert s.machine.next_deadline() == 5015.0
    assert s.asked(commands.Rotate) == []
    return s


def test_the_server_says_when_its_session_ends_and_the_next_one_says_so_too():
    s = of_twenty_seconds()
    s.wait(15.5)
    assert len(s.asked(commands.Rotate)) == 1
    s.model.feed(base.SpareReady(expires_at=1_000_035.5))
    assert len(s.asked(commands.Switch)) == 1
    assert s.machine.next_deadline() == 5030.5, "three quarters of its twenty seconds"


def test_a_session_that_comes_back_is_left_by_its_own_word():
    s = of_twenty_seconds()
    s.model.feed(base.ModelLost(message="gone"))
    s.wait(5)
    s.model.feed(base.ModelConnected(attempt=2), server.SessionCreated(session={"expires_at": 1_000_045}))
    assert s.machine.next_deadline() == 5035.0


def test_near_its_end_a_session_is_left_while_the_agents_words_still_play():
    s = of_twenty_seconds()
    s.wait(15.5)
    response_id, item_id = growing_reply(s, "I am talking")
    s.model.feed(base.SpareReady(expires_at=1_000_035.5))
    s.model.feed(server.ResponseDone(response=Response(id=response_id, status="completed")))
    s.wait(1)
    assert s.asked(commands.Switch) == [], "it may yet become quiet"
    s.wait(1.1)
    assert len(s.asked(commands.Switch)) == 1
    assert creates(s) == []
    s.model.feed(base.PlaybackFinished(response_id=response_id, item_id=item_id, content_index=0, audio_ms=1000))
    assert s.machine.history[0].heard_ms == 1000


def test_at_the_last_moment_a_session_is_left_in_the_middle_of_a_reply_which_is_asked_for_again():
    s = of_twenty_seconds()
    s.wait(15.5)
    growing_reply(s, "Good morning", " to you")
    s.model.feed(base.SpareReady(expires_at=1_000_035.5))
    s.wait(3.9)
    assert s.asked(commands.Switch) == []
    s.wait(0.2)
    assert len(s.asked(commands.Switch)) == 1
    assert len(creates(s)) == 1
    assert s.machine.history[0].status == "incomplete"


def test_a_hosted_call_that_waits_for_approval_keeps_its_session_as_long_as_can_be():
    s = of_twenty_seconds(agent=AgentSpec(name="desk", mcp=(McpSpec(server_label="shop"),)))
    item = Item(type="mcp_approval_request", id="req_1", server_label="shop", name="buy", arguments="{}")
    s.model.feed(server.ConversationItemDone(item=item))
    s.wait(15.5)
    s.model.feed(base.SpareReady(expires_at=1_000_035.5))
    assert s.asked(commands.Switch) == []
    s.wait(4.1)
    assert len(s.asked(commands.Switch)) == 1
    assert [e.by for e in s.told(events.ToolApprovalResolved)] == ["model_lost"]
