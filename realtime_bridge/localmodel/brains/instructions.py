"""Sentences that an agent's instructions quote for the model to say."""

# ruff: noqa: RUF001 - typographic quotes are what people write
from __future__ import annotations

import re

SENTENCE_CHARACTERS_MAX = 500
_CUE_CHARACTERS_MAX = 90  # how far before the quotation its verb may stand

# A quotation; a single quote within a word is an apostrophe.
_QUOTED = re.compile(
    r"""(?<!\w)(?:"([^"\n]+)"|“([^”\n]+)”|«([^»\n]+)»|['‘]((?:[^'’\n]|(?<=\w)['’](?=\w)){1,500})['’](?!\w))"""
)
_GREETS = re.compile(r"\b(?:greet|welcome|answer|open|begin|start|introduce|pick up)\w*\b[^.!?\n]*$", re.IGNORECASE)
_ORDERS = re.compile(r"\b(?:say|saying|tell|repeat|reply|respond|ask)\b[^.!?\n]*$", re.IGNORECASE)


def greeting_in(instructions: str) -> str | None:
    """The sentence to greet with: Greet the caller with "Welcome to Acme!". None when none is quoted."""
    return _first_quotation(instructions, _GREETS)


def sentence_ordered(instructions: str) -> str | None:
    """The sentence that one response is told to say: Say exactly: "One moment, please."."""
    return _first_quotation(instructions, _ORDERS)


def words_dictated(instructions: str) -> str | None:
    """The sentence, where the instructions are nothing but the order to say it: a notice, before the agent's own greeting."""
    return sentence_ordered(instructions) if instructions.startswith("Say exactly:") else None


def _first_quotation(instructions: str, behind: re.Pattern[str]) -> str | None:
    for quotation in _QUOTED.finditer(instructions):
        lead = instructions[max(quotation.start() - _CUE_CHARACTERS_MAX, 0) : quotation.start()]
        if behind.search(lead):
            sentence = next(text for text in quotation.groups() if text is not None).strip()
            return sentence[:SENTENCE_CHARACTERS_MAX] or None
    return None
