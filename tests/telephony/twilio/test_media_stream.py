"""The media-stream codec: round trips, the order of messages, and everything a hostile or broken peer may send."""

import json

import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.errors import MisuseError
from telephony.twilio.media_stream import (
    FRAME_BYTES_MAX,
    SEQUENCE_JUMP_MAX,
    MediaStreamReader,
    MediaStreamWriter,
    PhoneSideWriter,
    StreamState,
    decode_command,
    decode_message,
)
from telephony.twilio.messages import (
    MULAW_8KHZ,
    ClearAudio,
    Connected,
    Dtmf,
    MalformedMessageError,
    Mark,
    Media,
    MediaFormatError,
    MediaStreamError,
    MessageOrderError,
    OversizedFrameError,
    PayloadError,
    PlayMark,
    PlayMedia,
    Start,
    Stop,
    UnknownMessageError,
    WrongStreamError,
)

STREAM, ACCOUNT, CALL = "MZ18ad3ab5a668481ce02b83e7395059f0", "AC0123", "CA4567"
names = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)  # lone surrogates are no text in any encoding
audio = st.binary(min_size=1, max_size=400)

# As Twilio's documentation prints them, but for the shortened audio.
DOCUMENTED = [
    '{"event":"connected","protocol":"Call","version":"1.0.0"}',
    (
        '{"event":"start","sequenceNumber":"1","start":{"accountSid":"AC0123","streamSid":"MZ1","callSid":"CA4567",'
        '"tracks":["inbound"],"mediaFormat":{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1},'
        '"customParameters":{"FirstName":"Jane"}},"streamSid":"MZ1"}'
    ),
    (
        '{"event":"media","sequenceNumber":"3","media":{"track":"inbound","chunk":"1","timestamp":"5",'
        '"payload":"no+JhoaJjpz/"},"streamSid":"MZ1"}'
    ),
    '{"event":"dtmf","streamSid":"MZ1","sequenceNumber":"5","dtmf":{"track":"inbound_track","digit":"1"}}',
    '{"event":"mark","sequenceNumber":"6","streamSid":"MZ1","mark":{"name":"my label"}}',
    '{"event":"stop","sequenceNumber":"7","stop":{"accountSid":"AC0123","callSid":"CA4567"},"streamSid":"MZ1"}',
]


def phone_side() -> PhoneSideWriter:
    return PhoneSideWriter(stream_sid=STREAM, account_sid=ACCOUNT, call_sid=CALL)


def started() -> tuple[MediaStreamReader, PhoneSideWriter]:
    reader, phone = MediaStreamReader(), phone_side()
    reader.receive(phone.connected())
    reader.receive(phone.start())
    return reader, phone


def media_json(**changes) -> dict:
    """A valid media message; `changes` replace top-level fields or, as `media__x`, those of `media`. None deletes."""
    message = {
        "event": "media",
        "sequenceNumber": "2",
        "media": {"track": "inbound", "chunk": "1", "timestamp": "0", "payload": "////"},
        "streamSid": STREAM,
    }
    for name, value in changes.items():
        target, key = (message["media"], name[7:]) if name.startswith("media__") else (message, name)
        if value is None:
            del target[key]
        else:
            target[key] = value
    return message


def test_the_documented_examples_are_read():
    reader = MediaStreamReader()
    assert [reader.receive(frame) for frame in DOCUMENTED] == [
        Connected("Call", "1.0.0"),
        Start(1, "MZ1", "AC0123", "CA4567", ("inbound",), {"FirstName": "Jane"}, MULAW_8KHZ),
        Media(3, "MZ1", "inbound", 1, 5, b"no+JhoaJjpz/", pybase64.b64decode("no+JhoaJjpz/")),
        Dtmf(5, "MZ1", "inbound_track", "1"),
        Mark(6, "MZ1", "my label"),
        Stop(7, "MZ1", "AC0123", "CA4567"),
    ]
    assert reader.state is StreamState.STOPPED


def test_frames_may_be_text_or_bytes():
    as_text, as_bytes = MediaStreamReader(), MediaStreamReader()
    for frame in DOCUMENTED:
        assert as_text.receive(frame) == as_bytes.receive(frame.encode())


@given(st.lists(st.one_of(audio, names, st.sampled_from("0123456789*#ABCD")), max_size=20), names, names, names)
def test_what_a_phone_writes_the_server_reads(deeds, sid, parameter, value):
    phone = PhoneSideWriter(stream_sid="MZ" + sid, account_sid=ACCOUNT, call_sid="CA" + sid)
    reader = MediaStreamReader()
    reader.receive(phone.connected())
    start = reader.receive(phone.start({parameter: value}))
    assert (start.stream_sid, start.call_sid, start.custom_parameters) == ("MZ" + sid, "CA" + sid, {parameter: value})
    for number, deed in enumerate(deeds):
        if isinstance(deed, bytes):
            message = reader.receive(phone.media(deed, number * 20))
            assert (message.mulaw, message.timestamp_ms) == (deed, number * 20)
            assert pybase64.b64decode(message.payload) == deed
        elif len(deed) == 1 and deed in "0123456789*#ABCD":
            assert reader.receive(phone.dtmf(deed)).digit == deed
        else:
            assert reader.receive(phone.mark(deed)).name == deed
    assert reader.receive(phone.stop()).sequence_number == len(deeds) + 2


@given(st.text(st.characters(exclude_categories=["Cs"])), audio, names)
def test_what_the_server_writes_a_phone_reads(sid, mulaw, name):
    writer = MediaStreamWriter(sid)
    payload = pybase64.b64encode(mulaw)
    assert decode_command(writer.media(mulaw)) == PlayMedia(sid, payload, mulaw)
    assert writer.media_base64(payload) == writer.media(mulaw)
    assert decode_command(writer.mark(name)) == PlayMark(sid, name)
    assert decode_command(writer.clear()) == ClearAudio(sid)


def test_server_frames_are_spelt_as_twilio_documents_them():
    writer = MediaStreamWriter("MZ1")
    assert json.loads(writer.media(b"\xff\xff\xff")) == {
        "event": "media",
        "streamSid": "MZ1",
        "media": {"payload": "////"},
    }
    assert json.loads(writer.mark('a"b')) == {"event": "mark", "streamSid": "MZ1", "mark": {"name": 'a"b'}}
    assert json.loads(writer.clear()) == {"event": "clear", "streamSid": "MZ1"}


def test_a_slash_may_be_escaped_in_a_payload():
    reader, _ = started()
    frame = json.dumps(media_json()).replace("////", r"\/\/\/\/")
    assert reader.receive(frame).payload == b"////"


MALFORMED = [
    pytest.param(b"", MalformedMessageError, "", id="empty"),
    pytest.param(b"hello", MalformedMessageError, "", id="no JSON"),
    pytest.param(b"[]", MalformedMessageError, "", id="no object"),
    pytest.param(b"null", MalformedMessageError, "", id="null"),
    pytest.param(b"{}", MalformedMessageError, "", id="no event"),
    pytest.param(b'{"event":7}', MalformedMessageError, "$.event", id="event is a number"),
    pytest.param(b'{"event":"media"', MalformedMessageError, "", id="truncated"),
    pytest.param(b'{"event":"' + b"x" * 5000 + b'"}', UnknownMessageError, "$.event", id="long unknown event"),
    pytest.param(b'{"event":"Media"}', UnknownMessageError, "$.event", id="events are case sensitive"),
    pytest.param(b'{"event":"clear","streamSid":"MZ1"}', UnknownMessageError, "$.event", id="a server's message"),
    pytest.param(b'{"event":"mark\xff"}', MalformedMessageError, "", id="no UTF-8"),
    pytest.param(b'{"x":' + b"[" * 60_000, MalformedMessageError, "", id="deep nesting"),
    pytest.param(b" " * (FRAME_BYTES_MAX + 1), OversizedFrameError, "", id="oversized"),
    pytest.param(media_json(sequenceNumber=None), MalformedMessageError, "", id="no sequenceNumber"),
    pytest.param(media_json(sequenceNumber=""), MalformedMessageError, "$.sequenceNumber", id="empty number"),
    pytest.param(media_json(sequenceNumber="two"), MalformedMessageError, "$.sequenceNumber", id="number in words"),
    pytest.param(media_json(sequenceNumber="-2"), MalformedMessageError, "$.sequenceNumber", id="negative number"),
    pytest.param(media_json(sequenceNumber=True), MalformedMessageError, "$.sequenceNumber", id="number is a bool"),
    pytest.param(media_json(sequenceNumber="9" * 40), MalformedMessageError, "$.sequenceNumber", id="huge number"),
    pytest.param(media_json(streamSid=None), MalformedMessageError, "", id="no streamSid"),
    pytest.param(media_json(streamSid=5), MalformedMessageError, "$.streamSid", id="streamSid is a number"),
    pytest.param(media_json(streamSid="MZ0"), WrongStreamError, "$.streamSid", id="another stream"),
    pytest.param(media_json(media=[]), MalformedMessageError, "$.media", id="media is a list"),
    pytest.param(media_json(media__track="outbound"), MalformedMessageError, "$.media.track", id="our own audio"),
    pytest.param(media_json(media__timestamp="1.5"), MalformedMessageError, "$.media.timestamp", id="half a ms"),
    pytest.param(media_json(media__chunk=None), MalformedMessageError, "$.media", id="no chunk"),
    pytest.param(media_json(media__payload=None), MalformedMessageError, "$.media", id="no payload"),
    pytest.param(media_json(media__payload=7), MalformedMessageError, "$.media.payload", id="payload is a number"),
    pytest.param(media_json(media__payload=""), PayloadError, "$.media.payload", id="empty payload"),
    pytest.param(media_json(media__payload="//!/"), PayloadError, "$.media.payload", id="payload is not base64"),
    pytest.param(media_json(media__payload="////\n"), PayloadError, "$.media.payload", id="line break in base64"),
    pytest.param(media_json(media__payload="__-_"), PayloadError, "$.media.payload", id="URL-safe base64"),
    pytest.param(media_json(media__payload="//8"), PayloadError, "$.media.payload", id="base64 without its padding"),
    pytest.param(media_json(media__payload="////é"), PayloadError, "$.media.payload", id="payload is not ASCII"),
    pytest.param({"event": "dtmf", "sequenceNumber": "2", "streamSid": STREAM, "dtmf": {"track": "i", "digit": "E"}},
                 MalformedMessageError, "$.dtmf.digit", id="no such key"),
    pytest.param({"event": "dtmf", "sequenceNumber": "2", "streamSid": STREAM, "dtmf": {"track": "i", "digit": "12"}},
                 MalformedMessageError, "$.dtmf.digit", id="two keys at once"),
    pytest.param({"event": "mark", "sequenceNumber": "2", "streamSid": STREAM, "mark": {}},
                 MalformedMessageError, "$.mark", id="mark without name"),
    pytest.param({"event": "mark", "sequenceNumber": "2", "streamSid": "MZ0", "mark": {"name": "a"}},
                 WrongStreamError, "$.streamSid", id="mark of another stream"),
    pytest.param({"event": "stop", "sequenceNumber": "2", "streamSid": STREAM,
                  "stop": {"accountSid": ACCOUNT, "callSid": "CA0"}},
                 WrongStreamError, "$.stop.callSid", id="stop of another call"),
]  # fmt: skip


@pytest.mark.parametrize(("frame", "error", "where"), MALFORMED)
def test_a_bad_frame_is_named_and_the_call_goes_on(frame, error, where):
    reader, phone = started()
    with pytest.raises(MediaStreamError) as caught:
        reader.receive(frame if isinstance(frame, bytes) else json.dumps(frame))
    assert type(caught.value) is error
    assert caught.value.where == where
    assert len(str(caught.value)) < 300
    assert reader.receive(phone.media(b"\xff" * 160, 0)).sequence_number == 2


@pytest.mark.parametrize(
    ("change", "error", "where"),
    [
        ({"mediaFormat": {"encoding": "audio/x-alaw", "sampleRate": 8000, "channels": 1}}, MediaFormatError,
         "$.start.mediaFormat"),
        ({"mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 16000, "channels": 1}}, MediaFormatError,
         "$.start.mediaFormat"),
        ({"mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 2}}, MediaFormatError,
         "$.start.mediaFormat"),
        ({"streamSid": "MZ0"}, WrongStreamError, "$.start.streamSid"),
        ({"callSid": ""}, MalformedMessageError, "$.start.callSid"),
        ({"tracks": "inbound"}, MalformedMessageError, "$.start.tracks"),
        ({"customParameters": {"a": 1}}, MalformedMessageError, "$.start.customParameters[...]"),
    ],
)  # fmt: skip
def test_a_bad_start_is_named_and_a_good_one_may_follow(change, error, where):
    reader, phone = MediaStreamReader(), phone_side()
    reader.receive(phone.connected())
    good = phone.start()
    bad = json.loads(good)
    bad["start"].update(change)
    with pytest.raises(error) as caught:
        reader.receive(json.dumps(bad))
    assert caught.value.where == where
    assert isinstance(reader.receive(good), Start)


def test_custom_parameters_may_be_absent():
    start = json.loads(phone_side().start())
    del start["start"]["customParameters"]
    assert MediaStreamReader().receive(json.dumps(start)).custom_parameters == {}


def test_nothing_but_connected_and_start_comes_before_start():
    reader, phone = MediaStreamReader(), phone_side()
    start = phone.start()
    for frame in (phone.media(b"\xff", 0), phone.mark("a"), phone.dtmf("1"), phone.stop()):
        with pytest.raises(MessageOrderError, match="before `start`"):
            reader.receive(frame)
    reader.receive(phone.connected())
    with pytest.raises(MessageOrderError, match="twice"):
        reader.receive(phone.connected())
    assert isinstance(reader.receive(start), Start)


def test_a_lost_connected_does_not_cost_the_call():
    assert isinstance(MediaStreamReader().receive(phone_side().start()), Start)


def test_a_second_start_and_anything_after_stop_are_refused():
    reader, phone = started()
    for frame in (phone.start(), phone.connected()):
        with pytest.raises(MessageOrderError, match="after `start`"):
            reader.receive(frame)
    reader.receive(phone.stop())
    for frame in (phone.media(b"\xff", 0), phone.mark("a"), phone.stop(), phone.start(), phone.connected()):
        with pytest.raises(MessageOrderError, match="after `stop`"):
            reader.receive(frame)


def sequence_of(reader: MediaStreamReader, number: int) -> int | None:
    try:
        return reader.receive(json.dumps(media_json(sequenceNumber=str(number)))).sequence_number
    except MessageOrderError as e:
        assert e.where == "$.sequenceNumber"  # noqa: PT017 - the caller asserts whether there is an error
        return None


def test_repeated_and_overtaken_messages_are_refused_and_gaps_let_pass():
    reader, _ = started()
    assert [sequence_of(reader, n) for n in (2, 2, 5, 4, 6, 6 + SEQUENCE_JUMP_MAX)] == [
        2, None, 5, None, 6, 6 + SEQUENCE_JUMP_MAX,
    ]  # fmt: skip


def test_one_wild_sequence_number_changes_nothing_but_two_in_a_row_are_believed():
    reader, _ = started()
    assert [sequence_of(reader, n) for n in (2, 900_000, 3, 4)] == [2, None, 3, 4]
    assert [sequence_of(reader, n) for n in (900_000, 900_001, 900_002)] == [None, 900_001, 900_002]


def test_a_phone_writer_refuses_a_negative_time():
    with pytest.raises(MisuseError):
        phone_side().media(b"\xff", -1)


def test_a_recorded_message_is_read_as_it_was_in_the_call_wherever_it_stood():
    reader, phone = started()
    frames = [phone.media(b"\x12\x34", 20), phone.dtmf("#"), phone.mark("m7"), phone.stop()]
    heard = [reader.receive(frame) for frame in frames]
    assert [decode_message(frame) for frame in reversed(frames)] == heard[::-1]


@pytest.mark.parametrize("frame", [phone_side().connected(), phone_side().start(), b"{", b'{"event":"media"}'])
def test_what_is_no_message_of_a_running_call_is_not_read_from_a_recording(frame):
    with pytest.raises(MediaStreamError):
        decode_message(frame)


def test_what_a_peer_wrote_makes_no_second_log_line():
    with pytest.raises(UnknownMessageError, match=r"Invalid value 'a\?forged'"):
        MediaStreamReader().receive('{"event":"a\\nforged"}')


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_only_typed_errors(frame):
    reader, phone = started()
    for receive in (reader.receive, decode_command):
        with pytest.raises(MediaStreamError):
            receive(frame)
    assert isinstance(reader.receive(phone.mark("a")), Mark)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_a_message_with_one_field_replaced_by_anything_raises_only_typed_errors(data):
    reader = MediaStreamReader()
    start = DOCUMENTED[1]
    frame = json.loads(data.draw(st.sampled_from(DOCUMENTED)))
    target = frame[frame["event"]] if data.draw(st.booleans()) and frame["event"] in frame else frame
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(json_values)
    for text in (start, json.dumps(frame)):
        try:
            reader.receive(text)
        except MediaStreamError:
            continue
    with pytest.raises(MessageOrderError):
        reader.receive(start)


@given(st.sampled_from(DOCUMENTED), st.integers(min_value=0), st.binary(max_size=4))
def test_a_message_with_bytes_overwritten_raises_only_typed_errors(text, position, junk):
    frame = bytearray(text.encode())
    position %= len(frame)
    frame[position : position + len(junk)] = junk
    reader = MediaStreamReader()
    for each in (DOCUMENTED[1], bytes(frame)):
        try:
            reader.receive(each)
        except MediaStreamError:
            continue
    assert reader.state in (StreamState.STREAMING, StreamState.STOPPED)
