"""What a session has used: tokens by direction, modality and kind, per response and in total; and what that costs."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from realtime_bridge.wire import Usage

_PER = 1_000_000


class Tokens(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Token counts. `cached_*` are part of the `*_in` counts, not beside them.

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

    @classmethod
    def of(cls, prices: Mapping[str, float]) -> Price:
        """From a table of numbers; raises msgspec.ValidationError for an unknown or ill-typed name."""
        return msgspec.convert(dict(prices), cls)


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


def cost(tokens: Tokens, price: Price) -> float:
    """US dollars. Cached input is charged at its own price instead of the full one."""
    dollars = 0.0
    for kind in ("text_in", "audio_in", "image_in"):
        cached = getattr(tokens, f"cached_{kind}")
        dollars += (getattr(tokens, kind) - cached) * getattr(price, kind) / _PER
        dollars += cached * getattr(price, f"cached_{kind}") / _PER
    return dollars + (tokens.text_out * price.text_out + tokens.audio_out * price.audio_out) / _PER
