"""The answers to Twilio's webhooks."""

from xml.etree import ElementTree as ET

import pytest

from realtime_bridge.errors import MisuseError
from telephony.twilio.twiml import PARAMETER_CHARS_MAX, Overflow, connect_stream, goodbye, overflow


def test_a_call_is_joined_to_its_media_socket():
    response = ET.fromstring(connect_stream("wss://phone.example.com/twilio/media", {"token": 't<o&k"en', "a": "b"}))
    stream = response.find("Connect/Stream")
    assert stream.get("url") == "wss://phone.example.com/twilio/media"
    assert {p.get("name"): p.get("value") for p in stream} == {"token": 't<o&k"en', "a": "b"}
    assert [child.tag for child in response] == ["Connect"]


def test_verbs_may_follow_the_stream():
    document = connect_stream("wss://a/b", {}, then=lambda response: response.dial("+15005550006"))
    assert [child.tag for child in ET.fromstring(document)] == ["Connect", "Dial"]


def test_what_twilio_would_drop_is_refused():
    with pytest.raises(MisuseError, match="query"):
        connect_stream("wss://a/b?token=x", {})
    with pytest.raises(MisuseError, match="'token'"):
        connect_stream("wss://a/b", {"token": "x" * PARAMETER_CHARS_MAX})


def verbs(document):
    return [(child.tag, child.text) for child in ET.fromstring(document)]


def test_a_goodbye_is_said_before_the_hang_up():
    assert verbs(goodbye("All lines are busy & so on")) == [("Say", "All lines are busy & so on"), ("Hangup", None)]
    assert verbs(goodbye()) == [("Hangup", None)]


@pytest.mark.parametrize(
    ("to", "verb"),
    [({}, []), ({"number": "+15550100"}, [("Dial", "+15550100")]), ({"queue": "night"}, [("Enqueue", "night")])],
)
def test_a_caller_whom_nobody_can_talk_to_gets_a_message_and_what_the_owner_has_set(to, verb):
    assert verbs(overflow(Overflow(message="Busy.", **to))) == [("Say", "Busy."), *verb, ("Hangup", None)]
