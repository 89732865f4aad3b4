"""What must not be read in logs and spans: secrets, and whole phone numbers.

Works on finished text, so that it covers what a caller's name, a library's error or a traceback carries into a line. In
doubt it takes too much: a byte count of nine figures is easier to miss than a customer's number is to explain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import quote, quote_plus

MASK: Final = "********"
SECRET_CHARS_MIN: Final = 6  # a shorter one would black out ordinary words, and keeps nothing safe anyway
DIGITS_MIN: Final = 8  # of a number without "+"; national numbers of most countries have more
DIGITS_SHOWN: Final = 3

# Runs of digits that are no numbers to dial: a date, an IPv4 address, a decimal below a thousand, a UUID.
_HARMLESS = (
    r"\d{4}-[01]\d-[0-3]\d(?![\d.-])"
    r"|(?:(?:0|[1-9]\d{0,2})\.){3}(?:0|[1-9]\d{0,2})(?![\d.])"
    r"|\d{1,3}\.\d+(?![\d.()/-])"
    r"|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?!\w)"
)
# What people and `phonenumbers` put between the digits, in a URL's quoting too: (0)30 1234-567, 01.23.45.67.89, 1%20201.
_BETWEEN = r"(?:[ \u00a0\u2010-\u2015.()/~+-]|%2[089DF]){0,3}"
_PLUS = rf"(?:\+|%2B|\\u002[bB])(?:{_BETWEEN}\d){{5,}}"
# In a repr, a line break before a number is a backslash and a letter.
_START = r"(?:(?<!\w)|(?<=\\[nrt]))"
_END = r"(?:(?!\w)|(?=ext|x\d))"
_NATIONAL = rf"{_START}\d(?:{_BETWEEN}\d){{{DIGITS_MIN - 1},}}{_END}"
_NUMBER = re.compile(rf"{_PLUS}|{_START}(?P<harmless>{_HARMLESS})|{_NATIONAL}", re.IGNORECASE)

_SECRETS = re.compile(
    r"(?P<bearer>\b(?:bearer|authorization\W{1,8}basic)\s{1,4})[\w.~+/=-]{8,}"
    r"|(?P<key>\bsk-)[\w-]{8,}"
    r"|(?P<login>//[^\s:/@]{0,256}:)[^\s/@]{1,256}(?=@)"
    r"|(?P<twiml>name=\\?[\"']token\\?[\"']\s+value=\\?[\"'])[^\"'\\]+"
    r"|(?P<named>(?:token|secret|password|passwd|api[_-]?key)\\?[\"']?\s{0,4}[=:]\s{0,4}\\?[\"']?)[^\s\"'\\&,;)}\]]{6,}",
    re.IGNORECASE,
)


class Redactor:
    """Call it with a text. `secrets`: what must not appear, however it is quoted; shorter than `SECRET_CHARS_MIN` it
    is left alone. `more`: what else is to be done to a text."""

    def __init__(self, secrets: Iterable[str] = (), more: Callable[[str], str] = str) -> None:
        forms = {
            form
            for secret in secrets
            if len(secret) >= SECRET_CHARS_MIN
            for form in (
                secret,
                quote(secret, safe=""),
                quote_plus(secret),
                json.dumps(secret)[1:-1],
                repr(secret)[1:-1],
            )
        }
        self._more = more
        longest_first = sorted(forms, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(MASK, text)
        return mask_numbers(self._more(_SECRETS.sub(_mask_secret, text)))


def mask_numbers(text: str) -> str:
    """All phone numbers in a text, down to their last digits: `+14155552671` becomes `***671`."""
    return _NUMBER.sub(_mask_number, text)


def _mask_secret(found: re.Match[str]) -> str:
    assert found.lastgroup is not None
    return found[found.lastgroup] + MASK


def _mask_number(found: re.Match[str]) -> str:
    if found["harmless"] is not None:
        return found[0]
    digits = [char for char in re.sub(r"%2[0-9A-F]", "", found[0], flags=re.IGNORECASE) if char.isdigit()]
    return "***" + "".join(digits[-DIGITS_SHOWN:])
