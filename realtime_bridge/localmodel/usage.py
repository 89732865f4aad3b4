"""Token counts such as the API reports, so that what reads them (budgets, cost, usage pages) has something to read.

Audio counts as OpenAI bills it (developers.openai.com, "Managing costs" of the Realtime guide): the caller's 1 token per
100 ms, the assistant's 1 per 50 ms. Text is taken at four characters a token.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil
from typing import Any

from realtime_bridge.localmodel.conversation import Entry
from realtime_bridge.wire import Usage
from realtime_bridge.wire.items import TokenDetails

_USER_MS_PER_TOKEN = 100
_ASSISTANT_MS_PER_TOKEN = 50
_CHARACTERS_PER_TOKEN = 4


def text_tokens(text: str | None) -> int:
    return ceil(len(text) / _CHARACTERS_PER_TOKEN) if text else 0


def spoken_tokens(audio_ms: float) -> int:
    return ceil(audio_ms / _ASSISTANT_MS_PER_TOKEN)


def heard_tokens(audio_ms: float) -> int:
    return ceil(audio_ms / _USER_MS_PER_TOKEN)


def context_tokens(instructions: str, tools: Iterable[Any], entries: Iterable[Entry]) -> TokenDetails:
    """What a response reads."""
    text = text_tokens(instructions) + sum(text_tokens(str(tool)) for tool in tools)
    audio = 0
    for entry in entries:
        base = entry.base
        text += sum(text_tokens(part) for part in (base.name, base.arguments, base.output))
        for part in entry.parts:
            text += text_tokens(part.text)
            if part.sound:
                audio += (spoken_tokens if base.role == "assistant" else heard_tokens)(part.sound.ms)
    nothing = TokenDetails(text_tokens=0, audio_tokens=0, image_tokens=0)
    return TokenDetails(
        text_tokens=text, audio_tokens=audio, image_tokens=0, cached_tokens=0, cached_tokens_details=nothing
    )


def response_usage(read: TokenDetails, *, text: int, audio: int) -> Usage:
    input_tokens = (read.text_tokens or 0) + (read.audio_tokens or 0)
    return Usage(
        total_tokens=input_tokens + text + audio,
        input_tokens=input_tokens,
        output_tokens=text + audio,
        input_token_details=read,
        output_token_details=TokenDetails(text_tokens=text, audio_tokens=audio),
    )


def transcription_usage(audio_ms: float, transcript: str) -> dict[str, Any]:
    """`usage` of `conversation.item.input_audio_transcription.completed`."""
    audio, text = heard_tokens(audio_ms), text_tokens(transcript)
    return {
        "type": "tokens",
        "total_tokens": audio + text,
        "input_tokens": audio,
        "input_token_details": {"text_tokens": 0, "audio_tokens": audio},
        "output_tokens": text,
    }
