"""The media-stream messages as values, and the errors that name what is wrong with one.

    phone -> us   Connected, Start, Media, Dtmf, Mark, Stop
    us -> phone   PlayMedia, PlayMark, ClearAudio

Source: https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from realtime_bridge.errors import ProtocolError

MESSAGE_CHARS_MAX: Final = 200  # of an error's text, which goes to logs: parts of it come from the peer


class MediaStreamError(ProtocolError):
    """The peer broke the media-stream protocol. `where` is the JSON path of the field, or "" for the whole frame."""

    def __init__(self, message: str, *, where: str = "") -> None:
        shown = "".join(c if c.isprintable() else "?" for c in message[:MESSAGE_CHARS_MAX])
        super().__init__(shown if len(message) <= MESSAGE_CHARS_MAX else shown + "…", where=where)


class MalformedMessageError(MediaStreamError):
    """Not JSON, or a field is missing or of the wrong type."""


class BinaryFrameError(MediaStreamError):
    """Media streams are text frames only (Twilio's error 31950 is the same rule the other way)."""


class OversizedFrameError(MediaStreamError):
    """Longer than any message has a reason to be."""


class UnknownMessageError(MediaStreamError):
    """An `event` that this version does not know."""


class MessageOrderError(MediaStreamError):
    """A message at a moment when it means nothing: media before `start`, a second `start`, anything after `stop`."""


class WrongStreamError(MediaStreamError):
    """A message of another stream or another call than the one that started on this socket."""


class MediaFormatError(MediaStreamError):
    """The stream is not 8 kHz mono mu-law: nothing here can play or hear it, so this call cannot go on."""


class PayloadError(MediaStreamError):
    """A media payload is empty or not base64."""


Digit = Literal["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "#", "A", "B", "C", "D"]


class MediaFormat(msgspec.Struct, frozen=True, rename="camel"):
    encoding: str
    sample_rate: int  # Hz
    channels: int


MULAW_8KHZ: Final = MediaFormat("audio/x-mulaw", 8000, 1)  # the only format of media streams


class Connected(msgspec.Struct, frozen=True):
    """The socket is open. `protocol` is "Call", `version` semantic ("1.0.0")."""

    protocol: str
    version: str


class Start(msgspec.Struct, frozen=True):
    """The stream begins. `custom_parameters` hold the call's token: keep them out of logs."""

    sequence_number: int
    stream_sid: str
    account_sid: str
    call_sid: str
    tracks: tuple[str, ...]
    custom_parameters: dict[str, str]
    media_format: MediaFormat


class Media(msgspec.Struct, frozen=True, gc=False):
    """Caller audio, usually 20 ms.

    `timestamp_ms` counts from the start of the stream. `payload` is the base64 text as it came, `mulaw` the same audio
    decoded (8 kHz, one byte a sample), so that neither pass-through nor transcoding has to do the other's work.
    """

    sequence_number: int
    stream_sid: str
    track: str
    chunk: int
    timestamp_ms: int
    payload: bytes
    mulaw: bytes


class Dtmf(msgspec.Struct, frozen=True):
    """The caller pressed a key: 0-9, *, #, A-D."""

    sequence_number: int
    stream_sid: str
    track: str
    digit: Digit


class Mark(msgspec.Struct, frozen=True):
    """All audio sent before this mark has been played, or thrown away by `clear`."""

    sequence_number: int
    stream_sid: str
    name: str


class Stop(msgspec.Struct, frozen=True):
    """The stream has ended, by hang-up or by new TwiML. The last message."""

    sequence_number: int
    stream_sid: str
    account_sid: str
    call_sid: str


PhoneMessage: TypeAlias = Connected | Start | Media | Dtmf | Mark | Stop


class PlayMedia(msgspec.Struct, frozen=True, gc=False):
    """Queue this audio behind what is playing; any length."""

    stream_sid: str
    payload: bytes  # base64
    mulaw: bytes


class PlayMark(msgspec.Struct, frozen=True):
    """Echo this name when all audio before it has been played, or is cleared."""

    stream_sid: str
    name: str


class ClearAudio(msgspec.Struct, frozen=True):
    """Throw away what is queued, and echo its marks at once."""

    stream_sid: str


PhoneCommand: TypeAlias = PlayMedia | PlayMark | ClearAudio
