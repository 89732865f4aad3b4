"""Opening a session, and changing its settings."""

import pytest
from support.virtual_client import VirtualClient, message, types

from realtime_bridge.localmodel.model_session import Limits
from realtime_bridge.localmodel.parts import Say


def test_a_session_begins_with_its_settings_and_its_conversation():
    client = VirtualClient()

    assert types(client.events) == ["session.created", "conversation.created"]
    session = client.events[0]["session"]
    assert session["object"] == "realtime.session"
    assert session["type"] == "realtime"
    assert session["model"] == "local"
    assert session["output_modalities"] == ["audio"]
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}
    assert session["audio"]["input"]["transcription"] is None
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 500,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    }
    assert client.events[1]["conversation"]["object"] == "realtime.conversation"


def test_an_update_changes_what_it_names_and_shows_the_whole_session():
    client = VirtualClient()

    client.update(instructions="Be brief.", audio={"output": {"voice": "cedar"}})
    session = client.update(audio={"input": {"turn_detection": {"threshold": 0.8}}})

    assert session["instructions"] == "Be brief."
    assert session["audio"]["output"]["voice"] == "cedar"
    assert session["audio"]["input"]["turn_detection"]["threshold"] == 0.8
    assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 500


def test_formats_are_set_apart_for_input_and_output():
    client = VirtualClient()

    session = client.update(
        audio={"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcma"}}}
    )

    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert session["audio"]["output"]["format"] == {"type": "audio/pcma"}


def test_turn_detection_of_another_type_starts_from_its_own_defaults():
    client = VirtualClient()

    session = client.update(audio={"input": {"turn_detection": {"type": "semantic_vad"}}})

    assert session["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "auto",
        "create_response": True,
        "interrupt_response": True,
    }


def test_null_turns_detection_and_transcription_off():
    client = VirtualClient()
    client.update(audio={"input": {"transcription": {"model": "whisper-1"}}})

    session = client.update(audio={"input": {"transcription": None, "turn_detection": None}})

    assert session["audio"]["input"]["transcription"] is None
    assert session["audio"]["input"]["turn_detection"] is None


def test_tools_come_back_as_they_were_given_and_an_empty_list_clears_them():
    tool = {"type": "function", "name": "find", "parameters": {"type": "object", "properties": {}}}
    client = VirtualClient()

    assert client.update(tools=[tool], tool_choice="required")["tools"] == [tool]
    assert client.update(tools=[])["tools"] == []


def test_the_model_is_fixed_by_the_connection():
    assert VirtualClient().update(model="another")["model"] == "local"


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"type": "realtime", "bogus": 1}, "unknown_parameter", "session.bogus"),
        ({"instructions": "no type"}, "missing_required_parameter", "session.type"),
        ({"type": "transcription"}, "invalid_value", "session.type"),
        ({"type": "session"}, "invalid_value", "session.type"),
        ({"type": "realtime", "instructions": 7}, "invalid_type", "session.instructions"),
        ({"type": "realtime", "output_modalities": ["text", "audio"]}, "invalid_value", "session.output_modalities"),
        ({"type": "realtime", "output_modalities": ["smell"]}, "invalid_value", "session.output_modalities[0]"),
        ({"type": "realtime", "max_output_tokens": 0}, "integer_below_min_value", "session.max_output_tokens"),
        ({"type": "realtime", "max_output_tokens": 5000}, "integer_above_max_value", "session.max_output_tokens"),
        ({"type": "realtime", "tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
        ({"type": "realtime", "tool_choice": "sometimes"}, "invalid_value", "session.tool_choice"),
        ({"type": "realtime", "turn_detection": None}, "unknown_parameter", "session.turn_detection"),
        (
            {"type": "realtime", "audio": {"input": {"format": "pcm16"}}},
            "invalid_type",
            "session.audio.input.format",
        ),
        (
            {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
            "integer_below_min_value",
            "session.audio.input.format.rate",
        ),
        (
            {"type": "realtime", "audio": {"input": {"format": {"type": "audio/opus"}}}},
            "invalid_value",
            "session.audio.input.format.type",
        ),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 1.5}}}},
            "decimal_above_max_value",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "x"}}}},
            "invalid_value",
            "session.audio.input.turn_detection.eagerness",
        ),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "semantic_vad", "threshold": 0.5}}}},
            "unknown_parameter",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"type": "realtime", "audio": {"output": {"speed": 3}}},
            "decimal_above_max_value",
            "session.audio.output.speed",
        ),
    ],
)
def test_a_wrong_setting_is_refused_by_name_and_the_whole_update_with_it(session, code, param):
    client = VirtualClient()
    before = client.update()

    [event] = client.send("session.update", event_id="mine", session={"tool_choice": "none", **session})

    assert event["type"] == "error"
    assert event["error"]["type"] == "invalid_request_error"
    assert event["error"]["code"] == code
    assert event["error"]["param"] == param
    assert event["error"]["event_id"] == "mine"
    assert client.update() == before


def test_errors_use_the_words_of_the_api():
    client = VirtualClient()

    def complaint(**session):
        [event] = client.send("session.update", session=session)
        return event["error"]["message"]

    assert complaint(type="realtime", bogus=1) == "Unknown parameter: 'session.bogus'."
    assert complaint() == "Missing required parameter: 'session.type'."
    assert (
        complaint(type="realtime", audio={"input": {"format": "pcm16"}})
        == "Invalid type for 'session.audio.input.format': expected an object, but got a string instead."
    )
    assert complaint(type="transcription") == (
        "Passing a transcription session update event to a realtime session is not allowed."
    )


def test_the_voice_can_change_only_until_the_assistant_has_spoken():
    client = VirtualClient([Say("Hello.")])
    client.update(audio={"output": {"voice": "cedar"}})
    client.send("response.create")
    client.wait(2)

    [event] = client.send("session.update", session={"type": "realtime", "audio": {"output": {"voice": "ash"}}})
    assert event["error"]["code"] == "cannot_update_voice"
    assert event["error"]["message"] == "Cannot update a conversation's voice if assistant audio is present."
    assert event["error"]["param"] is None

    assert client.update(instructions="New.", audio={"output": {"voice": "cedar"}})["instructions"] == "New."


def test_written_replies_leave_the_voice_free():
    client = VirtualClient([Say("Hello.")])
    client.update(output_modalities=["text"])
    client.send("response.create")
    client.wait(2)

    assert client.update(audio={"output": {"voice": "ash"}})["audio"]["output"]["voice"] == "ash"


def test_a_session_expires_with_an_error_and_closes():
    client = VirtualClient(limits=Limits(session_seconds=3600))

    assert client.wait(3599) == []
    [event] = client.wait(1)

    assert event["error"]["code"] == "session_expired"
    assert event["error"]["message"] == "Your session hit the maximum duration of 60 minutes."
    assert client.model.closed is not None
    assert client.model.closed.code == 1001
    assert client.wait(10_000) == []


def test_changing_the_input_format_empties_the_buffer_and_keeps_the_offsets():
    client = VirtualClient([], hears=["yes"])
    client.play(bytes(48 * 1000))
    client.update(audio={"input": {"format": {"type": "audio/pcmu"}}})

    [refused] = client.send("input_audio_buffer.commit")
    assert refused["error"]["code"] == "input_audio_buffer_commit_empty"
    loud_mulaw = b"\x00\x80" * 4000
    client.play(loud_mulaw, bytes_per_ms=8)
    assert 1000 <= client.last("input_audio_buffer.speech_started")["audio_start_ms"] <= 1032


def test_instructions_and_tools_reach_the_brain():
    client = VirtualClient([])
    tool = {"type": "function", "name": "find", "parameters": {}}
    client.update(instructions="Be brief.", tools=[tool], tool_choice={"type": "function", "name": "find"})
    client.send("conversation.item.create", item=message("hello"))
    client.send("response.create")
    client.wait(1)

    [turn] = client.brain.turns
    assert turn.instructions == "Be brief."
    assert turn.tools == (tool,)
    assert turn.tool_choice == {"type": "function", "name": "find"}
    assert turn.items[0].content[0].text == "hello"
