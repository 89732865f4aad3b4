"""Sentences that an agent's instructions quote for the model to say."""

# ruff: noqa: RUF001 - typographic quotes are what people write
from __future__ import annotations

import re

SENTENCE_CHARACTERS_MAX = 500

# A quotation; a single quote counts only where it cannot be an apostrophe.
_QUOTED = (
    r"""(?:"(?P<straight>[^"\n]+)"|“(?P<curly>[^”\n]+)”|«(?P<guillemet>[^»\n]+)»"""
    r"""|(?<!\w)['‘](?P<single>[^\n]+?)['’](?!\w))"""
)
_GREETING = re.compile(
    rf"\b(?:greet|greeting|welcome|answer|open|begin|start|introduce|pick up)\w*\b[^.!?\n\"“«]{{0,80}}?[\s:,]{_QUOTED}",
    re.IGNORECASE,
)
_ORDER = re.compile(
    rf"\b(?:say|saying|tell|repeat|reply with|respond with|ask)\b[^.!?\n\"“«]{{0,60}}?[\s:,]{_QUOTED}", re.IGNORECASE
)


def greeting_in(instructions: str) -> str | None:
    """The sentence to greet with: Greet the caller with "Welcome to Acme!". None when none is quoted."""
    return _first(_GREETING, instructions)


def sentence_ordered(instructions: str) -> str | None:
    """The sentence that one response is told to say: Say exactly: "One moment, please."."""
    return _first(_ORDER, instructions)


def _first(pattern: re.Pattern[str], instructions: str) -> str | None:
    match = pattern.search(instructions)
    if match is None:
        return None
    quoted = next(text for text in match.groupdict().values() if text is not None)
    return quoted.strip()[:SENTENCE_CHARACTERS_MAX] or None
