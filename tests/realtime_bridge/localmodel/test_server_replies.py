"""Responses: the order of their events, their pace, how they are cut short, and what they may override."""

import json

import pytest
from support.scripted_model import WORD_MS, silence, tone
from support.virtual_client import VirtualClient, message, types

from realtime_bridge.localmodel.inline import Delays
from realtime_bridge.localmodel.model_session import Limits
from realtime_bridge.localmodel.parts import CallTool, Say
from realtime_bridge.localmodel.reply import Pace

REAL_TIME = Pace(speed=1.0)


def respond(client: VirtualClient, **response):
    """Ask for a response and wait for it to end."""
    begin = len(client.events)
    client.send("response.create", response=response)
    client.wait(60)
    return client.events[begin:]


def test_a_spoken_reply_comes_in_the_documented_order():
    client = VirtualClient([Say("One two three.")])

    events = respond(client)

    assert types(events) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        *["response.output_audio_transcript.delta"] * 3,
        *["response.output_audio.delta"] * 4,
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "rate_limits.updated",
    ]


def test_a_reply_begins_empty_and_ends_whole():
    client = VirtualClient([Say("One two.")])
    respond(client)

    created = client.last("response.created")["response"]
    assert created["status"] == "in_progress"
    assert created["output"] == []
    assert created["usage"] is None
    assert created["status_details"] is None
    assert created["audio"]["output"] == {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin"}
    assert client.last("response.output_item.added")["item"]["content"] == []
    assert client.last("response.output_item.added")["item"]["status"] == "in_progress"
    done = client.last("response.done")["response"]
    assert done["status"] == "completed"
    [item] = done["output"]
    assert item["status"] == "completed"
    assert item["content"] == [{"type": "output_audio", "transcript": "One two."}]
    assert client.last("response.content_part.done")["part"] == {"type": "audio", "transcript": "One two."}


def test_words_run_ahead_of_their_sound_sentence_by_sentence():
    client = VirtualClient([Say("One two. Three four.")])
    respond(client)

    kinds = "".join(
        {"response.output_audio_transcript.delta": "w", "response.output_audio.delta": "s"}.get(event["type"], "")
        for event in client.events
    )
    assert kinds == "wwsssww" + "sss"
    words = [event["delta"] for event in client.of("response.output_audio_transcript.delta")]
    assert (
        "".join(words) == client.last("response.output_audio_transcript.done")["transcript"] == "One two. Three four."
    )


@pytest.mark.parametrize("speed", [1.0, 8.0, 0.5])
def test_audio_comes_at_the_speed_that_was_asked_for(speed):
    client = VirtualClient([Say("one " * 40)], pace=Pace(speed=speed))
    respond(client)

    times = [
        time
        for time, event in zip(client.times, client.events, strict=True)
        if event["type"] == "response.output_audio.delta"
    ]
    sent_ms = 40 * WORD_MS - 200  # before the last delta
    assert times[-1] - times[0] == pytest.approx(sent_ms / 1000 / speed)


@pytest.mark.parametrize(
    ("name", "ms_bytes"), [("audio/pcm", 48), ("audio/pcmu", 8), ("audio/pcma", 8)], ids=["pcm", "pcmu", "pcma"]
)
def test_deltas_are_as_long_as_asked_for_in_every_format(name, ms_bytes):
    client = VirtualClient([Say("One two three.")], pace=Pace(delta_ms=100))
    client.update(audio={"output": {"format": {"type": name}}})
    respond(client)

    item_id = client.last("response.output_item.done")["item"]["id"]
    assert len(client.audio(item_id)) == 3 * WORD_MS * ms_bytes
    assert len(client.of("response.output_audio.delta")) == 8  # seven of 100 ms, one of 50


def test_several_things_said_in_a_row_make_one_message():
    client = VirtualClient([Say("One two."), Say("Three.")])
    respond(client)

    assert len(client.of("response.output_item.added")) == 1
    assert client.last("response.output_audio_transcript.done")["transcript"] == "One two. Three."


def test_a_function_call_streams_its_arguments():
    arguments = {"city": "Vienna", "nights": 3, "breakfast": True}
    client = VirtualClient([CallTool("book", arguments)])

    events = respond(client)

    assert types(events) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        *["response.function_call_arguments.delta"] * 3,
        "response.function_call_arguments.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "rate_limits.updated",
    ]
    deltas = "".join(event["delta"] for event in client.of("response.function_call_arguments.delta"))
    done = client.last("response.function_call_arguments.done")
    item = client.last("response.output_item.done")["item"]
    assert json.loads(deltas) == json.loads(done["arguments"]) == json.loads(item["arguments"]) == arguments
    assert done["name"] == item["name"] == "book"
    assert item["status"] == "completed"
    assert done["call_id"] == item["call_id"]
    assert client.last("conversation.item.added")["item"]["arguments"] == ""


def test_a_response_can_hold_a_message_and_then_a_call_which_waits_for_the_last_of_the_sound():
    client = VirtualClient([Say("One moment please."), CallTool("look")], pace=REAL_TIME)
    respond(client)

    order = types(client.events)
    assert order.index("response.function_call_arguments.done") > order.index("response.output_audio.done")
    assert [item["type"] for item in client.last("response.done")["response"]["output"]] == ["message", "function_call"]
    assert [event["output_index"] for event in client.of("response.output_item.done")] == [0, 1]
    message_item, call = client.last("response.done")["response"]["output"]
    assert client.last("conversation.item.added")["previous_item_id"] == message_item["id"]
    client.send("conversation.item.retrieve", item_id=call["id"])
    assert client.last("conversation.item.retrieved")["item"]["name"] == "look"


def test_the_result_of_a_call_reaches_the_brain_and_its_answer_the_client():
    client = VirtualClient([CallTool("look", {"id": 7})], [Say("It is there.")])
    respond(client)
    call_id = client.last("response.output_item.done")["item"]["call_id"]

    client.send(
        "conversation.item.create", item={"type": "function_call_output", "call_id": call_id, "output": '"found"'}
    )
    respond(client)

    call, output = client.brain.turns[1].items
    assert (call.type, call.name, call.arguments) == ("function_call", "look", '{"id":7}')
    assert (output.type, output.call_id, output.output) == ("function_call_output", call_id, '"found"')
    assert client.last("response.output_audio_transcript.done")["transcript"] == "It is there."


def test_a_written_reply_has_text_and_no_sound():
    client = VirtualClient([Say("One two."), Say("Three.")])
    client.update(output_modalities=["text"])

    events = respond(client)

    assert types(events) == [
        "response.created",
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        *["response.output_text.delta"] * 3,
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "rate_limits.updated",
    ]
    assert client.last("response.content_part.added")["part"] == {"type": "text", "text": ""}
    deltas = [event["delta"] for event in client.of("response.output_text.delta")]
    assert "".join(deltas) == client.last("response.output_text.done")["text"] == "One two. Three."
    [item] = client.last("response.done")["response"]["output"]
    assert item["content"] == [{"type": "output_text", "text": "One two. Three."}]


def test_a_brain_that_decides_nothing_gives_an_empty_response():
    client = VirtualClient([])

    assert types(respond(client)) == ["response.created", "response.done", "rate_limits.updated"]
    assert client.last("response.done")["response"]["output"] == []


def test_a_response_overrides_the_session_for_itself_only():
    client = VirtualClient([Say("One.")], [Say("Two.")])
    client.update(instructions="Session.", tools=[{"type": "function", "name": "find"}])

    respond(client, instructions="Response.", tools=[], output_modalities=["text"], metadata={"topic": "x"})
    respond(client)

    first, second = client.brain.turns
    assert (first.instructions, first.tools) == ("Response.", ())
    assert (second.instructions, second.tools) == ("Session.", ({"type": "function", "name": "find"},))
    created = [event["response"] for event in client.of("response.created")]
    assert [response["metadata"] for response in created] == [{"topic": "x"}, None]
    assert [response["output_modalities"] for response in created] == [["text"], ["audio"]]
    assert client.of("response.done")[0]["response"]["metadata"] == {"topic": "x"}


def test_a_response_can_be_given_other_items_to_read():
    client = VirtualClient([Say("Sure.")])
    client.send("conversation.item.create", item=message("first", id="item_a"))
    client.send("conversation.item.create", item=message("second"))

    respond(client, input=[{"type": "item_reference", "id": "item_a"}, message("instead")])

    [turn] = client.brain.turns
    assert [item.content[0].text for item in turn.items] == ["first", "instead"]


def test_an_empty_input_clears_the_context():
    client = VirtualClient([Say("Sure.")])
    client.send("conversation.item.create", item=message("first"))

    respond(client, input=[])

    assert client.brain.turns[0].items == ()


def test_an_out_of_band_response_runs_beside_and_leaves_no_trace():
    client = VirtualClient([Say("one " * 40)], [Say("Summary.")], pace=REAL_TIME)
    client.send("response.create")
    client.wait(1)

    client.send("response.create", response={"conversation": "none", "metadata": {"kind": "summary"}})
    client.wait(2)

    [done] = client.of("response.done")
    assert done["response"]["metadata"] == {"kind": "summary"}
    assert done["response"]["conversation_id"] is None
    assert done["response"]["status"] == "completed"
    [item] = done["response"]["output"]
    assert item["id"] not in {event["item"]["id"] for event in client.of("conversation.item.added")}
    assert client.send("conversation.item.retrieve", item_id=item["id"])[0]["type"] == "error"
    client.wait(60)
    assert client.last("response.done")["response"]["conversation_id"] is not None


def test_out_of_band_responses_are_limited():
    client = VirtualClient(*[[Say("one two three")]] * 3, limits=Limits(out_of_band_max=2))
    for _ in range(2):
        client.send("response.create", response={"conversation": "none"})

    [refused] = client.send("response.create", response={"conversation": "none"})
    assert refused["error"]["code"] == "too_many_active_responses"


def test_a_second_response_is_refused_while_one_is_active():
    client = VirtualClient([Say("one " * 40)], pace=REAL_TIME)
    client.send("response.create")
    client.wait(1)

    [event] = client.send("response.create", event_id="again")

    active = client.last("response.created")["response"]["id"]
    assert event["error"]["code"] == "conversation_already_has_active_response"
    assert event["error"]["message"] == (
        f"Conversation already has an active response in progress: {active}. "
        "Wait until the response is finished before creating a new one."
    )
    assert event["error"]["event_id"] == "again"


def test_cancelling_ends_the_response_where_it_is():
    client = VirtualClient([Say("one " * 40), CallTool("look")], pace=REAL_TIME)
    client.send("response.create")
    client.wait(2.05)

    events = client.send("response.cancel")

    assert types(events) == [
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "conversation.item.done",
        "response.done",
        "rate_limits.updated",
    ]
    done = client.last("response.done")["response"]
    assert done["status"] == "cancelled"
    assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    [item] = done["output"]
    assert item["status"] == "incomplete"
    assert len(client.audio(item["id"])) == 11 * 200 * 48
    assert client.wait(60) == []


def test_only_the_named_response_is_cancelled():
    client = VirtualClient([Say("one " * 40)], [Say("two " * 40)], pace=REAL_TIME)
    client.send("response.create")
    client.send("response.create", response={"conversation": "none"})
    client.wait(1)
    own, beside = (event["response"]["id"] for event in client.of("response.created"))

    client.send("response.cancel", response_id=beside)
    client.wait(1)
    assert [event["response"]["id"] for event in client.of("response.done")] == [beside]
    client.send("response.cancel")
    assert client.last("response.done")["response"]["id"] == own


@pytest.mark.parametrize("fields", [{}, {"response_id": "resp_unknown"}])
def test_cancelling_nothing_is_refused(fields):
    client = VirtualClient([Say("Hello.")])
    respond(client)

    [event] = client.send("response.cancel", event_id="c", **fields)

    assert event["error"] == {
        "type": "invalid_request_error",
        "code": "response_cancel_not_active",
        "message": "Cancellation failed: no active response found",
        "param": None,
        "event_id": "c",
    }


def test_speech_of_the_caller_cuts_the_reply_and_truncates_nothing():
    client = VirtualClient([Say("one " * 40)], [Say("Yes?")], hears=["stop"], pace=REAL_TIME)
    client.send("response.create")
    client.play(silence(1000) + tone(1000) + silence(1000))
    client.wait(10)

    order = types(client.events)
    assert order.index("input_audio_buffer.speech_started") < order.index("response.done")
    cut, answer = (event["response"] for event in client.of("response.done"))
    assert cut["status"] == "cancelled"
    assert cut["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert cut["output"][0]["status"] == "incomplete"
    assert answer["status"] == "completed"
    assert not client.of("conversation.item.truncated")
    client.send("conversation.item.retrieve", item_id=cut["output"][0]["id"])
    assert client.last("conversation.item.retrieved")["item"]["content"][0]["transcript"].startswith("one one")


def test_the_caller_does_not_cut_a_reply_that_is_not_to_be_interrupted():
    client = VirtualClient([Say("one " * 20)], hears=["hello"], pace=REAL_TIME)
    client.update(audio={"input": {"turn_detection": {"interrupt_response": False}}})
    client.send("response.create")
    client.play(silence(500) + tone(1000) + silence(1000))

    assert client.of("input_audio_buffer.committed")
    assert client.last("error")["error"]["code"] == "conversation_already_has_active_response"
    client.wait(10)
    assert client.last("response.done")["response"]["status"] == "completed"


def test_an_out_of_band_response_is_not_cut_by_the_caller():
    client = VirtualClient([Say("one " * 20)], [], hears=["hello"], pace=REAL_TIME)
    client.send("response.create", response={"conversation": "none"})
    client.play(silence(500) + tone(1000) + silence(1000))
    client.wait(10)

    assert {event["response"]["status"] for event in client.of("response.done")} == {"completed"}


def test_a_reply_that_waits_for_the_words_can_be_interrupted():
    client = VirtualClient([Say("Hm?")], hears=["first", "second"], delays=Delays(recognise=2.0))
    client.play(silence(400) + tone(500) + silence(700) + tone(500) + silence(700))
    client.wait(10)

    first, second = (event["response"] for event in client.of("response.done"))
    assert first["status"] == "cancelled"
    assert first["output"] == []
    assert second["status"] == "completed"
    [turn] = client.brain.turns
    assert [item.content[0].transcript for item in turn.items] == ["first", "second"]


def test_a_response_ends_incomplete_when_its_tokens_are_used_up():
    client = VirtualClient([Say("one " * 400)])

    respond(client, max_output_tokens=150)

    done = client.last("response.done")["response"]
    assert done["status"] == "incomplete"
    assert done["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert done["output"][0]["status"] == "incomplete"
    assert done["max_output_tokens"] == 150


def test_written_text_is_cut_at_the_limit_too():
    client = VirtualClient([Say("word " * 100), CallTool("look")])

    respond(client, output_modalities=["text"], max_output_tokens=10)

    assert client.last("response.done")["response"]["status"] == "incomplete"
    assert client.last("response.output_text.done")["text"].count("word") < 20


@pytest.mark.parametrize("broken", [[Say("One two."), RuntimeError("no idea")], [Say("I am mute.")]])
def test_a_brain_or_a_voice_that_fails_ends_the_response_as_failed(broken):
    client = VirtualClient(broken, [Say("Back again.")])

    respond(client)

    done = client.last("response.done")["response"]
    assert done["status"] == "failed"
    assert done["status_details"]["error"]["type"] == "server_error"
    assert done["status_details"]["error"]["message"] in ("no idea", "the voice has no words")
    assert respond(client)
    assert client.last("response.done")["response"]["status"] == "completed"


def test_usage_counts_what_was_read_and_what_was_said():
    client = VirtualClient([Say("One two three four.")], hears=["hello"])
    client.update(instructions="x" * 400)
    client.play(silence(400) + tone(1000) + silence(700))
    client.wait(10)

    usage = client.last("response.done")["response"]["usage"]
    assert usage["input_token_details"]["text_tokens"] == 100
    assert usage["input_token_details"]["audio_tokens"] == pytest.approx(18, abs=1)
    assert usage["input_token_details"]["cached_tokens"] == 0
    assert usage["output_token_details"]["audio_tokens"] == 4 * WORD_MS / 50
    assert usage["output_token_details"]["text_tokens"] == 5
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@pytest.mark.parametrize(
    ("response", "code", "param"),
    [
        ({"bogus": 1}, "unknown_parameter", "response.bogus"),
        ({"conversation": "other"}, "invalid_value", "response.conversation"),
        ({"output_modalities": []}, "invalid_value", "response.output_modalities"),
        ({"metadata": {"key": 1}}, "invalid_type", "response.metadata[...]"),
        ({"metadata": {str(n): "" for n in range(17)}}, "object_above_max_length", "response.metadata"),
        ({"input": [{"type": "item_reference", "id": "nope"}]}, "invalid_value", "response.input[0].id"),
        ({"input": [message("a"), {"type": "message"}]}, "missing_required_parameter", "response.input[1].role"),
        ({"input": [{"role": "user"}]}, "missing_required_parameter", "response.input[0].type"),
        ({"audio": {"output": {"format": {"type": "x"}}}}, "invalid_value", "response.audio.output.format.type"),
    ],
)
def test_wrong_overrides_are_refused_by_name(response, code, param):
    client = VirtualClient()

    [event] = client.send("response.create", response=response)

    assert (event["error"]["code"], event["error"]["param"]) == (code, param)


def test_another_voice_is_refused_once_the_assistant_has_spoken_but_not_out_of_band():
    client = VirtualClient([Say("Hello.")], [Say("Aside.")])
    respond(client)
    other = {"output": {"voice": "cedar"}}

    assert client.send("response.create", response={"audio": other})[0]["error"]["code"] == "cannot_update_voice"
    assert respond(client, audio=other, conversation="none")[-2]["response"]["status"] == "completed"
