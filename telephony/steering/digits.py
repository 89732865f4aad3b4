"""Keys that the caller presses, put together. Pure: the time is an argument (seconds, monotonic)."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal


@dataclass(frozen=True, slots=True)
class Entered:
    """Keys that belong together. `digits`: without the terminator that ended them, if one did."""

    digits: str
    ended_by: Literal["terminator", "length", "pause", "timeout", "end"]
    terminator: str = ""


class DigitEntry:
    """Waits for ever for the first key, unless `wait` says otherwise, and `pause_s` for each one after it."""

    def __init__(self, *, digits_max: int, pause_s: float, terminator: str) -> None:
        """`terminator`: keys that end it, each by itself; may be empty."""
        self._digits_max = digits_max
        self._pause_s = pause_s
        self._terminator = terminator
        self._digits = ""
        self._due_at = inf

    def wait(self, first_s: float, now: float) -> None:
        """From now on, the first key must come within this time."""
        if not self._digits:
            self._due_at = now + first_s

    @property
    def begun(self) -> bool:
        return bool(self._digits)

    def next_deadline(self) -> float:
        return self._due_at

    def press(self, digit: str, now: float) -> Entered | None:
        """A key was pressed; returns the entry when it completes it. Another one may begin then."""
        if digit in self._terminator:
            return self._take("terminator", digit)
        self._digits += digit
        if len(self._digits) >= self._digits_max:
            return self._take("length")
        self._due_at = now + self._pause_s
        return None

    def due(self, now: float) -> Entered | None:
        """The entry, if time has ended it."""
        if now < self._due_at:
            return None
        return self._take("pause" if self._digits else "timeout")

    def end(self) -> Entered:
        """The call is over, or nobody wants more."""
        return self._take("end")

    def _take(
        self, ended_by: Literal["terminator", "length", "pause", "timeout", "end"], terminator: str = ""
    ) -> Entered:
        entered = Entered(self._digits, ended_by, terminator)
        self._digits, self._due_at = "", inf
        return entered
