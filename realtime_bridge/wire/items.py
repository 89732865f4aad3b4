"""Conversation items and responses, as both sides of the Realtime API carry them.

One struct per noun, with optional fields, rather than a closed union per item type: an item type that OpenAI adds
tomorrow must still pass through. Fields that this project does not know are dropped on decoding.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

ItemStatus = Literal["completed", "incomplete", "in_progress"]
# Of a part among an item's parts, which are few. Whoever makes room for as many must not be made to make room for 2**31.
ContentIndex: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=1000)]


class ContentPart(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One part of a message. `type`: input_text, input_audio, input_image, output_text, output_audio (in items);
    text, audio (in `response.content_part.*`)."""

    type: str
    text: str | None = None
    transcript: str | None = None
    audio: str | None = None  # base64, in the session's audio format
    image_url: str | None = None
    detail: str | None = None


class Item(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A conversation item. Which fields are set depends on `type`:

    message: role, content. function_call: call_id, name, arguments (a JSON string). function_call_output: call_id,
    output. mcp_list_tools: server_label, tools. mcp_call: server_label, name, arguments, output, error.
    mcp_approval_request: server_label, name, arguments. mcp_approval_response: approval_request_id, approve, reason.
    """

    type: str
    id: str | None = None
    object: str | None = None  # always "realtime.item" from the server
    status: ItemStatus | None = None
    role: Literal["user", "assistant", "system"] | None = None
    content: tuple[ContentPart, ...] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | None = None
    server_label: str | None = None
    approval_request_id: str | None = None
    approve: bool | None = None
    reason: str | None = None
    error: dict[str, Any] | None = None
    tools: tuple[dict[str, Any], ...] | None = None


class TokenDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens by modality; `cached_tokens*` appear on the input side only."""

    text_tokens: int | None = None
    audio_tokens: int | None = None
    image_tokens: int | None = None
    cached_tokens: int | None = None
    cached_tokens_details: TokenDetails | None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one response cost, in tokens."""

    total_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_token_details: TokenDetails | None = None
    output_token_details: TokenDetails | None = None


class ResponseStatusDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a response ended. `reason`: turn_detected, client_cancelled, max_output_tokens, content_filter."""

    type: str | None = None
    reason: str | None = None
    error: dict[str, Any] | None = None


class Response(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A response. `conversation_id` is None for an out-of-band response, whose items are not in the conversation."""

    id: str | None = None
    object: str | None = None
    status: Literal["completed", "cancelled", "failed", "incomplete", "in_progress"] | None = None
    status_details: ResponseStatusDetails | None = None
    output: tuple[Item, ...] = ()
    conversation_id: str | None = None
    output_modalities: tuple[str, ...] | None = None
    max_output_tokens: int | Literal["inf"] | None = None
    metadata: dict[str, str] | None = None
    audio: dict[str, Any] | None = None
    usage: Usage | None = None
