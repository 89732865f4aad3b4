"""The beat of all lines: one timer that goes through their 20 ms frames in order of time.

In order across lines too: after the loop was busy elsewhere, people who talk to each other catch up together, and none
misses what another has said. By the absolute clock, so nothing drifts.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from typing import Final, TypeAlias

EARLY_S: Final = 0.0005  # loops round their timers to milliseconds

Step: TypeAlias = Callable[[float], float | None]  # does what is due at this time; returns when it is due again


class Pacer:
    def __init__(self) -> None:
        self._due: list[tuple[float, int, Step]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, at: float, step: Step) -> None:
        """Call `step` at this time (`time.monotonic`), and then whenever it says, until it says None."""
        heapq.heappush(self._due, (at, next(self._numbers), step))
        if self._due[0][2] is step:
            self._set_timer()

    def stop(self) -> None:
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _run(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            at, number, step = heapq.heappop(self._due)
            again_at = step(at)
            if again_at is not None:
                heapq.heappush(self._due, (again_at, number, step))
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._due:
            delay_s = max(self._due[0][0] - time.monotonic(), 0) + EARLY_S
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._run)
