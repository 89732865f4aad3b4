"""The answers to Twilio's webhooks."""

from xml.etree import ElementTree as ET

import pytest

from realtime_bridge.errors import MisuseError
from telephony.twilio.twiml import PARAMETER_CHARS_MAX, apologise, connect_stream


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


def test_an_apology_is_said_before_the_hang_up():
    response = ET.fromstring(apologise("All lines are busy & so on"))
    assert [(child.tag, child.text) for child in response] == [("Say", "All lines are busy & so on"), ("Hangup", None)]
