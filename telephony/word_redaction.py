"""What must not be written down of what was said: card numbers, or whatever patterns the setting REDACT names.

For the words that are kept of a call: transcripts, tools' arguments and outputs, events. (`redaction` keeps secrets and
phone numbers out of logs.) Patterns are RE2's, which takes time in proportion to the text whatever the pattern: one that
somebody wrote in haste must not hold up every call. https://github.com/google/re2/wiki/Syntax
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import re2

from realtime_bridge.errors import MisuseError

BLACK: Final = "•"
RULES_MAX: Final = 50
PATTERN_CHARS_MAX: Final = 500
PATTERN_BYTES_MAX: Final = 1 << 20  # of memory, for one compiled pattern
DIGITS_MIN: Final = 4
CARD_DIGITS_MIN: Final = 13  # ISO/IEC 7812-1: at most 19, and no issuer has fewer than 13 today

# As transcripts write them: 4242-4242 4242 4242, or "four two four two" where the caller spoke slowly.
_SPOKEN = r"\b(?:zero|oh|one|two|three|four|five|six|seven|eight|nine|double|triple)\b"
_DIGIT = rf"(?:\p{{Nd}}|{_SPOKEN})"
_BETWEEN = r"[\s,./\x{2010}-\x{2015}-]{0,3}"

_PARTS: Final = re.compile(r"\\.|\[:\^?\w+:\]|\[\^?\]?|.", re.DOTALL)
_WIDER: Final = {r"\d": r"\p{Nd}", r"\D": r"\P{Nd}", r"\w": r"\p{L}\p{M}\p{N}_"}


def _run_of_digits(least: int) -> str:
    return rf"(?i)(\+)?({_DIGIT}(?:{_BETWEEN}{_DIGIT}){{{least - 1},}})"


_NAMED: Final = {"digits": _run_of_digits(DIGITS_MIN), "cards": _run_of_digits(CARD_DIGITS_MIN)}


def rules_of(setting: str) -> tuple[str, ...]:
    """The rules in a setting's text: `off`, names and one pattern as they are, or a JSON list of them.

    Raises MisuseError, which says what is wrong with which.
    """
    text = setting.strip()
    if text.lower() in ("", "off"):
        return ()
    rules: tuple[str, ...] = (text,)
    if text.startswith('["') or text == "[]":
        try:
            rules = msgspec.json.decode(text, type=tuple[str, ...])
        except msgspec.DecodeError as e:
            raise MisuseError(f'expected a JSON list of texts, such as ["cards", "code \\\\w+"]: {e}') from e
    elif all(word.strip() in _NAMED for word in text.split(",")):
        rules = tuple(word.strip() for word in text.split(","))
    WordRedactor(rules)
    return rules


class WordRedactor:
    """Blackens what its rules match: every character but blanks becomes `BLACK`.

    A rule is `digits` (runs of `DIGITS_MIN` digits or more, spoken English ones too), `cards` (of `CARD_DIGITS_MIN`, but
    for phone numbers with a +), or a pattern; of one with groups, only what the groups hold.
    """

    def __init__(self, rules: Iterable[str] = ()) -> None:
        """Raises MisuseError for a rule that is no pattern, or would blacken nothing."""
        rules = tuple(rules)
        if len(rules) > RULES_MAX:
            raise MisuseError(f"at most {RULES_MAX} rules")
        self._named = [(_compiled(_NAMED[rule]), rule == "cards") for rule in rules if rule in _NAMED]
        self.patterns = PatternRedactor(rule for rule in rules if rule not in _NAMED)

    def __bool__(self) -> bool:
        return bool(self._named or self.patterns)

    def text(self, text: str) -> str:
        for pattern, spares_phones in self._named:
            text = pattern.sub(_black_number(spares_phones=spares_phones), text)
        return self.patterns(text)

    def value(self, value: Any) -> Any:
        """JSON: its texts, and numbers that a rule matches as they are written."""
        if not self:
            return value
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(str(key)): self.value(item) for key, item in value.items()}
            case list() | tuple():
                return [self.value(item) for item in value]
            case int() | float() if not isinstance(value, bool):
                written = repr(value)
                blackened = self.text(written)
                return value if blackened == written else blackened
        return value


class PatternRedactor:
    """Patterns alone: what logs are to keep to themselves too. Call it with a text."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        """Raises MisuseError, as above."""
        self._patterns = [_checked(pattern) for pattern in patterns]

    def __bool__(self) -> bool:
        return bool(self._patterns)

    def __call__(self, text: str) -> str:
        for pattern in self._patterns:
            text = pattern.sub(_black_groups, text)
        return text


def _checked(pattern: str) -> Any:
    if not 0 < len(pattern) <= PATTERN_CHARS_MAX:
        raise MisuseError(f"a pattern has 1 to {PATTERN_CHARS_MAX} characters")
    try:
        compiled = _compiled(_in_all_scripts(pattern))
    except re2.error as e:
        why = e.args[0].decode(errors="replace") if e.args and isinstance(e.args[0], bytes) else str(e)
        raise MisuseError(
            f"{pattern!r} is no pattern ({why}); RE2's syntax has no back references and no looking around"
        ) from e
    if compiled.search("") is not None:
        raise MisuseError(f"{pattern!r} matches nothing at all, and so everywhere; let it match one character at least")
    return compiled


def _in_all_scripts(pattern: str) -> str:
    r"""RE2's \d and \w know ASCII only, but "my name is \w+" is meant for Grün and Νίκος too."""
    inside = False
    parts = []
    for part in _PARTS.findall(pattern):
        wider = _WIDER.get(part)
        parts.append(part if wider is None else wider if inside else f"[{wider}]")
        inside = part != "]" if inside else part.startswith("[")
    return "".join(parts)


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PATTERN_BYTES_MAX
    return re2.compile(pattern, options)


def _black_number(*, spares_phones: bool) -> Callable[[Any], str]:
    def black(found: Any) -> str:
        if spares_phones and found[1]:
            return str(found[0])
        return (found[1] or "") + _blackened(found[2])

    return black


def _black_groups(found: Any) -> str:
    text, start = found[0], found.start()
    spans = [found.span(number) for number in range(1, found.re.groups + 1) if found.start(number) >= 0]
    if not found.re.groups:
        return _blackened(text)
    characters = list(text)
    for first, end in spans:
        for at in range(first - start, end - start):
            characters[at] = _blackened(characters[at])
    return "".join(characters)


def _blackened(text: str) -> str:
    return "".join(char if char.isspace() else BLACK for char in text)
