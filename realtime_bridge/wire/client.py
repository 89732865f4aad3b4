"""What a client sends to a realtime model."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from realtime_bridge.errors import ProtocolError
from realtime_bridge.wire.items import Item

# Documented ceiling: "metadata" aside, no client event but an append is long; an append may carry 15 MiB of audio
# (openai/types/realtime/input_audio_buffer_append_event.py), which base64 makes a third longer.
CLIENT_FRAME_BYTES_MAX = 21 * 1024 * 1024


class _ClientEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    event_id: str | None = None


class SessionUpdate(_ClientEvent, frozen=True, kw_only=True, tag="session.update"):
    """`session`: a `RealtimeSessionCreateRequest` as JSON; fields that are absent stay as they are."""

    session: dict[str, Any]


class InputAudioBufferAppend(_ClientEvent, frozen=True, kw_only=True, tag="input_audio_buffer.append"):
    """`audio`: base64 in the session's input format."""

    audio: str


class InputAudioBufferCommit(_ClientEvent, frozen=True, kw_only=True, tag="input_audio_buffer.commit"):
    pass


class InputAudioBufferClear(_ClientEvent, frozen=True, kw_only=True, tag="input_audio_buffer.clear"):
    pass


class OutputAudioBufferClear(_ClientEvent, frozen=True, kw_only=True, tag="output_audio_buffer.clear"):
    """WebRTC and SIP only."""


class ConversationItemCreate(_ClientEvent, frozen=True, kw_only=True, tag="conversation.item.create"):
    """`previous_item_id`: None appends; "root" puts the item first."""

    item: Item
    previous_item_id: str | None = None


class ConversationItemRetrieve(_ClientEvent, frozen=True, kw_only=True, tag="conversation.item.retrieve"):
    item_id: str


class ConversationItemDelete(_ClientEvent, frozen=True, kw_only=True, tag="conversation.item.delete"):
    item_id: str


class ConversationItemTruncate(_ClientEvent, frozen=True, kw_only=True, tag="conversation.item.truncate"):
    """Keep the first `audio_end_ms` of an assistant's audio item; the server drops the item's transcript."""

    item_id: str
    content_index: int
    audio_end_ms: int


class ResponseCreate(_ClientEvent, frozen=True, kw_only=True, tag="response.create"):
    """`response`: `RealtimeResponseCreateParams` as JSON, overriding the session's settings for one response."""

    response: dict[str, Any] | None = None


class ResponseCancel(_ClientEvent, frozen=True, kw_only=True, tag="response.cancel"):
    """Without `response_id`, the response in progress in the default conversation."""

    response_id: str | None = None


ClientEvent: TypeAlias = (
    SessionUpdate
    | InputAudioBufferAppend
    | InputAudioBufferCommit
    | InputAudioBufferClear
    | OutputAudioBufferClear
    | ConversationItemCreate
    | ConversationItemRetrieve
    | ConversationItemDelete
    | ConversationItemTruncate
    | ResponseCreate
    | ResponseCancel
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[ClientEvent] = msgspec.json.Decoder(ClientEvent)

_APPEND_HEAD = b'{"type":"input_audio_buffer.append","audio":"'
_APPEND_TAIL = b'"}'


def append_frame(audio_base64: bytes) -> bytes:
    """One `input_audio_buffer.append` as a text frame, from audio that is base64 already (the hot path: no JSON)."""
    return _APPEND_HEAD + audio_base64 + _APPEND_TAIL


def encode(event: msgspec.Struct) -> bytes:
    """Any event of this package as one JSON text frame."""
    return _encoder.encode(event)


def decode_client_event(frame: bytes | str) -> ClientEvent:
    """Parse what a client sent; for servers.

    Raises ProtocolError that names the field: not JSON, an unknown `type`, a missing or wrongly typed field.
    """
    try:
        return _decoder.decode(frame)
    except RecursionError as e:
        raise ProtocolError("nested too deeply") from e
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        message, _, where = str(e).partition(" - at ")
        raise ProtocolError(message, where=where.strip("`")) from e
