"""The codec of Twilio media streams, both ways, and a reader that judges the order of messages.

    phone -> us   read by `MediaStreamReader`, written by `PhoneSideWriter`
    us -> phone   written by `MediaStreamWriter`, read by `decode_command`

The second half of each row is the phone's end: simulated phones stand on the same codec as the server.

Bad input is answered by a `MediaStreamError` that names the field. The reader's state is as if the bad frame had never
come, so the call goes on with the next one.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from enum import Enum, auto
from typing import Annotated, Final, Literal

import msgspec
import pybase64

from realtime_bridge.errors import MisuseError
from telephony.twilio.messages import (
    MULAW_8KHZ,
    ClearAudio,
    Connected,
    Digit,
    Dtmf,
    MalformedMessageError,
    Mark,
    Media,
    MediaFormat,
    MediaFormatError,
    MediaStreamError,
    MessageOrderError,
    OversizedFrameError,
    PayloadError,
    PhoneCommand,
    PhoneMessage,
    PlayMark,
    PlayMedia,
    Start,
    Stop,
    UnknownMessageError,
    WrongStreamError,
)

FRAME_BYTES_MAX: Final = 64 * 1024  # a media message is about 380 bytes, and `start` carries at most a few kilobytes
SEQUENCE_JUMP_MAX: Final = 3000  # one minute of 20 ms frames; RFC 3550, appendix A.1, uses the same MAX_DROPOUT

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]  # Twilio sends numbers as strings; the decoder is lax about that


# --- on the wire: the same messages, nested as Twilio nests them -----------------------------------------------------


class _WireConnected(msgspec.Struct, tag_field="event", tag="connected"):
    protocol: str
    version: str


class _WireMessage(msgspec.Struct, tag_field="event", rename="camel", gc=False):
    sequence_number: Count
    stream_sid: str


class _StartBody(msgspec.Struct, rename="camel"):
    stream_sid: str
    account_sid: str
    call_sid: str
    tracks: tuple[str, ...]
    media_format: MediaFormat
    custom_parameters: dict[str, str] = {}


class _WireStart(_WireMessage, tag="start"):
    start: _StartBody


class _MediaBody(msgspec.Struct, gc=False):
    track: Literal["inbound"]  # a bidirectional stream carries the caller only; our own audio must never come back
    chunk: Count
    timestamp: Count
    payload: str


class _WireMedia(_WireMessage, tag="media", gc=False):
    media: _MediaBody


class _DtmfBody(msgspec.Struct):
    track: str
    digit: Digit


class _WireDtmf(_WireMessage, tag="dtmf"):
    dtmf: _DtmfBody


class _MarkBody(msgspec.Struct):
    name: str


class _WireMark(_WireMessage, tag="mark"):
    mark: _MarkBody


class _StopBody(msgspec.Struct, rename="camel"):
    account_sid: str
    call_sid: str


class _WireStop(_WireMessage, tag="stop"):
    stop: _StopBody


class _PayloadBody(msgspec.Struct, gc=False):
    payload: str


class _WirePlayMedia(msgspec.Struct, tag_field="event", tag="media", rename="camel", gc=False):
    stream_sid: str
    media: _PayloadBody


class _WirePlayMark(msgspec.Struct, tag_field="event", tag="mark", rename="camel"):
    stream_sid: str
    mark: _MarkBody


class _WireClear(msgspec.Struct, tag_field="event", tag="clear", rename="camel"):
    stream_sid: str


_phone_decoder = msgspec.json.Decoder(
    _WireConnected | _WireStart | _WireMedia | _WireDtmf | _WireMark | _WireStop, strict=False
)
_command_decoder = msgspec.json.Decoder(_WirePlayMedia | _WirePlayMark | _WireClear)
_to_json = msgspec.json.Encoder().encode


# --- reading ---------------------------------------------------------------------------------------------------------


class StreamState(Enum):
    OPENING = auto()  # before `connected`
    CONNECTED = auto()
    STREAMING = auto()
    STOPPED = auto()


_STREAMING: Final = StreamState.STREAMING  # a member looked up through its class costs more than the rest of the test


class MediaStreamReader:
    """Turns the frames of one socket into messages, in order.

    `connected` may be missing (it may have been malformed); `start` must come once before any other message, and `stop`
    is the last. Gaps in the sequence are let pass, since the audio's own timestamps tell how long they are.
    """

    def __init__(self) -> None:
        self.state = StreamState.OPENING
        self._start: Start | None = None
        self._stream_sid = ""
        self._sequence = 0
        self._resume_at = -1

    def receive(self, frame: bytes | str) -> PhoneMessage:
        """Judge one text frame (`bytes`: its UTF-8).

        Raises MediaStreamError; the frame then counts as never sent, and the next may be received.
        """
        if len(frame) > FRAME_BYTES_MAX:
            raise OversizedFrameError(f"{len(frame)} bytes, at most {FRAME_BYTES_MAX} are allowed")
        try:
            wire = _phone_decoder.decode(frame)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as e:
            raise _decode_error(e) from e
        if type(wire) is not _WireMedia:
            return self._rare(wire)
        # Media, fifty times a second per call: no calls that can be spared, arguments by position.
        if self.state is not _STREAMING:
            raise self._misplaced("media")
        if wire.stream_sid != self._stream_sid:
            raise _wrong_stream()
        body = wire.media
        payload, mulaw = _payload(body.payload)
        if wire.sequence_number == self._sequence + 1:
            self._sequence += 1
            self._resume_at = -1
        else:
            self._advance(wire.sequence_number)
        return Media(wire.sequence_number, wire.stream_sid, body.track, body.chunk, body.timestamp, payload, mulaw)

    def _rare(self, wire: _WireConnected | _WireStart | _WireMedia | _WireDtmf | _WireMark | _WireStop) -> PhoneMessage:
        if isinstance(wire, _WireConnected):
            return self._connected(wire)
        if isinstance(wire, _WireStart):
            return self._begin(wire)
        assert not isinstance(wire, _WireMedia), "media has its own way"
        return self._other(wire)

    def _connected(self, wire: _WireConnected) -> Connected:
        if self.state is not StreamState.OPENING:
            raise self._misplaced("connected")
        self.state = StreamState.CONNECTED
        return Connected(wire.protocol, wire.version)

    def _begin(self, wire: _WireStart) -> Start:
        body = wire.start
        if self._start is not None:
            raise self._misplaced("start")
        if not wire.stream_sid or body.stream_sid != wire.stream_sid:
            raise WrongStreamError("the two streamSid of `start` must be the same", where="$.start.streamSid")
        if not body.call_sid:
            raise MalformedMessageError("empty call SID", where="$.start.callSid")
        if body.media_format != MULAW_8KHZ:
            raise MediaFormatError(f"{body.media_format}, expected {MULAW_8KHZ}", where="$.start.mediaFormat")
        self._start = Start(
            sequence_number=wire.sequence_number,
            stream_sid=wire.stream_sid,
            account_sid=body.account_sid,
            call_sid=body.call_sid,
            tracks=body.tracks,
            custom_parameters=body.custom_parameters,
            media_format=body.media_format,
        )
        self._stream_sid = wire.stream_sid
        self._sequence = wire.sequence_number
        self.state = StreamState.STREAMING
        return self._start

    def _other(self, wire: _WireDtmf | _WireMark | _WireStop) -> Dtmf | Mark | Stop:
        if self._start is None or self.state is not StreamState.STREAMING:
            raise self._misplaced(str(wire.__struct_config__.tag))
        if wire.stream_sid != self._stream_sid:
            raise _wrong_stream()
        if isinstance(wire, _WireStop) and wire.stop.call_sid != self._start.call_sid:
            raise WrongStreamError("`stop` of another call", where="$.stop.callSid")
        self._advance(wire.sequence_number)
        if isinstance(wire, _WireStop):
            self.state = StreamState.STOPPED
        return _rare_message(wire)

    def _advance(self, sequence: int) -> None:
        """RFC 3550, appendix A.1: repeats, steps back and wild jumps are refused, until two frames in a row agree."""
        step = sequence - self._sequence
        if not 0 < step <= SEQUENCE_JUMP_MAX and sequence != self._resume_at:
            self._resume_at = sequence + 1
            raise MessageOrderError(f"{sequence} after {self._sequence}", where="$.sequenceNumber")
        self._sequence = sequence
        self._resume_at = -1

    def _misplaced(self, event: str) -> MessageOrderError:
        moment = {
            StreamState.OPENING: "before `start`",
            StreamState.CONNECTED: "before `start`" if event != "connected" else "twice",
            StreamState.STREAMING: "after `start`",
            StreamState.STOPPED: "after `stop`",
        }
        return MessageOrderError(f"`{event}` {moment[self.state]}", where="$.event")


def decode_message(frame: bytes | str) -> Media | Dtmf | Mark | Stop:
    """Read what a reader has let pass once; for recordings. Its order is not judged again. Raises MediaStreamError."""
    try:
        wire = _phone_decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as e:
        raise _decode_error(e) from e
    if isinstance(wire, _WireMedia):
        body = wire.media
        return Media(
            wire.sequence_number, wire.stream_sid, body.track, body.chunk, body.timestamp, *_payload(body.payload)
        )
    if isinstance(wire, _WireConnected | _WireStart):
        raise MessageOrderError("expected what comes after `start`", where="$.event")
    return _rare_message(wire)


def decode_command(frame: bytes | str) -> PhoneCommand:
    """Read what the server sent to the phone; for simulated phones. Raises MediaStreamError."""
    try:
        wire = _command_decoder.decode(frame)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as e:
        raise _decode_error(e) from e
    if isinstance(wire, _WirePlayMedia):
        return PlayMedia(wire.stream_sid, *_payload(wire.media.payload))
    if isinstance(wire, _WirePlayMark):
        return PlayMark(wire.stream_sid, wire.mark.name)
    return ClearAudio(wire.stream_sid)


def _rare_message(wire: _WireDtmf | _WireMark | _WireStop) -> Dtmf | Mark | Stop:
    match wire:
        case _WireDtmf():
            return Dtmf(wire.sequence_number, wire.stream_sid, wire.dtmf.track, wire.dtmf.digit)
        case _WireMark():
            return Mark(wire.sequence_number, wire.stream_sid, wire.mark.name)
        case _WireStop():
            return Stop(wire.sequence_number, wire.stream_sid, wire.stop.account_sid, wire.stop.call_sid)


def _payload(text: str) -> tuple[bytes, bytes]:
    """(base64 text, audio)"""
    try:
        payload = text.encode("ascii")
        mulaw = pybase64.b64decode(payload, None, True)  # by position: keywords cost a tenth
    except (Base64Error, UnicodeError) as e:
        raise PayloadError("not base64", where="$.media.payload") from e
    if not mulaw:
        raise PayloadError("empty", where="$.media.payload")
    return payload, mulaw


def _wrong_stream() -> WrongStreamError:
    return WrongStreamError("a message of another stream", where="$.streamSid")


def _decode_error(error: Exception) -> MediaStreamError:
    if isinstance(error, RecursionError):
        return MalformedMessageError("nested too deeply")
    if isinstance(error, UnicodeError):
        return MalformedMessageError("not UTF-8")
    message, _, where = str(error).partition(" - at ")
    where = where.strip("`")
    if where == "$.event" and message.startswith("Invalid value"):
        return UnknownMessageError(message, where=where)
    return MalformedMessageError(message, where=where)


# --- writing ---------------------------------------------------------------------------------------------------------


class MediaStreamWriter:
    """Writes the frames that a server sends to one phone. A frame costs two copies and no JSON, names aside."""

    def __init__(self, stream_sid: str) -> None:
        sid = _to_json(stream_sid)
        self._media_head = b'{"event":"media","streamSid":' + sid + b',"media":{"payload":"'
        self._mark_head = b'{"event":"mark","streamSid":' + sid + b',"mark":{"name":'
        self._clear = b'{"event":"clear","streamSid":' + sid + b"}"

    def media(self, mulaw: bytes) -> bytes:
        """Audio to play: 8 kHz mu-law without any file header, any length but none."""
        return self._media_head + pybase64.b64encode(mulaw) + b'"}}'

    def media_base64(self, payload: bytes) -> bytes:
        """The same for audio that is base64 already."""
        return self._media_head + payload + b'"}}'

    def mark(self, name: str) -> bytes:
        """Ask for an echo when all audio sent so far has been played. Names must be unique in a call."""
        return self._mark_head + _to_json(name) + b"}}"

    def clear(self) -> bytes:
        """Throw away all audio that has not been played."""
        return self._clear


class PhoneSideWriter:
    """Writes the frames that a phone sends to a server, with Twilio's numbering; for simulated phones.

    Call `connected`, `start`, then the others in any order, `stop` last. Frames are numbered in the order of the calls.
    """

    def __init__(self, *, stream_sid: str, account_sid: str, call_sid: str) -> None:
        self._stream_sid = _to_json(stream_sid)
        self._ids = {"accountSid": account_sid, "callSid": call_sid}
        self._tail = b',"streamSid":' + self._stream_sid + b"}"
        self._sequence = 0
        self._chunk = 0

    def connected(self) -> bytes:
        return b'{"event":"connected","protocol":"Call","version":"1.0.0"}'

    def start(self, custom_parameters: dict[str, str] | None = None) -> bytes:
        body = {
            **self._ids,
            "streamSid": msgspec.Raw(self._stream_sid),
            "tracks": ["inbound"],
            "mediaFormat": MULAW_8KHZ,
            "customParameters": custom_parameters or {},
        }
        return self._numbered("start", _to_json(body))

    def media(self, mulaw: bytes, timestamp_ms: int) -> bytes:
        """`timestamp_ms`: from the start of the stream to the first sample of `mulaw`."""
        if timestamp_ms < 0:
            raise MisuseError("a media timestamp is never negative")
        self._chunk += 1
        payload = pybase64.b64encode(mulaw)
        return self._numbered(
            "media",
            b'{"track":"inbound","chunk":"%d","timestamp":"%d","payload":"%b"}' % (self._chunk, timestamp_ms, payload),
        )

    def dtmf(self, digit: Digit) -> bytes:
        return self._numbered("dtmf", _to_json({"track": "inbound_track", "digit": digit}))

    def mark(self, name: str) -> bytes:
        """The echo of a `PlayMark`."""
        return self._numbered("mark", _to_json({"name": name}))

    def stop(self) -> bytes:
        return self._numbered("stop", _to_json(self._ids))

    def _numbered(self, event: str, body: bytes) -> bytes:
        self._sequence += 1
        name = event.encode()
        return b'{"event":"%b","sequenceNumber":"%d","%b":%b%b' % (name, self._sequence, name, body, self._tail)
