"""What a session has used: tokens by direction, modality and kind, per response and in total; and what that costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from realtime_bridge.wire import Usage

_PER = 1_000_000


class Tokens(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Token counts. `cached_*` are part of the `*_in` counts, not beside them; `transcription_*` (of the caller's words, by
    a model of its own) are beside all others.

    `text_in + audio_in + image_in` may fall short of `total_in` where a server tells no details.
    """

    responses: int = 0
    total_in: int = 0
    total_out: int = 0
    text_in: int = 0
    audio_in: int = 0
    image_in: int = 0
    cached_text_in: int = 0
    cached_audio_in: int = 0
    cached_image_in: int = 0
    text_out: int = 0
    audio_out: int = 0
    transcription_in: int = 0
    transcription_out: int = 0
    transcribed_s: float = 0.0  # of transcription models that charge by time

    @property
    def total(self) -> int:
        return self.total_in + self.total_out

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(**{name: getattr(self, name) + getattr(other, name) for name in self.__struct_fields__})


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """US dollars per million tokens, by the fields of `Tokens` they multiply."""

    text_in: float = 0.0
    audio_in: float = 0.0
    image_in: float = 0.0
    cached_text_in: float = 0.0
    cached_audio_in: float = 0.0
    cached_image_in: float = 0.0
    text_out: float = 0.0
    audio_out: float = 0.0
    transcription_in: float = 0.0
    transcription_out: float = 0.0
    transcribed_minute: float = 0.0  # per minute


def tokens_of(usage: Usage) -> Tokens:
    """One response's usage (`response.done`), in this project's terms. Missing details count as zero."""
    inputs, outputs = usage.input_token_details, usage.output_token_details
    cached = inputs.cached_tokens_details if inputs else None
    return Tokens(
        responses=1,
        total_in=usage.input_tokens or 0,
        total_out=usage.output_tokens or 0,
        text_in=(inputs.text_tokens or 0) if inputs else 0,
        audio_in=(inputs.audio_tokens or 0) if inputs else 0,
        image_in=(inputs.image_tokens or 0) if inputs else 0,
        cached_text_in=(cached.text_tokens or 0) if cached else 0,
        cached_audio_in=(cached.audio_tokens or 0) if cached else 0,
        cached_image_in=(cached.image_tokens or 0) if cached else 0,
        text_out=(outputs.text_tokens or 0) if outputs else 0,
        audio_out=(outputs.audio_tokens or 0) if outputs else 0,
    )


def transcription_tokens(usage: Mapping[str, Any]) -> Tokens:
    """The usage of `conversation.item.input_audio_transcription.completed`: tokens, or a duration in seconds."""
    return Tokens(
        transcription_in=_number(usage.get("input_tokens")),
        transcription_out=_number(usage.get("output_tokens")),
        transcribed_s=float(usage["seconds"]) if isinstance(usage.get("seconds"), int | float) else 0.0,
    )


def _number(value: Any) -> int:
    return value if isinstance(value, int) else 0


def cost(tokens: Tokens, price: Price) -> float:
    """US dollars. Cached input is charged at its own price instead of the full one."""
    dollars = 0.0
    for kind in ("text_in", "audio_in", "image_in"):
        cached = getattr(tokens, f"cached_{kind}")
        dollars += (getattr(tokens, kind) - cached) * getattr(price, kind) / _PER
        dollars += cached * getattr(price, f"cached_{kind}") / _PER
    for kind in ("text_out", "audio_out", "transcription_in", "transcription_out"):
        dollars += getattr(tokens, kind) * getattr(price, kind) / _PER
    return dollars + tokens.transcribed_s / 60 * price.transcribed_minute
