"""What a realtime model sends to a client.

`decode_server_event` never guesses: a frame that is not JSON, or an event whose fields have the wrong type, raises
ProtocolError naming the field; an event of a type that is not listed here comes back as `UnknownEvent`, whole, so that
callers can pass it on.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from realtime_bridge.errors import ProtocolError
from realtime_bridge.wire.items import ContentIndex, ContentPart, Item, Response


class ErrorDetail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`event_id` is that of the client event which caused the error, where there was one."""

    type: str
    message: str
    code: str | None = None
    param: str | None = None
    event_id: str | None = None


class _ServerEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    event_id: str = ""


class SessionCreated(_ServerEvent, frozen=True, kw_only=True, tag="session.created"):
    session: dict[str, Any]


class SessionUpdated(_ServerEvent, frozen=True, kw_only=True, tag="session.updated"):
    """The session's whole effective configuration."""

    session: dict[str, Any]


class ConversationCreated(_ServerEvent, frozen=True, kw_only=True, tag="conversation.created"):
    conversation: dict[str, Any]


class ConversationItemCreated(_ServerEvent, frozen=True, kw_only=True, tag="conversation.item.created"):
    """Beta name of `conversation.item.added`; some servers still send it."""

    item: Item
    previous_item_id: str | None = None


class ConversationItemAdded(_ServerEvent, frozen=True, kw_only=True, tag="conversation.item.added"):
    item: Item
    previous_item_id: str | None = None


class ConversationItemDone(_ServerEvent, frozen=True, kw_only=True, tag="conversation.item.done"):
    item: Item
    previous_item_id: str | None = None


class ConversationItemRetrieved(_ServerEvent, frozen=True, kw_only=True, tag="conversation.item.retrieved"):
    item: Item


class ConversationItemTruncated(_ServerEvent, frozen=True, kw_only=True, tag="conversation.item.truncated"):
    item_id: str
    content_index: ContentIndex
    audio_end_ms: int


class ConversationItemDeleted(_ServerEvent, frozen=True, kw_only=True, tag="conversation.item.deleted"):
    item_id: str


class InputAudioTranscriptionDelta(
    _ServerEvent, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.delta"
):
    item_id: str
    content_index: ContentIndex | None = None
    delta: str | None = None


class InputAudioTranscriptionSegment(
    _ServerEvent, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.segment"
):
    """`start` and `end` in seconds."""

    id: str
    item_id: str
    content_index: ContentIndex
    text: str
    speaker: str | None = None
    start: float
    end: float


class InputAudioTranscriptionCompleted(
    _ServerEvent, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.completed"
):
    item_id: str
    content_index: ContentIndex
    transcript: str
    usage: dict[str, Any] | None = None


class InputAudioTranscriptionFailed(
    _ServerEvent, frozen=True, kw_only=True, tag="conversation.item.input_audio_transcription.failed"
):
    item_id: str
    content_index: ContentIndex
    error: dict[str, Any]


class InputAudioBufferCommitted(_ServerEvent, frozen=True, kw_only=True, tag="input_audio_buffer.committed"):
    item_id: str
    previous_item_id: str | None = None


class InputAudioBufferCleared(_ServerEvent, frozen=True, kw_only=True, tag="input_audio_buffer.cleared"):
    pass


class InputAudioBufferSpeechStarted(_ServerEvent, frozen=True, kw_only=True, tag="input_audio_buffer.speech_started"):
    """`audio_start_ms`: from the start of all audio appended in the session, padding included."""

    audio_start_ms: int
    item_id: str


class InputAudioBufferSpeechStopped(_ServerEvent, frozen=True, kw_only=True, tag="input_audio_buffer.speech_stopped"):
    audio_end_ms: int
    item_id: str


class InputAudioBufferTimeoutTriggered(
    _ServerEvent, frozen=True, kw_only=True, tag="input_audio_buffer.timeout_triggered"
):
    """The caller said nothing for `idle_timeout_ms` after the last reply had been played."""

    audio_start_ms: int
    audio_end_ms: int
    item_id: str


class InputAudioBufferDtmfEventReceived(
    _ServerEvent, frozen=True, kw_only=True, tag="input_audio_buffer.dtmf_event_received"
):
    """SIP only. `received_at`: Unix seconds."""

    event: str
    received_at: int


class OutputAudioBufferStarted(_ServerEvent, frozen=True, kw_only=True, tag="output_audio_buffer.started"):
    """WebRTC and SIP only."""

    response_id: str


class OutputAudioBufferStopped(_ServerEvent, frozen=True, kw_only=True, tag="output_audio_buffer.stopped"):
    """WebRTC and SIP only."""

    response_id: str


class OutputAudioBufferCleared(_ServerEvent, frozen=True, kw_only=True, tag="output_audio_buffer.cleared"):
    """WebRTC and SIP only."""

    response_id: str


class ResponseCreated(_ServerEvent, frozen=True, kw_only=True, tag="response.created"):
    response: Response


class ResponseDone(_ServerEvent, frozen=True, kw_only=True, tag="response.done"):
    response: Response


class ResponseOutputItemAdded(_ServerEvent, frozen=True, kw_only=True, tag="response.output_item.added"):
    response_id: str
    output_index: int
    item: Item


class ResponseOutputItemDone(_ServerEvent, frozen=True, kw_only=True, tag="response.output_item.done"):
    response_id: str
    output_index: int
    item: Item


class ResponseContentPartAdded(_ServerEvent, frozen=True, kw_only=True, tag="response.content_part.added"):
    response_id: str
    item_id: str
    output_index: int
    content_index: ContentIndex
    part: ContentPart


class ResponseContentPartDone(_ServerEvent, frozen=True, kw_only=True, tag="response.content_part.done"):
    response_id: str
    item_id: str
    output_index: int
    content_index: ContentIndex
    part: ContentPart


class ResponseOutputTextDelta(_ServerEvent, frozen=True, kw_only=True, tag="response.output_text.delta"):
    response_id: str
    item_id: str
    output_index: int
    content_index: ContentIndex
    delta: str


class ResponseOutputTextDone(_ServerEvent, frozen=True, kw_only=True, tag="response.output_text.done"):
    response_id: str
    item_id: str
    output_index: int
    content_index: ContentIndex
    text: str


class ResponseOutputAudioTranscriptDelta(
    _ServerEvent, frozen=True, kw_only=True, tag="response.output_audio_transcript.delta"
):
    response_id: str
    item_id: str
    output_index: int
    content_index: ContentIndex
    delta: str


class ResponseOutputAudioTranscriptDone(
    _ServerEvent, frozen=True, kw_only=True, tag="response.output_audio_transcript.done"
):
    response_id: str
    item_id: str
    output_index: int
    content_index: ContentIndex
    transcript: str


class ResponseOutputAudioDelta(_ServerEvent, frozen=True, kw_only=True, tag="response.output_audio.delta"):
    """`delta`: base64 in the session's output format."""

    response_id: str
    item_id: str
    output_index: int
    content_index: ContentIndex
    delta: str


class ResponseOutputAudioDone(_ServerEvent, frozen=True, kw_only=True, tag="response.output_audio.done"):
    response_id: str
    item_id: str
    output_index: int
    content_index: ContentIndex


class ResponseFunctionCallArgumentsDelta(
    _ServerEvent, frozen=True, kw_only=True, tag="response.function_call_arguments.delta"
):
    response_id: str
    item_id: str
    output_index: int
    call_id: str
    delta: str


class ResponseFunctionCallArgumentsDone(
    _ServerEvent, frozen=True, kw_only=True, tag="response.function_call_arguments.done"
):
    response_id: str
    item_id: str
    output_index: int
    call_id: str
    arguments: str
    name: str | None = None


class ResponseMcpCallArgumentsDelta(_ServerEvent, frozen=True, kw_only=True, tag="response.mcp_call_arguments.delta"):
    response_id: str
    item_id: str
    output_index: int
    delta: str


class ResponseMcpCallArgumentsDone(_ServerEvent, frozen=True, kw_only=True, tag="response.mcp_call_arguments.done"):
    response_id: str
    item_id: str
    output_index: int
    arguments: str


class ResponseMcpCallInProgress(_ServerEvent, frozen=True, kw_only=True, tag="response.mcp_call.in_progress"):
    item_id: str
    output_index: int


class ResponseMcpCallCompleted(_ServerEvent, frozen=True, kw_only=True, tag="response.mcp_call.completed"):
    item_id: str
    output_index: int


class ResponseMcpCallFailed(_ServerEvent, frozen=True, kw_only=True, tag="response.mcp_call.failed"):
    item_id: str
    output_index: int


class McpListToolsInProgress(_ServerEvent, frozen=True, kw_only=True, tag="mcp_list_tools.in_progress"):
    item_id: str


class McpListToolsCompleted(_ServerEvent, frozen=True, kw_only=True, tag="mcp_list_tools.completed"):
    item_id: str


class McpListToolsFailed(_ServerEvent, frozen=True, kw_only=True, tag="mcp_list_tools.failed"):
    item_id: str


class RateLimitsUpdated(_ServerEvent, frozen=True, kw_only=True, tag="rate_limits.updated"):
    rate_limits: tuple[dict[str, Any], ...]


class ErrorEvent(_ServerEvent, frozen=True, kw_only=True, tag="error"):
    """Something went wrong; most errors leave the session usable."""

    error: ErrorDetail


class UnknownEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event whose `type` this version does not know, with its whole payload."""

    type: str
    payload: dict[str, Any]

    @property
    def event_id(self) -> str:
        return str(self.payload.get("event_id", ""))


KnownServerEvent: TypeAlias = (
    SessionCreated
    | SessionUpdated
    | ConversationCreated
    | ConversationItemCreated
    | ConversationItemAdded
    | ConversationItemDone
    | ConversationItemRetrieved
    | ConversationItemTruncated
    | ConversationItemDeleted
    | InputAudioTranscriptionDelta
    | InputAudioTranscriptionSegment
    | InputAudioTranscriptionCompleted
    | InputAudioTranscriptionFailed
    | InputAudioBufferCommitted
    | InputAudioBufferCleared
    | InputAudioBufferSpeechStarted
    | InputAudioBufferSpeechStopped
    | InputAudioBufferTimeoutTriggered
    | InputAudioBufferDtmfEventReceived
    | OutputAudioBufferStarted
    | OutputAudioBufferStopped
    | OutputAudioBufferCleared
    | ResponseCreated
    | ResponseDone
    | ResponseOutputItemAdded
    | ResponseOutputItemDone
    | ResponseContentPartAdded
    | ResponseContentPartDone
    | ResponseOutputTextDelta
    | ResponseOutputTextDone
    | ResponseOutputAudioTranscriptDelta
    | ResponseOutputAudioTranscriptDone
    | ResponseOutputAudioDelta
    | ResponseOutputAudioDone
    | ResponseFunctionCallArgumentsDelta
    | ResponseFunctionCallArgumentsDone
    | ResponseMcpCallArgumentsDelta
    | ResponseMcpCallArgumentsDone
    | ResponseMcpCallInProgress
    | ResponseMcpCallCompleted
    | ResponseMcpCallFailed
    | McpListToolsInProgress
    | McpListToolsCompleted
    | McpListToolsFailed
    | RateLimitsUpdated
    | ErrorEvent
)
ServerEvent: TypeAlias = KnownServerEvent | UnknownEvent

_decoder: msgspec.json.Decoder[KnownServerEvent] = msgspec.json.Decoder(KnownServerEvent)


def decode_server_event(frame: bytes | str) -> ServerEvent:
    """Parse one text frame from a realtime model.

    Raises ProtocolError (survivable: log it and go on with the next frame).
    """
    try:
        return _decoder.decode(frame)
    except RecursionError as e:
        raise ProtocolError("nested too deeply") from e
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        message, _, where = str(e).partition(" - at ")
        if where == "`$.type`":
            try:
                payload = msgspec.json.decode(frame, type=dict[str, Any])
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                pass
            else:
                if isinstance(payload.get("type"), str):
                    return UnknownEvent(type=payload["type"], payload=payload)
        raise ProtocolError(message, where=where.strip("`")) from e


def type_of(event: ServerEvent) -> str:
    """The event's `type` as the API spells it (`response.output_audio.delta`)."""
    if isinstance(event, UnknownEvent):
        return event.type
    tag = event.__struct_config__.tag
    assert isinstance(tag, str)
    return tag
