"""What was said, word by word: case and punctuation gone, numbers as digits, each word knowing where it came from.

A recogniser writes the same words in many ways ("A ten forty two.", "a 1042", "half-past three", "$19.99", "Good-by");
everything that compares words compares this form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import decimal

from rapidfuzz import fuzz
from text_to_num import find_numbers  # type: ignore[import-untyped,unused-ignore]  # ships no types

WORDS_MAX = 400  # more than a minute and a half without a pause; what follows is not looked at

_TOKEN = re.compile(
    r"""
    (?P<word>
        [$€£]
      | [\w.+-]+@[\w-]+(?:\.[\w-]+)*         # an e-mail address
      | \d{4}-\d\d-\d\d\b
      | \d+(?:[:.,/]\d+)+                    # 10:30, 19.99, 1,000, 3/5
      | \b[ap]\.m\b\.?                       # a.m.
      | [^\W_]+(?:\.[^\W\d_]{2,})+           # example.com
      | [^\W_]+(?:['’][^\W_]+)*
    )
    | (?P<pause>[.,;:!?…])
    """,  # noqa: RUF001 - recognisers write both apostrophes
    re.VERBOSE | re.IGNORECASE,
)
_CONTRACTION = re.compile(r"['’](?:s|d|ll|ve|re|m)$")  # noqa: RUF001 - as above
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_SPELT_APART = {"good by": "goodbye", "good bye": "goodbye", "o clock": "oclock"}


@dataclass(frozen=True, slots=True)
class Word:
    """`form`: lower case, digits for numbers. `begin`, `end`: where it stands in the text. `pause`: the sign of a pause
    before it, such as a comma."""

    form: str
    begin: int
    end: int
    pause: str = ""


@dataclass(frozen=True, slots=True)
class Utterance:
    """A text and its words. `line`: the words' forms joined by single spaces, for regular expressions."""

    text: str
    words: tuple[Word, ...]
    line: str
    starts: tuple[int, ...]  # where each word begins in `line`

    def said(self, first: int, end: int) -> str:
        """Words `first` to `end` (excluded) as they stand in the text."""
        return self.text[self.words[first].begin : self.words[end - 1].end] if first < end else ""

    def span(self, match: re.Match[str]) -> range:
        """The words that a match in `line` touches."""
        inside = [
            i for i, s in enumerate(self.starts) if s < match.end() and s + len(self.words[i].form) > match.start()
        ]
        return range(inside[0], inside[-1] + 1) if inside else range(0)


class _Token:
    """What `find_numbers` wants to be given."""

    def __init__(self, word: Word) -> None:
        self._word = word

    def text(self) -> str:
        return self._word.form

    def nt_separated(self, _previous: object) -> bool:
        return self._word.pause != ""

    def not_a_number_part(self) -> bool:
        return False


@lru_cache(maxsize=1024)
def utterance(text: str) -> Utterance:
    """Read a text. Never raises; beyond `WORDS_MAX` words the rest is ignored."""
    words = _numbers_as_digits(_joined(_split(text)))
    starts: list[int] = []
    position = 0
    for word in words:
        starts.append(position)
        position += len(word.form) + 1
    return Utterance(text, tuple(words), " ".join(word.form for word in words), tuple(starts))


def _split(text: str) -> list[Word]:
    words: list[Word] = []
    pause = ""
    for token in _TOKEN.finditer(text):
        if token["pause"]:
            pause = token["pause"]
            continue
        words.append(Word(_form(token["word"]), token.start(), token.end(), pause))
        pause = ""
        if len(words) == WORDS_MAX:
            break
    return words


def _form(token: str) -> str:
    form = "".join(str(decimal(letter)) if letter.isdecimal() else letter for letter in token.casefold())
    if re.fullmatch(r"[ap]\.m\.?", form):
        return form[0] + "m"
    if _THOUSANDS.fullmatch(form):
        return form.replace(",", "")
    return re.sub(r"['’]", "", _CONTRACTION.sub("", form))  # noqa: RUF001 - as above


def _joined(words: list[Word]) -> list[Word]:
    joined: list[Word] = []
    for word in words:
        whole = _SPELT_APART.get(f"{joined[-1].form} {word.form}") if joined and not word.pause else None
        if whole is None:
            joined.append(word)
        else:
            joined[-1] = Word(whole, joined[-1].begin, word.end, joined[-1].pause)
    return joined


def _numbers_as_digits(words: list[Word]) -> list[Word]:
    result: list[Word] = []
    done = 0
    for number in find_numbers([_Token(word) for word in words], "en", threshold=0):
        result += words[done : number.start]
        first, last = words[number.start], words[number.end - 1]
        result.append(Word(number.text, first.begin, last.end, first.pause))
        done = number.end
    return result + words[done:]


def spoken_name(name: str) -> str:
    """`order_id`, `orderId` and `order-id` as "order id"."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return " ".join(re.findall(r"[^\W_]+", apart)).casefold()


_ENDINGS = ("ings", "ing", "ied", "ies", "ed", "es", "er", "s", "e", "y")


def stem(word: str) -> str:
    """Rough: enough to bring "open", "opens" and "opening", or "bill" and "billing", together."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word[: -len(ending)]
    return word


@lru_cache(maxsize=8192)
def alike(a: str, b: str) -> bool:
    """Whether two words are the same but for grammar or one misheard letter."""
    a, b = stem(a), stem(b)
    if a == b:
        return True
    return min(len(a), len(b)) >= 4 and not (a + b).isdecimal() and fuzz.ratio(a, b) >= 83


def mentions(line: Sequence[str], word: str) -> bool:
    return any(alike(each, word) for each in line)
