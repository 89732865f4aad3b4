"""Which tool fits what the caller said, if any."""

# ruff: noqa: SIM905 - a list of words is read more easily as one text
from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from realtime_bridge.localmodel.brains.codes import MONEY_SIGNS
from realtime_bridge.localmodel.brains.parameters import Tool
from realtime_bridge.localmodel.brains.words import alike, spoken_name, utterance

CALL_FIT_MIN = 0.42  # less is chatter
STRONG_FIT_MIN = 0.62  # enough to leave another request for

_STOP_WORDS = frozenset(
    "a an the this that these those it its he she they them i me my mine we us our you your is are was were be been am do"
    " does did can could will would shall should may might must have has had want wants wanted like need needs please of to"
    " for from in on at by with about into and or but if then than so as not no yes hello hi hey thank thanks okay ok well"
    " um uh er just now here there some any all more one also get got give go going know let say said tell today tomorrow"
    " what who which why how up out many someone anyone something anything really very too again".split()
)
# In a tool's name and description these say what every tool does.
_WEAK_IN_NAMES = frozenset(
    "get check find look lookup set do make create handle fetch list tool function agent desk department team run submit"
    " request call use new customer caller user return returns whether given their his her handoff".split()
)
# Words that callers and programmers use for the same thing; each line is one thing.
_SAME_THING = tuple(
    frozenset(line.split())
    for line in (
        "where when status track tracking locate delivery shipped arrive",
        "refund reimburse reimbursement money back",
        "money dollar dollars euro euros cash",
        "send transfer wire",
        "book booking reserve reservation schedule appointment",
        "reschedule move change",
        "cancel cancellation stop terminate",
        "bill billing invoice charge charged payment pay account",
        "open opening close closed closing hours",
        "price cost much expensive fee",
        "problem broken technical fix repair support trouble",
        "sale sales buy purchase",
        "human person operator representative somebody people colleague",
        "weather rain temperature forecast",
    )
)
_TRANSFER = re.compile(
    r"\b(?:(?:speak|talk|chat)(?:ing)? (?:to|with)|transfer|(?:put|pass) (?:me|us) (?:through|on|over)|connect (?:me|us)"
    r"|through to|hand me over|switch me)\b"
)
_HANDOFF_BOILERPLATE = re.compile(
    r"^\s*(?:handoff|hand off|transfer|hand over) to (?:the )?.*? to handle the request\.?", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Choice:
    """`fit`: 0 to about 1.3."""

    tool: Tool
    fit: float


def best_tool(tools: Sequence[Tool], text: str, *, fit_min: float = CALL_FIT_MIN) -> Choice | None:
    """The tool that fits best; ties go to the one declared first. None when no fit reaches `fit_min`."""
    said = content_words(text)
    if not tools or not (said or fit_min <= 0):
        return None
    is_transfer = bool(_TRANSFER.search(utterance(text).line))
    vocabularies = [_vocabulary(tool) for tool in tools]
    common = _common_words(vocabularies)
    fits = [_fit(vocabulary, said, common, is_transfer=is_transfer) for vocabulary in vocabularies]
    best = max(range(len(tools)), key=lambda i: (fits[i], -i))
    return Choice(tools[best], fits[best]) if fits[best] >= fit_min else None


def content_words(text: str) -> tuple[str, ...]:
    """Words that say what it is about, each once."""
    forms = (word.form for word in utterance(text).words)
    words = dict.fromkeys("dollars" if form in MONEY_SIGNS else form for form in forms)
    return tuple(word for word in words if word not in _STOP_WORDS and word.isalpha())


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """Words that speak for a tool, by where they stand."""

    name: tuple[str, ...]
    description: tuple[str, ...]
    parameters: tuple[str, ...]
    is_handoff: bool


def _vocabulary(tool: Tool) -> _Vocabulary:
    title = tool.title.removeprefix("transfer to ") if tool.is_handoff else tool.title
    name = [word for word in title.split() if word not in _STOP_WORDS and word not in _WEAK_IN_NAMES]
    description = _HANDOFF_BOILERPLATE.sub("", tool.description) if tool.is_handoff else tool.description
    wanted = " ".join(
        " ".join((p.name, p.description, *(spoken_name(str(choice)) for choice in p.choices))) for p in tool.parameters
    )
    return _Vocabulary(
        tuple(name or title.split()),
        tuple(word for word in content_words(description) if word not in _WEAK_IN_NAMES),
        content_words(wanted),
        tool.is_handoff,
    )


def _common_words(vocabularies: Sequence[_Vocabulary]) -> frozenset[str]:
    """Words in the names of several tools ("order" in refund_order, find_order): they do not tell the tools apart."""
    words = [word for vocabulary in vocabularies for word in set(vocabulary.name)]
    return frozenset(word for word in words if words.count(word) > 1)


@lru_cache(maxsize=4096)
def _fit(vocabulary: _Vocabulary, said: tuple[str, ...], common: frozenset[str], *, is_transfer: bool) -> float:
    """Half of it: how much of the tool's name was said. The other half: how much of what was said the tool explains."""
    weights = {word: 0.4 if word in common else 1.0 for word in vocabulary.name}
    named = sum(weight * _likeness((word,), said) for word, weight in weights.items()) / sum(weights.values())
    explained = [
        max(
            _likeness(vocabulary.name, (word,)),
            0.9 * _likeness(vocabulary.description, (word,)),
            0.5 * _likeness(vocabulary.parameters, (word,)),
        )
        for word in said
    ]
    fit = 0.5 * named + 0.5 * sum(explained) / max(len(said), 3)
    is_asked_for = is_transfer and vocabulary.is_handoff and (named > 0 or max(explained, default=0.0) > 0.8)
    return fit + 0.4 if is_asked_for else fit


def _likeness(a: Sequence[str], b: Sequence[str]) -> float:
    """1 when a word of `a` is one of `b`, 0.6 when it means the same, else 0."""
    return max((_word_likeness(x, y) for x in a for y in b), default=0.0)


@lru_cache(maxsize=16384)
def _word_likeness(a: str, b: str) -> float:
    if alike(a, b):
        return 1.0
    return 0.6 if any(_is_in(a, line) and _is_in(b, line) for line in _SAME_THING) else 0.0


def _is_in(word: str, line: frozenset[str]) -> bool:
    return any(alike(word, each) for each in line)
