"""Conversation items: created, fetched, cut and deleted by the client."""

import base64

import pytest
from support.scripted_model import WORD_MS, silence, tone
from support.virtual_client import VirtualClient, message, types

from realtime_bridge.localmodel.model_session import Limits
from realtime_bridge.localmodel.parts import Say
from realtime_bridge.localmodel.reply import Pace


def spoken_item(client: VirtualClient) -> str:
    """Let the assistant speak; returns the item's id."""
    client.send("response.create")
    client.wait(60)
    return client.last("response.output_item.done")["item"]["id"]


def texts_read(client: VirtualClient) -> list[str | None]:
    """What the brain reads at its next turn."""
    client.send("response.create", response={"output_modalities": ["text"]})
    client.wait(60)
    return [item.content[0].text or item.content[0].transcript for item in client.brain.turns[-1].items]


def test_a_created_item_is_added_and_done():
    client = VirtualClient()

    added, done = client.send("conversation.item.create", item=message("hello", id="item_mine"))

    assert (added["type"], done["type"]) == ("conversation.item.added", "conversation.item.done")
    assert added["previous_item_id"] is None
    assert added["item"] == done["item"]
    assert done["item"] == {
        "id": "item_mine",
        "object": "realtime.item",
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_text", "text": "hello"}],
    }


@pytest.mark.parametrize("role", ["user", "assistant", "system"])
def test_every_role_can_be_restored_as_text(role):
    client = VirtualClient()
    client.send("conversation.item.create", item=message("hello", role))

    assert texts_read(client) == ["hello"]
    assert client.brain.turns[0].items[0].role == role


def test_items_go_where_the_client_puts_them():
    client = VirtualClient()
    client.send("conversation.item.create", item=message("two", id="b"))
    client.send("conversation.item.create", item=message("four", id="d"), previous_item_id="")
    between = client.send("conversation.item.create", item=message("three", id="c"), previous_item_id="b")
    first = client.send("conversation.item.create", item=message("one", id="a"), previous_item_id="root")

    assert [event["previous_item_id"] for event in between + first] == ["b", "b", None, None]
    assert texts_read(client) == ["one", "two", "three", "four"]


def test_an_unknown_predecessor_is_refused_and_the_item_not_added():
    client = VirtualClient()

    [event] = client.send("conversation.item.create", item=message("x", id="x"), previous_item_id="nope", event_id="e")

    assert event["error"]["code"] == "item_create_invalid_previous_item_id"
    assert event["error"]["message"] == "Error adding item: the previous item with id 'nope' does not exist."
    assert event["error"]["event_id"] == "e"
    assert client.send("conversation.item.retrieve", item_id="x")[0]["type"] == "error"


def test_an_id_can_be_used_once():
    client = VirtualClient()
    client.send("conversation.item.create", item=message("x", id="x"))

    [event] = client.send("conversation.item.create", item=message("y", id="x"))

    assert event["error"]["code"] == "item_create_duplicate_item_id"
    assert event["error"]["message"] == "Error adding item: an item with id 'x' already exists."


def test_a_restored_call_and_its_output_are_read_by_the_brain():
    client = VirtualClient()
    call = {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"}
    client.send("conversation.item.create", item=call)
    client.send("conversation.item.create", item={"type": "function_call_output", "call_id": "call_1", "output": "7"})
    client.send("response.create")
    client.wait(1)

    assert [item.type for item in client.brain.turns[0].items] == ["function_call", "function_call_output"]


def test_the_output_of_an_unknown_call_is_refused():
    client = VirtualClient()
    output = {"type": "function_call_output", "call_id": "call_x", "output": "7"}

    [event] = client.send("conversation.item.create", item=output)

    assert event["error"]["code"] == "invalid_tool_call_id"
    assert event["error"]["message"] == "Tool call ID 'call_x' not found in conversation."


def test_audio_can_be_brought_as_an_item_and_is_recognised():
    client = VirtualClient([], hears=["what I said"])
    client.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
    audio = base64.b64encode(silence(300) + tone(800) + silence(300)).decode()
    item = {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": audio}]}

    [added, _] = client.send("conversation.item.create", item=item)
    client.send("response.create")
    client.wait(1)

    assert "audio" not in added["item"]["content"][0]
    assert client.brain.turns[0].items[0].content[0].transcript == "what I said"
    assert not [event for event in client.events if "transcription" in event["type"]]  # that is for the buffer


@pytest.mark.parametrize(
    ("item", "code", "param"),
    [
        ({}, "missing_required_parameter", "item.type"),
        ({"type": "mcp_call"}, "invalid_value", "item.type"),
        ({"type": "message", "content": []}, "missing_required_parameter", "item.role"),
        ({"type": "message", "role": "user"}, "missing_required_parameter", "item.content"),
        ({"type": "message", "role": "boss", "content": []}, "invalid_value", "item.role"),
        ({"type": "message", "role": "user", "content": "hello"}, "invalid_type", "item.content"),
        (
            {"type": "message", "role": "user", "content": [{"type": "text", "text": "x"}]},
            "invalid_value",
            "item.content[0].type",
        ),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_text"}]},
            "missing_required_parameter",
            "item.content[0].text",
        ),
        (
            {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": "%"}]},
            "invalid_value",
            "item.content[0].audio",
        ),
        (
            {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "transcript": "x"}]},
            "missing_required_parameter",
            "item.content[0].text",
        ),
        ({"type": "function_call", "name": "x"}, "missing_required_parameter", "item.arguments"),
        ({"type": "function_call_output", "output": "x"}, "missing_required_parameter", "item.call_id"),
        (message("x", id="i" * 33), "string_above_max_length", "item.id"),
    ],
)
def test_a_wrong_item_is_refused_by_name(item, code, param):
    client = VirtualClient()

    [event] = client.send("conversation.item.create", item=item)

    assert (event["error"]["code"], event["error"]["param"]) == (code, param)


def test_a_retrieved_item_brings_its_audio():
    client = VirtualClient([Say("One two.")])
    item_id = spoken_item(client)

    [event] = client.send("conversation.item.retrieve", item_id=item_id)

    [part] = event["item"]["content"]
    assert part["transcript"] == "One two."
    assert base64.b64decode(part["audio"]) == client.audio(item_id)


def test_the_oldest_audio_is_let_go_when_it_is_too_much():
    client = VirtualClient([Say("one " * 8)], [Say("two " * 8)], limits=Limits(audio_bytes_max=150_000))
    first, second = spoken_item(client), spoken_item(client)
    client.send("conversation.item.create", item=message("next"))

    client.send("conversation.item.retrieve", item_id=first)
    assert client.last("conversation.item.retrieved")["item"]["content"][0]["audio"] == ""
    client.send("conversation.item.retrieve", item_id=second)
    assert base64.b64decode(client.last("conversation.item.retrieved")["item"]["content"][0]["audio"])
    [event] = client.send("conversation.item.truncate", item_id=first, content_index=0, audio_end_ms=2001)
    assert event["error"]["message"] == "Audio content of 2000ms is already shorter than 2001ms"


def test_the_oldest_item_is_forgotten_when_there_are_too_many():
    client = VirtualClient(limits=Limits(items_max=3))
    for number in range(5):
        client.send("conversation.item.create", item=message(str(number), id=f"i{number}"))

    assert texts_read(client) == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("event_type", "code", "text"),
    [
        ("retrieve", "item_retrieve_invalid_item_id", "Error retrieving item: the item with id 'yo' does not exist."),
        ("delete", "item_delete_invalid_item_id", "Error deleting item: the item with id 'yo' does not exist."),
    ],
)
def test_unknown_items_are_refused_in_the_words_of_the_api(event_type, code, text):
    client = VirtualClient()

    [event] = client.send(f"conversation.item.{event_type}", item_id="yo", event_id="rci_yo")

    assert event["error"] == {
        "type": "invalid_request_error",
        "code": code,
        "message": text,
        "param": None,
        "event_id": "rci_yo",
    }


def test_a_deleted_item_is_gone_and_its_place_closed():
    client = VirtualClient()
    for name in "abc":
        client.send("conversation.item.create", item=message(name, id=name))

    assert client.send("conversation.item.delete", item_id="b")[0]["type"] == "conversation.item.deleted"

    assert client.send("conversation.item.delete", item_id="b")[0]["error"]["code"] == "item_delete_invalid_item_id"
    assert client.send("conversation.item.create", item=message("d"))[0]["previous_item_id"] == "c"
    assert texts_read(client) == ["a", "c", "d"]


def test_truncation_cuts_the_audio_and_drops_the_transcript():
    client = VirtualClient([Say("One two three four. Five six.")])
    item_id = spoken_item(client)

    [event] = client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=630)

    assert event["type"] == "conversation.item.truncated"
    assert (event["item_id"], event["content_index"], event["audio_end_ms"]) == (item_id, 0, 630)
    client.send("conversation.item.retrieve", item_id=item_id)
    [part] = client.last("conversation.item.retrieved")["item"]["content"]
    assert base64.b64decode(part["audio"]) == client.audio(item_id)[: 630 * 48]
    assert "transcript" not in part


@pytest.mark.parametrize(
    ("audio_end_ms", "words"),
    [(0, ""), (630, "One two"), (1250, "One two three four. Five"), (1500, "One two three four. Five six.")],
)
def test_the_brain_reads_what_was_heard_of_a_truncated_item(audio_end_ms, words):
    client = VirtualClient([Say("One two three four. Five six.")])
    item_id = spoken_item(client)
    client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=audio_end_ms)

    client.send("response.create")
    client.wait(1)

    assert client.brain.turns[-1].items[0].content[0].transcript == words


def test_a_truncated_item_can_be_truncated_again_but_not_lengthened():
    client = VirtualClient([Say("One two three four.")])
    item_id = spoken_item(client)

    def truncate(ms):
        return client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=ms)[0]

    assert truncate(500)["type"] == truncate(300)["type"] == truncate(0)["type"] == "conversation.item.truncated"
    assert truncate(1)["error"]["message"] == "Audio content of 0ms is already shorter than 1ms"


def test_a_truncation_longer_than_the_audio_is_refused():
    client = VirtualClient([Say("One two.")])
    item_id = spoken_item(client)

    [event] = client.send(
        "conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=2 * WORD_MS + 1, event_id="t"
    )

    assert event["error"] == {
        "type": "invalid_request_error",
        "code": "invalid_value",
        "message": "Audio content of 500ms is already shorter than 501ms",
        "param": None,
        "event_id": "t",
    }


def test_a_truncation_in_the_middle_of_a_reply_is_measured_against_what_was_sent():
    client = VirtualClient([Say("one " * 40)], pace=Pace(speed=1.0))
    client.send("response.create")
    client.wait(1.05)
    client.send("response.cancel")
    item_id = client.last("response.output_item.done")["item"]["id"]

    [refused] = client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=1300)
    assert refused["error"]["message"] == "Audio content of 1200ms is already shorter than 1300ms"
    [event] = client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=1000)
    assert event["type"] == "conversation.item.truncated"


def test_an_item_truncated_while_it_is_spoken_grows_no_more():
    client = VirtualClient([Say("one " * 10 + ". " + "two " * 10)], pace=Pace(speed=1.0))
    client.send("response.create")
    client.wait(1.05)
    item_id = client.last("response.output_item.added")["item"]["id"]
    client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=900)
    client.wait(60)

    client.send("conversation.item.retrieve", item_id=item_id)
    [part] = client.last("conversation.item.retrieved")["item"]["content"]
    assert len(base64.b64decode(part["audio"])) == 900 * 48
    assert "transcript" not in part


@pytest.mark.parametrize(
    "item", [message("typed", id="x"), message("typed", "assistant", id="x")], ids=["user", "written by the assistant"]
)
def test_only_audio_of_the_assistant_can_be_truncated(item):
    client = VirtualClient()
    client.send("conversation.item.create", item=item)

    [event] = client.send("conversation.item.truncate", item_id="x", content_index=0, audio_end_ms=0)

    assert event["error"]["code"] == "unsupported_content_type"
    assert event["error"]["message"] == "Only model output audio messages can be truncated"


def test_an_item_without_any_audio_yet_cannot_be_truncated():
    client = VirtualClient([Say("Hello.")])
    client.send("response.create")
    client.wait(0.01)
    item_id = client.last("response.output_item.added")["item"]["id"]
    assert not client.of("response.output_audio.delta")

    [event] = client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=0)
    assert event["error"]["code"] == "unsupported_content_type"


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"item_id": "nope"}, "item_truncate_invalid_item_id", None),
        ({"content_index": 1}, "invalid_value", "content_index"),
        ({"audio_end_ms": -1}, "integer_below_min_value", "audio_end_ms"),
        ({"audio_end_ms": 1.5}, "invalid_type", "audio_end_ms"),
    ],
)
def test_wrong_truncations_are_refused(fields, code, param):
    client = VirtualClient([Say("One two.")])
    item_id = spoken_item(client)

    [event] = client.send(
        "conversation.item.truncate", **{"item_id": item_id, "content_index": 0, "audio_end_ms": 100, **fields}
    )

    assert (event["error"]["code"], event["error"]["param"]) == (code, param)


def test_an_item_can_be_deleted_while_it_is_spoken():
    client = VirtualClient([Say("one " * 10)], pace=Pace(speed=1.0))
    client.send("response.create")
    client.wait(1)
    item_id = client.last("response.output_item.added")["item"]["id"]
    client.send("conversation.item.delete", item_id=item_id)
    events = client.wait(60)

    assert "response.output_item.done" in types(events)
    assert "conversation.item.done" not in types(events)
    assert client.last("response.done")["response"]["status"] == "completed"
