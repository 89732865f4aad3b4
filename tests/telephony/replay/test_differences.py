"""What changed between a call and its replay: which behaviour, in which words."""

import json

import pytest

from realtime_bridge.tape import Source, TapeRecord
from telephony.replay.differences import behaviour, clock, differences
from telephony.replay.junit import JUnitCase, junit_xml
from telephony.replay.reports import Reports

SPEECH = b'{"type":"input_audio_buffer.speech_started"}'
CLEAR = (Source.TO_PHONE, b'{"event":"clear","streamSid":"MZ1"}')


def to_model(kind, **fields):
    return Source.TO_MODEL, json.dumps({"type": kind, **fields}).encode()


def to_phone(kind, **fields):
    return Source.TO_PHONE, json.dumps({"event": kind, **fields}).encode()


def truncate(audio_end_ms, event_id="bridge_1"):
    return to_model("conversation.item.truncate", event_id=event_id, item_id="a", audio_end_ms=audio_end_ms)


def found(taped, replayed):
    return differences(61.5, Source.MODEL, SPEECH, taped, replayed)


def test_the_same_bytes_differ_in_nothing():
    assert found([CLEAR, truncate(500)], [CLEAR, truncate(500)]) == []


def test_a_changed_field_is_named_with_both_values():
    [difference] = found([CLEAR, truncate(500)], [CLEAR, truncate(700)])
    assert difference.what == "truncation"
    assert str(difference).split("\n")[:2] == [
        "1:01.500 truncation: audio_end_ms 500 → 700",
        "  after the model's input_audio_buffer.speech_started: " + SPEECH.decode(),
    ]


def test_one_answer_more_does_not_make_all_that_follow_look_changed():
    marks = [to_phone("mark", mark={"name": f"m{n}"}) for n in range(5)]
    [difference] = found([*marks, truncate(500)], [CLEAR, *marks, truncate(500)])
    assert (difference.what, difference.taped, difference.replayed) == ("clear", None, CLEAR)


def test_an_answer_at_another_place_is_told_of_once():
    [difference] = found([CLEAR, truncate(500)], [truncate(500), CLEAR])
    assert difference.taped == difference.replayed
    assert "at another place" in str(difference)


def test_a_running_number_is_a_consequence_and_a_length_is_none():
    assert found([truncate(500, "bridge_1")], [truncate(500, "bridge_2")])[0].only_numbers
    assert found([to_phone("mark", mark={"name": "m1"})], [to_phone("mark", mark={"name": "m2"})])[0].only_numbers
    assert not found([truncate(500)], [truncate(501)])[0].only_numbers
    assert not found([truncate(500)], [])[0].only_numbers


def test_thousands_of_answers_are_compared_in_time():
    many = [to_phone("media", n=n) for n in range(50_000)]
    assert len(found(many, [*many[:-1], CLEAR])) == 1


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (CLEAR, "clear"),
        (to_phone("media"), "media"),
        (to_model("session.update", session={}), "session_update"),
        (to_model("response.create"), "response"),
        (to_model("response.cancel"), "response"),
        (to_model("input_audio_buffer.append"), "caller_audio"),
        (to_model("conversation.item.create", item={"type": "function_call_output"}), "tool"),
        (to_model("conversation.item.create", item={"type": "message"}), "conversation"),
        (to_model("made.up"), "made.up"),
        ((Source.TO_PHONE, b'#0123 {"event":"media","streamSid":"MZ'), "media"),
        ((Source.TO_MODEL, b'#0123 {"type":"session.upd'), "session_update"),
        ((Source.FROM_SESSION, b'{"do":"run_tool","call_id":"c"}'), "tool"),
        ((Source.FROM_SESSION, b'{"do":"send","event":{"type":"response.create"}}'), "response"),
        ((Source.FROM_SESSION, b'{"do":"emit","event":{"type":"agent_handoff"}}'), "handoff"),
        ((Source.FROM_SESSION, b'#0123 {"do":"emit","event":{"type":"history_up'), "history"),
        ((Source.FROM_SESSION, b"\xff"), "session"),
        ((Source.SESSION, b'{"type":"playback_interrupted"}'), "interruption"),
    ],
)
def test_every_answer_has_a_name(answer, what):
    assert behaviour(answer) == what


def test_times_of_a_call_are_minutes_and_seconds():
    assert [clock(s) for s in (0, 9.9996, 61.25, 3600)] == ["0:00.000", "0:10.000", "1:01.250", "60:00.000"]


def test_what_no_xml_can_hold_is_replaced():
    written = junit_xml("tapes", [JUnitCase(name="a\0b", group="g", seconds=1, failure="\x1b[31m<&>\ud800")])
    assert b"a\xef\xbf\xbdb" in written
    assert b"&lt;&amp;&gt;" in written


# ---- what the bridge tells the session

OPENING = TapeRecord(0.0, Source.SESSION, b'{"type":"opening"}')
STARTED = b'{"type":"playback_started","response_id":"r","item_id":"a","content_index":0}'
FINISHED = b'{"type":"playback_finished","response_id":"r","item_id":"a","content_index":0,"audio_ms":900}'


@pytest.fixture
def told():
    """Reports of a bridge that has told of an item's beginning and end."""
    from realtime_bridge.transport.base import PlaybackFinished, PlaybackStarted

    reports = Reports()
    assert reports.taped(OPENING) == []
    item = {"response_id": "r", "item_id": "a", "content_index": 0}
    tick = TapeRecord(1.0, Source.TIMER, b"{}")
    reports.replayed([PlaybackStarted(**item), PlaybackFinished(**item, audio_ms=900)], tick)
    return reports


def heard(reports, *payloads):
    return [d for payload in payloads for d in reports.taped(TapeRecord(2.0, Source.SESSION, payload))]


def test_reports_that_the_session_got_differ_in_nothing(told):
    elsewhere = [
        b'{"type":"tick"}',
        b'{"type":"model_connected","attempt":1}',
        b'{"type":"transport_problem","message":"x"}',
    ]
    assert heard(told, elsewhere[0], STARTED, *elsewhere[1:], FINISHED) == []


def test_a_report_with_other_contents_is_a_difference(told):
    [difference] = heard(told, STARTED, FINISHED.replace(b"900", b"800"))
    assert str(difference).startswith("0:01.000 playback: audio_ms 800 → 900")


def test_a_report_that_is_no_longer_given_is_a_difference(told):
    [difference] = heard(told, STARTED, b'{"type":"dtmf_received","digit":"1"}', FINISHED)
    assert (difference.what, difference.replayed) == ("keys", None)


def test_a_report_that_was_not_given_is_a_difference(told):
    [difference] = heard(told, FINISHED)
    assert (difference.what, difference.taped) == ("playback", None)


def test_reports_that_nobody_read_before_the_end_are_no_difference(told):
    assert heard(told, STARTED) == []
