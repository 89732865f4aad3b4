"""Numbers and identifiers in what was said: "nineteen ninety nine", "$19.99", "a ten forty two", "five double two"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from realtime_bridge.localmodel.brains.words import Utterance, Word

CODE_CHARACTERS_MAX = 40
NUMBER_CHARACTERS_MAX = 15  # more digits are no number but a code, and not exact in everybody's JSON

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_MIXED = re.compile(r"(?=\D*\d)[a-z0-9]+", re.ASCII)  # letters and digits with at least one digit: "1042", "b7731"
_ORDINAL = re.compile(r"\d+(?:st|nd|rd|th)")
MONEY_SIGNS = frozenset("$€£")
_MONEY_UNITS = frozenset(("dollar", "dollars", "buck", "bucks", "euro", "euros", "pound", "pounds", "quid"))
_SMALL_CHANGE = re.compile(r"(?:(?:and )?(?P<change>\d{1,2}) (?:cents?|pence|penny|p)|(?P<bare>\d\d))(?=\s|$)")
_REPEATS = {"double": 2, "triple": 3, "treble": 3}
# A recogniser writes these for digits, between digits: "one zero for two".
_MISHEARD = {"for": "4", "fore": "4", "to": "2", "too": "2", "ate": "8", "won": "1"}


@dataclass(frozen=True, slots=True)
class Number:
    """`span`: its words, with the sign and unit of money. `digits`: the number as said in groups ("19", "99")."""

    span: range
    value: int | float
    digits: tuple[str, ...]
    is_money: bool


@dataclass(frozen=True, slots=True)
class Code:
    """`pieces`: letters and digits in turn, upper case ("A", "1042"); at least one piece is digits."""

    span: range
    pieces: tuple[str, ...]

    @property
    def plain(self) -> str:
        return "".join(self.pieces)

    @property
    def digits(self) -> str:
        return "".join(piece for piece in self.pieces if piece.isdecimal())


def number_runs(heard: Utterance) -> list[Number]:
    """All numbers, in order. Groups without a pause between them are one number: "10 42" is 1042."""
    words = heard.words
    numbers: list[Number] = []
    at = 0
    while at < len(words):
        if not _NUMBER.fullmatch(words[at].form):
            at += 1
            continue
        end = at + 1
        if words[at].form.isdecimal():
            while end < len(words) and words[end].form.isdecimal() and not words[end].pause:
                end += 1
        if sum(len(word.form) for word in words[at:end]) <= NUMBER_CHARACTERS_MAX:
            numbers.append(_number(words, at, end))
            end = numbers[-1].span.stop
        at = end
    return numbers


def _number(words: tuple[Word, ...], first: int, end: int) -> Number:
    digits = tuple(word.form for word in words[first:end])
    joined = "".join(digits)
    value: int | float = float(joined) if "." in joined else int(joined)
    begin = first
    is_money = first > 0 and words[first - 1].form in MONEY_SIGNS
    if is_money:
        begin -= 1
    elif end < len(words) and words[end].form in _MONEY_UNITS:
        is_money = True
        end += 1
        small = _SMALL_CHANGE.match(" ".join(word.form for word in words[end : end + 3]))
        if small:
            value = round(value + int(small["change"] or small["bare"]) / 100, 2)
            end += len(small.group().split())
    if begin > 0 and words[begin - 1].form in ("minus", "negative"):
        begin -= 1
        value = -value
    return Number(range(begin, end), value, digits, is_money)


def code_runs(heard: Utterance) -> list[Code]:
    """All runs of spelt letters and digits that hold a digit, in order."""
    words = heard.words
    codes: list[Code] = []
    at = 0
    while at < len(words):
        code = _code_from(words, at)
        if code is None:
            at += 1
        else:
            codes.append(code)
            at = code.span.stop
    return codes


def _code_from(words: tuple[Word, ...], first: int) -> Code | None:
    pieces: list[tuple[str, int]] = []  # characters, and the word behind them
    at, digits_until = first, 0
    while at < len(words) and len(pieces) < CODE_CHARACTERS_MAX and (at == first or _goes_on(words, at)):
        piece, taken = _piece(words, at, after_digit=digits_until > 0)
        if not piece:
            break
        at += taken
        pieces.append((piece, at))
        if any(character.isdecimal() for character in piece):
            digits_until = len(pieces)
    if not digits_until:
        return None
    if digits_until < len(pieces) and pieces[digits_until][0] not in ("a", "i"):  # "1042 b"; those two are words
        digits_until += 1
    spelt = "".join(piece for piece, _ in pieces[:digits_until]).upper()
    return Code(range(first, pieces[digits_until - 1][1]), tuple(re.findall(r"[A-Z]+|\d+", spelt)))


def _goes_on(words: tuple[Word, ...], at: int) -> bool:
    """Whether a code may go on with the word at `at`. Recognisers write commas between digits said slowly."""
    if words[at].pause == ",":
        before, behind = words[at - 1].form, words[at + 1].form if at + 1 < len(words) else ""
        is_amount = behind in _MONEY_UNITS
        return (words[at].form.isdecimal() and not is_amount) or (len(before) == 1 and before.isalpha())
    return not words[at].pause


def _piece(words: tuple[Word, ...], at: int, *, after_digit: bool) -> tuple[str, int]:
    """What the word at `at` adds to a code, and how many words that takes; ("", 0) when the code ends before it."""
    form = words[at].form
    following = words[at + 1].form if at + 1 < len(words) else ""
    if form in _REPEATS and (following.isdecimal() or (len(following) == 1 and following.isalpha())):
        return following[0] * _REPEATS[form] + following[1:], 2
    if form in ("oh", "o") and following.isdecimal():
        return "0", 1
    if form in _MISHEARD and after_digit and len(following) == 1 and following.isdecimal():
        return _MISHEARD[form], 1
    if (_MIXED.fullmatch(form) and not _ORDINAL.fullmatch(form)) or (
        len(form) == 1 and form.isascii() and form.isalpha()
    ):
        return form, 1
    return "", 0
