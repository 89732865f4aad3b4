"""Talking: messages, turns, interruptions, history."""

import pytest
from support.machine_script import (
    barge_in,
    called,
    creates,
    finish,
    script,
)

from realtime_bridge.session import commands, events, inputs
from realtime_bridge.session.items import message
from realtime_bridge.transport import base
from realtime_bridge.wire import ContentPart, Item, Response, ResponseStatusDetails, client, server


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


def test_nobody_heard_an_orphan_that_was_complete_before_it_could_be_cancelled():
    s = script()
    s.say("hello")
    s.do(inputs.InterruptWanted())
    response_id = s.model.begin(creates(s)[0])
    item = Item(type="message", id="a", role="assistant", status="in_progress", content=())
    where = {"response_id": response_id, "output_index": 0}
    s.model.feed(
        server.ResponseOutputItemAdded(item=item, **where),
        server.ResponseOutputAudioTranscriptDone(transcript="Hello there.", item_id="a", content_index=0, **where),
        base.AudioReceived(response_id=response_id, item_id="a", content_index=0, audio_ms=700),
        server.ResponseDone(response=Response(id=response_id, status="completed")),
    )
    assert (s.machine.history[-1].text, s.machine.history[-1].unheard) == ("", "Hello there.")


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
