"""Whether words occur in what was said, though never letter for letter: recognisers mishear, models rephrase.

Case and punctuation do not count. A phrase is compared with every stretch of about as many words, so that "fund" is not
found in "refund", and "yes" not in "yesterday".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from rapidfuzz import fuzz, process

LIKENESS_MIN = 80.0  # of 100: a misheard letter or two in a short phrase, a word in a long one
SHORT_CHARS_MAX = 7  # so short words must be there as they are, or nearly: "fund" is not "refund"
SHORT_LIKENESS_MIN = 88.0

_WORD = re.compile(r"\w+(?:[’'.,:]\w+)*")  # noqa: RUF001 - typographic apostrophes are what models write
_INNER = re.compile(r"[’',]")  # noqa: RUF001 - as above


@dataclass(frozen=True, slots=True)
class Found:
    """The stretch of words that comes nearest. `text`: which of the texts it begins in; `likeness`: 0 to 100."""

    phrase: str
    likeness: float
    text: int
    words: str

    def is_like(self, likeness_min: float) -> bool:
        is_short = len(self.phrase) <= SHORT_CHARS_MAX
        return self.likeness >= (max(likeness_min, SHORT_LIKENESS_MIN) if is_short else likeness_min)


def plain_words(text: str) -> list[str]:
    """Lower case, without punctuation: what phrases are compared by."""
    return [_INNER.sub("", word) for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold())]


def likeness(wanted: str, found: str) -> float:
    """Of two whole texts, 0 to 100."""
    return fuzz.ratio(" ".join(plain_words(wanted)), " ".join(plain_words(found)))


def nearest(phrase: str, texts: Sequence[str]) -> Found | None:
    """Where in these texts, read as one, the phrase comes nearest; None when nothing was said."""
    words = [(word, number) for number, text in enumerate(texts) for word in plain_words(text)]
    wanted = plain_words(phrase)
    if not words or not wanted:
        return None
    size = len(wanted)
    stretches = {
        begin * 4 + more: " ".join(word for word, _ in words[begin : begin + length])
        for begin in range(len(words))
        for more, length in enumerate((size - 1, size, size + 1))
        if length > 0 and (begin + length <= len(words) or begin == 0)
    }
    plain = " ".join(wanted)
    best = process.extractOne(plain, stretches, scorer=fuzz.ratio, processor=None)
    assert best is not None
    stretch, score, key = best
    return Found(plain, float(score), words[key // 4][1], stretch)
