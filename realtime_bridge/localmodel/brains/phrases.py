"""Phrases of a dialogue script, and how well what was heard fits them.

A phrase is words with slots: `where is my order {order_id:id}`. Words fit leniently (a recogniser mishears, callers say
"please" and "uh"); a slot takes what stands in its place.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Literal, TypeAlias, get_args

from rapidfuzz import fuzz

from realtime_bridge.localmodel.brains.codes import code_runs, number_runs
from realtime_bridge.localmodel.brains.words import Utterance, utterance

SlotKind = Literal["text", "number", "id"]

_KINDS: dict[str, SlotKind] = {kind: kind for kind in get_args(SlotKind)}

TEXT_SLOT_WORDS_MAX = 40
_OUTSIDE = 0.3  # what a letter weighs that is heard before or behind the phrase, beside one within it
_WORD_ALIKE_MIN = 0.7
_OPEN_SCORE_MAX = 90.0  # a phrase of slots alone says little: any phrase that fits well goes first

_SLOT = re.compile(r"\{\s*(?P<name>\w+)\s*(?::\s*(?P<kind>\w+)\s*)?\}")


@dataclass(frozen=True, slots=True)
class Slot:
    name: str
    kind: SlotKind


_Part: TypeAlias = str | Slot


@dataclass(frozen=True, slots=True)
class Phrase:
    parts: tuple[_Part, ...]

    @property
    def slots(self) -> tuple[Slot, ...]:
        return tuple(part for part in self.parts if isinstance(part, Slot))

    @property
    def takes_anything(self) -> bool:
        return all(isinstance(part, Slot) and part.kind == "text" for part in self.parts)

    @property
    def line(self) -> str:
        return " ".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, slots=True)
class Fit:
    """`score`: 0 to 100. `captured`: a slot's number, or its words as they were said."""

    score: float
    captured: dict[str, Any]


def parse_phrase(text: str) -> Phrase:
    """Raises ValueError that says how to mend the phrase."""
    parts: list[_Part] = []
    end = 0
    for slot in _SLOT.finditer(text):
        parts += (word.form for word in utterance(text[end : slot.start()]).words)
        kind = _KINDS.get(slot["kind"] or "text")
        if kind is None:
            raise ValueError(f"unknown kind {slot['kind']!r} of slot {slot['name']!r}; one of {', '.join(_KINDS)}")
        parts.append(Slot(slot["name"], kind))
        end = slot.end()
    rest = text[end:]
    if "{" in rest or "}" in rest:
        raise ValueError(f"a brace without its partner in {text!r}; a slot is written {{name}} or {{name:number}}")
    parts += (word.form for word in utterance(rest).words)
    if not parts:
        raise ValueError(f"no words in {text!r}")
    if any(isinstance(a, Slot) and isinstance(b, Slot) and a.kind == "text" for a, b in pairwise(parts)):
        raise ValueError(f"two slots side by side in {text!r}: put a word between them, or give the first a kind")
    names = [part.name for part in parts if isinstance(part, Slot)]
    if len(set(names)) < len(names):
        raise ValueError(f"the same slot twice in {text!r}")
    return Phrase(tuple(parts))


@lru_cache(maxsize=8192)
def fit(phrase: Phrase, text: str) -> Fit:
    """How well `text` fits. Word order counts little, and what is said around the phrase less than what is within."""
    heard = utterance(text)
    if not heard.words:
        return Fit(0.0, {})
    if phrase.slots:
        return _fit_slots(phrase, heard)
    said = phrase.line
    score = max(fuzz.token_sort_ratio(said, heard.line), fuzz.ratio(said.replace(" ", ""), heard.line.replace(" ", "")))
    if len(said) < len(heard.line):
        score = max(score, _contained(said, heard.line))
    return Fit(score, {})


def _contained(said: str, heard: str) -> float:
    window = fuzz.partial_ratio_alignment(f" {said} ", f" {heard} ")
    assert window is not None  # only for a score_cutoff
    length = len(said) + 2
    outside = max(len(heard) + 2 - (window.dest_end - window.dest_start), 0)
    return window.score * 2 * length / (2 * length + _OUTSIDE * outside)


@dataclass(frozen=True, slots=True)
class _Path:
    """One way to lay the phrase over the words. `gain` is what is maximised; all are counted in letters."""

    gain: float = 0.0
    matched: float = 0.0
    missed: float = 0.0
    captured: tuple[tuple[str, Any], ...] = ()

    def plus(self, matched: float = 0.0, missed: float = 0.0, *captured: tuple[str, Any]) -> _Path:
        return _Path(
            self.gain + matched - missed, self.matched + matched, self.missed + missed, self.captured + captured
        )


def _fit_slots(phrase: Phrase, heard: Utterance) -> Fit:
    """Dynamic programming over (parts laid, words used)."""
    words, parts = heard.words, phrase.parts
    best: dict[tuple[int, int], _Path] = {(0, 0): _Path()}
    takes = {slot: _takes(slot, heard) for slot in phrase.slots}

    def offer(laid: int, used: int, path: _Path) -> None:
        known = best.get((laid, used))
        if known is None or path.gain > known.gain:
            best[laid, used] = path

    for laid in range(len(parts) + 1):
        for used in range(len(words) + 1):
            path = best.get((laid, used))
            if path is None:
                continue
            if used < len(words):
                outside = laid in (0, len(parts))
                offer(laid, used + 1, path.plus(missed=len(words[used].form) * (_OUTSIDE if outside else 1.0)))
            if laid == len(parts):
                continue
            part = parts[laid]
            if isinstance(part, Slot):
                for end, value in takes[part].get(used, ()):
                    offer(laid + 1, end, path.plus(0.0, 0.0, (part.name, value)))
                continue
            offer(laid + 1, used, path.plus(missed=len(part)))
            if used < len(words):
                alike = fuzz.ratio(part, words[used].form) / 100
                if alike >= _WORD_ALIKE_MIN:
                    letters = len(part) + len(words[used].form)
                    offer(laid + 1, used + 1, path.plus(alike * letters, (1 - alike) * letters))
    return _scored(phrase, best.get((len(parts), len(words))))


def _scored(phrase: Phrase, path: _Path | None) -> Fit:
    if path is None:
        return Fit(0.0, {})
    if phrase.line:
        score = 100 * path.matched / (path.matched + path.missed) if path.matched else 0.0
    else:
        credit = sum(2 * len(str(value)) for _, value in path.captured)
        score = _OPEN_SCORE_MAX * credit / (credit + path.missed)
    return Fit(score, dict(path.captured))


def _takes(slot: Slot, heard: Utterance) -> dict[int, list[tuple[int, Any]]]:
    """Word index -> the (end, value)s the slot may take from there; the longest first, which wins ties."""
    takes: dict[int, list[tuple[int, Any]]] = {}
    if slot.kind == "text":
        for first in range(len(heard.words)):
            last = min(len(heard.words), first + TEXT_SLOT_WORDS_MAX)
            takes[first] = [(end, heard.said(first, end)) for end in range(last, first, -1)]
    elif slot.kind == "number":
        for number in number_runs(heard):
            takes[number.span.start] = [(number.span.stop, number.value)]
    else:
        for code in code_runs(heard):
            takes[code.span.start] = [(code.span.stop, code.plain)]
    return takes
