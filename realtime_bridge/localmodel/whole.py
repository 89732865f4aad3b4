"""Server events as the API spells them out.

`realtime_bridge.wire` leaves out what is None; the API writes null in the places below, and clients look there
(`event["previous_item_id"]`, `response.output.length`).
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from realtime_bridge.localmodel.conversation import Part
from realtime_bridge.localmodel.refusals import Refusal
from realtime_bridge.wire import ContentPart, Usage, items, server

_TOKENS_A_MINUTE = 1_000_000

_Event = TypeVar("_Event", bound=msgspec.Struct)


class Response(items.Response, frozen=True, kw_only=True, omit_defaults=False):
    pass


class ItemAdded(server.ConversationItemAdded, frozen=True, kw_only=True, omit_defaults=False):
    pass


class ItemDone(server.ConversationItemDone, frozen=True, kw_only=True, omit_defaults=False):
    pass


class Committed(server.InputAudioBufferCommitted, frozen=True, kw_only=True, omit_defaults=False):
    pass


class ErrorDetail(server.ErrorDetail, frozen=True, kw_only=True, omit_defaults=False):
    pass


def numbered(event: _Event, event_id: str) -> _Event:
    return msgspec.structs.replace(event, event_id=event_id)


def refused(refusal: Refusal, client_event_id: str | None) -> server.ErrorEvent:
    return server.ErrorEvent(
        error=ErrorDetail(
            type="invalid_request_error",
            code=refusal.code,
            message=refusal.message,
            param=refusal.param,
            event_id=client_event_id,
        )
    )


def response_part(part: Part) -> ContentPart:
    """A content part as `response.content_part.*` shows it."""
    if part.type == "output_audio":
        return ContentPart(type="audio", transcript=part.transcript or "")
    return ContentPart(type="text", text=part.text or "")


def rate_limits(usage: Usage) -> server.RateLimitsUpdated:
    """There is no limit; the event comes because clients expect it."""
    remaining = _TOKENS_A_MINUTE - (usage.total_tokens or 0)
    limit = {"name": "tokens", "limit": _TOKENS_A_MINUTE, "remaining": max(remaining, 0), "reset_seconds": 0.0}
    return server.RateLimitsUpdated(rate_limits=(limit,))
