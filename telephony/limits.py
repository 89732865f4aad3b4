"""How often something may happen: pure counters with the time as an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PROBLEM_KINDS_MAX: Final = 64


class MessageRate:
    """A token bucket: `burst` messages at once, `per_second` in the long run."""

    def __init__(self, *, per_second: float, burst: int, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._room = float(burst)
        self._at = now

    def exceeded(self, count: int, now: float) -> bool:
        """Count `count` messages since the last call; True when they were too many."""
        self._room = min(self._room + (now - self._at) * self._per_second, self._burst) - count
        self._at = now
        return self._room < 0


@dataclass(slots=True)
class _Kind:
    window_ends_at: float
    passed: int = 0
    held_back: int = 0


class ProblemGate:
    """Lets a few problems of each kind pass in each window of time, and counts the others.

    A broken phone sends fifty wrong frames a second; the first ones tell it all.
    """

    def __init__(self, *, passes: int = 3, window_seconds: float = 10.0) -> None:
        self._passes = passes
        self._window_seconds = window_seconds
        self._kinds: dict[str, _Kind] = {}

    def let_pass(self, kind: str, now: float) -> tuple[bool, int]:
        """(whether to report this one, how many like it were held back since the last that passed)"""
        state = self._kinds.get(kind)
        if state is None:
            if len(self._kinds) >= PROBLEM_KINDS_MAX:
                self._kinds.pop(next(iter(self._kinds)))
            state = self._kinds[kind] = _Kind(now + self._window_seconds)
        elif now >= state.window_ends_at:
            state.window_ends_at, state.passed = now + self._window_seconds, 0
        if state.passed >= self._passes:
            state.held_back += 1
            return False, 0
        state.passed += 1
        held_back, state.held_back = state.held_back, 0
        return True, held_back
