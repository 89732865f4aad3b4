"""What a tool's argument must be: a value, or one of a few looser things. JSON compares as JSON, whatever is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from realtime_bridge.errors import MisuseError
from telephony.expectations.phrases import LIKENESS_MIN, likeness

SHOWN_CHARS_MAX = 200


@dataclass(frozen=True, slots=True)
class Like:
    """Nearly this text: what callers spell and recognisers hear."""

    text: str
    likeness_min: float = LIKENESS_MIN

    def __str__(self) -> str:
        return f"like {self.text!r}"


@dataclass(frozen=True, slots=True)
class Matches:
    """The regular expression occurs in it, case ignored."""

    pattern: str

    def __post_init__(self) -> None:
        regular_expression(self.pattern)

    def __str__(self) -> str:
        return f"matching /{self.pattern}/"


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of these values."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return "one of " + ", ".join(shown(value) for value in self.values)


@dataclass(frozen=True, slots=True)
class _Anything:
    def __str__(self) -> str:
        return "anything"


ANYTHING = _Anything()  # as long as it is given

Argument: TypeAlias = Any  # a JSON value, or one of the above


def regular_expression(pattern: str) -> re.Pattern[str]:
    """Raises MisuseError for what is none."""
    try:
        return re.compile(pattern, re.IGNORECASE)
    except re.error as e:
        where = "" if e.pos is None else f" at character {e.pos + 1}"
        raise MisuseError(f"{pattern!r} is no regular expression: {e.msg}{where}") from e


def fits(wanted: Argument, found: Any) -> bool:
    """Whether a tool's argument is what was wanted. Objects may hold more than is asked for."""
    match wanted:
        case _Anything():
            return True
        case Like():
            return likeness(wanted.text, str(found)) >= wanted.likeness_min
        case Matches():
            return regular_expression(wanted.pattern).search(str(found)) is not None
        case OneOf():
            return any(fits(value, found) for value in wanted.values)
        case Mapping():
            return isinstance(found, Mapping) and all(k in found and fits(v, found[k]) for k, v in wanted.items())
        case str() | None | bool():
            return type(found) is type(wanted) and bool(found == wanted)
        case Sequence():
            return isinstance(found, list) and len(found) == len(wanted) and all(map(fits, wanted, found))
        case _:
            return not isinstance(found, bool) and bool(found == wanted)


def shown(value: Any) -> str:
    """For people."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key}: {shown(each)}" for key, each in value.items())
        text = f"{{{inner}}}"
    elif isinstance(value, str):
        text = repr(value)
    else:
        text = str(value)
    return text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 1] + "…"
