"""Where a call's TwiML comes from, and what a verb says of what follows it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, TypeAlias


@dataclass(frozen=True, slots=True)
class Program:
    """A document to be fetched from `url`, or `twiml` itself. `form`: fields that its webhook has beside the usual."""

    url: str = ""
    method: str = "POST"
    twiml: str | None = None
    fallback_url: str = ""
    fallback_method: str = "POST"
    form: dict[str, str] = field(default_factory=dict)
    kind: str = "voice"


@dataclass(frozen=True, slots=True)
class Jump:
    """Go on with another program."""

    program: Program


class Next(Enum):
    NEXT = auto()  # go on with the next verb
    HANG_UP = auto()
    LEAVE = auto()  # the queue


Outcome: TypeAlias = Jump | Next
NEXT: Final = Next.NEXT
HANG_UP: Final = Next.HANG_UP
LEAVE: Final = Next.LEAVE
