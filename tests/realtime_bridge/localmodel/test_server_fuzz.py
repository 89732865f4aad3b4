"""Frames of all kinds of nonsense: the session answers, goes on, and keeps its promises."""

import base64
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.scripted_model import silence, tone
from support.virtual_client import VirtualClient, message

from realtime_bridge.localmodel.model_session import Limits
from realtime_bridge.localmodel.parts import CallTool, Say
from realtime_bridge.localmodel.refusals import CLIENT_EVENT_TYPES


@pytest.mark.parametrize(
    ("frame", "code", "param", "event_id"),
    [
        ("not json", "invalid_json", None, None),
        ("", "invalid_json", None, None),
        ("[]", "invalid_event", None, None),
        ("7", "invalid_event", None, None),
        ("{}", "missing_required_parameter", "type", None),
        ('{"type":"nope","event_id":"e1"}', "invalid_value", "type", "e1"),
        ('{"type":5,"event_id":"e2"}', "invalid_value", "type", "e2"),
        ('{"type":"response.cancel","event_id":5}', "invalid_type", "event_id", None),
        (
            '{"type":"conversation.item.delete","event_id":"e3"}',
            "missing_required_parameter",
            "item_id",
            "e3",
        ),
        ('{"type":"session.update","session":[],"event_id":"e4"}', "invalid_type", "session", "e4"),
        ('{"type":"output_audio_buffer.clear","event_id":"e5"}', "invalid_value", "type", "e5"),
        (b"\xff\xfe", "invalid_json", None, None),
        ('{"type":' * 100_000, "invalid_json", None, None),
        ('{"type":"session.update","session":' + '{"a":' * 100_000, "invalid_json", None, None),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_event_id(frame, code, param, event_id):
    client = VirtualClient()

    [event] = client.send_frame(frame)

    assert event["type"] == "error"
    assert (event["error"]["code"], event["error"]["param"], event["error"]["event_id"]) == (code, param, event_id)


def test_an_unknown_event_is_told_which_ones_there_are():
    [event] = VirtualClient().send("nope")

    assert event["error"]["message"].startswith("Invalid value: 'nope'. Supported values are: 'session.update', ")


def test_settings_nested_too_deeply_are_refused_and_the_session_goes_on():
    client = VirtualClient()
    deep = '{"a":' * 900 + "1" + "}" * 900
    frame = f'{{"type":"session.update","session":{{"type":"realtime","prompt":{deep}}}}}'

    client.send_frame(frame)
    client.send_frame(frame)

    assert client.update(instructions="Still here.")["instructions"] == "Still here."


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 20_000) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_audio = st.sampled_from([silence(60), tone(60), silence(400), tone(400), b""]).map(
    lambda audio: base64.b64encode(audio).decode()
)
_ids = st.sampled_from(["a", "b", "root", "LAST_ITEM", "LAST_RESPONSE", ""])
_items = st.sampled_from(
    [
        message("hello"),
        message("hi", "assistant", id="a"),
        {"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c", "id": "b"},
        {"type": "function_call_output", "call_id": "c", "output": "x"},
        {"type": "message", "role": "user", "content": [{"type": "input_audio", "audio": ""}]},
    ]
)
_sessions = st.sampled_from(
    [
        {"type": "realtime"},
        {"type": "realtime", "output_modalities": ["text"]},
        {"type": "realtime", "output_modalities": ["audio"]},
        {"type": "realtime", "audio": {"input": {"turn_detection": None}}},
        {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}},
        {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 500}}}},
        {"type": "realtime", "audio": {"input": {"format": {"type": "audio/pcmu"}}}},
        {"type": "realtime", "audio": {"input": {"transcription": {"model": "x"}}}},
    ]
)
_fields = {
    "audio": _audio | _json,
    "item": _items | _json,
    "item_id": _ids | _json,
    "previous_item_id": _ids,
    "response_id": _ids,
    "content_index": st.integers(-1, 1) | _json,
    "audio_end_ms": st.integers(-10, 3000) | _json,
    "session": _sessions | _json,
    "response": st.none()
    | st.just({"conversation": "none"})
    | st.just({"input": [message("x")], "max_output_tokens": 3})
    | _json,
    "event_id": st.none() | st.text(max_size=5),
}
_events = st.fixed_dictionaries({"type": st.sampled_from([*CLIENT_EVENT_TYPES, "nope"])}, optional=_fields)
_good_events = st.one_of(
    st.fixed_dictionaries({"type": st.just("input_audio_buffer.append"), "audio": _audio}),
    st.fixed_dictionaries({"type": st.just("response.create")}),
    st.fixed_dictionaries(
        {
            "type": st.just("conversation.item.truncate"),
            "item_id": _ids,
            "content_index": st.just(0),
            "audio_end_ms": st.integers(0, 1500),
        }
    ),
)
_frames = (_good_events | _events).map(json.dumps)
_steps = st.lists(_frames | st.text(max_size=20) | st.binary(max_size=20) | st.floats(0, 2), max_size=25)


def play(client: VirtualClient, steps) -> None:
    """Numbers let time pass, all else is sent. The client knows the last things that the server told it of."""
    for step in steps:
        if isinstance(step, float):
            client.wait(step)
        elif isinstance(step, str):
            items, responses = client.of("response.output_item.added"), client.of("response.created")
            frame = step.replace("LAST_ITEM", items[-1]["item"]["id"] if items else "none")
            client.send_frame(frame.replace("LAST_RESPONSE", responses[-1]["response"]["id"] if responses else "none"))
        else:
            client.send_frame(step)


@given(_steps)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_client_breaks_a_session_and_every_response_ends_once(steps):
    responses = [[Say("One two three. Four."), CallTool("f", {"x": 1})]] * 50
    client = VirtualClient(*responses, hears=["yes", "and"] * 50, limits=Limits(items_max=10, input_seconds_max=3))

    play(client, steps)
    client.wait(100)

    assert client.update(instructions="Still here.")["instructions"] == "Still here."
    created = [event["response"]["id"] for event in client.of("response.created")]
    done = [event["response"]["id"] for event in client.of("response.done")]
    assert sorted(created) == sorted(done)
    assert len(set(done)) == len(done)
    added = [event["item"]["id"] for event in client.of("response.output_item.added")]
    finished = [event["item"]["id"] for event in client.of("response.output_item.done")]
    assert sorted(added) == sorted(finished)
    event_ids = [event["event_id"] for event in client.events]
    assert len(set(event_ids)) == len(event_ids)


@given(_steps)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_same_inputs_give_the_same_events(steps):
    def run():
        client = VirtualClient(*[[Say("One two three.")]] * 50, hears=["yes"] * 50)
        play(client, steps)
        return client.events

    assert run() == run()
