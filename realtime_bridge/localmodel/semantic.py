"""How long to wait for more words, judged by the words so far: the `semantic_vad` of the Realtime API.

OpenAI's server has a model for this. Here a word list does: what a caller has said is unfinished when it breaks off at
a word that asks for another ("my number is", "on the", "and", "um"), finished when it is a sentence or a short answer.
Pure; the silence itself is measured by `TurnDetector`:

    detector.settings = semantic_settings("auto")
    for event in detector.feed(audio):
        if isinstance(event, SpeechPaused):
            text = ...  # recognise the audio from event.audio_start_ms to event.audio_end_ms; may take its time
            more_events = detector.wait_for_more(event, patience_ms(text, "auto"))
"""

# ruff: noqa: RUF001 - typographic quotes and dashes come out of recognisers
# ruff: noqa: SIM905 - a list of words is read more easily as one text
from __future__ import annotations

import re
from typing import Literal, TypeAlias

from realtime_bridge.localmodel.turns import TurnSettings

Eagerness: TypeAlias = Literal["low", "medium", "high", "auto"]
Completeness: TypeAlias = Literal["finished", "unclear", "unfinished"]

# openai/types/realtime/realtime_audio_input_turn_detection.py: "`auto` is the default and is equivalent to `medium`.
# `low`, `medium`, and `high` have max timeouts of 8s, 4s, and 2s respectively."
_PATIENCE_MS: dict[Eagerness, dict[Completeness, int]] = {
    "low": {"finished": 900, "unclear": 2500, "unfinished": 8000},
    "medium": {"finished": 450, "unclear": 1200, "unfinished": 4000},
    "high": {"finished": 250, "unclear": 600, "unfinished": 2000},
}
_PATIENCE_MS["auto"] = _PATIENCE_MS["medium"]
_PAUSE_MS = 200  # early enough that the words are known before even the shortest wait is over

_WANTS_ANOTHER_WORD = frozenset(
    (
        "um uh uhm umm er erm ah hm hmm mm "
        "a an the my your his its our their some any every and or but because if when while although unless until "
        "since than whose of to for from with without in at by into onto about between during "
        "is are am was were be been would should could can may might must has had have do does did will "
        "i we they he she i'm we're they're it's that's there's i'd i'll we'll let's "
        "want need wanna gonna really very just also then plus mr mrs ms dr doctor"
    ).split()
)
# Some of those end a short answer as well.
_SHORT_ANSWER = re.compile(
    r"(?:yes|yeah|yep|no|nope|sure|okay|of course)(?: i| we| you| they| he| she| it| that| there| this)"
    r" (?:do|does|did|am|is|are|was|were|have|has|had|will|would|can|could|should|may|might|must)"
)
_ANSWERS = frozenset(
    (
        "yes yeah yep yup no nope nah okay ok sure right correct exactly thanks please hello hi hey bye goodbye stop "
        "never always maybe none nothing cancel continue wait"
    ).split()
)
_DIGITS = frozenset("zero oh one two three four five six seven eight nine".split())
_WORDS = re.compile(r"[\w'’]+")


def semantic_settings(eagerness: Eagerness) -> TurnSettings:
    """Settings that report every pause and end the turn by themselves only after the documented maximum."""
    return TurnSettings(silence_duration_ms=_PATIENCE_MS[eagerness]["unfinished"], pause_ms=_PAUSE_MS)


def patience_ms(text: str, eagerness: Eagerness) -> int:
    """How long a silence may last, in all, before the turn that said `text` so far is over."""
    return _PATIENCE_MS[eagerness][completeness(text)]


def completeness(text: str) -> Completeness:
    """Judge recognised words, with the recogniser's punctuation, by their ending.

    "unclear" is what might go on as well as not: no words at all, digits one by one, words without a full stop.
    """
    words = [word.replace("’", "'") for word in _WORDS.findall(text.lower())]
    if not words:
        return "unclear"
    ending = text.rstrip()[-1]
    if words[-1] in _WANTS_ANOTHER_WORD and ending != "?" and not _SHORT_ANSWER.fullmatch(" ".join(words)):
        return "unfinished"
    if text.rstrip().endswith(("...", "…", "-", "—")):
        return "unfinished"
    if all(_is_number(word) for word in words[-2:]):
        return "unclear"  # dictated numbers come in groups
    if ending in ".!?" or words[-1] in _ANSWERS:
        return "finished"
    return "unclear"


def _is_number(word: str) -> bool:
    return word.isdigit() or word in _DIGITS
