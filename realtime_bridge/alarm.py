"""One timer for a deadline that is moved by nearly everything that happens.

Setting a timer anew for each frame of audio would cost as much as the frame. So it is set anew only where it would ring
too late; one that rings too early, because the deadline was put off meanwhile, is set for the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SLACK_S = 0.001  # what rings this early is due: uvloop counts in milliseconds


class Alarm:
    """Calls `ring` when the deadline comes, once per `set`. Make it on the event loop it runs on."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._at: float | None = None
        self._timer: asyncio.Handle | None = None
        self._rings_at = 0.0  # kept here: what uvloop returns for a moment that is due has no `when()`

    def set(self, at: float | None) -> None:
        """The deadline, in the loop's time, in place of the one before. None: there is none."""
        self._at = at
        if at is None or (self._timer is not None and at >= self._rings_at - SLACK_S):
            return
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = at
        self._timer = self._loop.call_at(at, self._look)

    def cancel(self) -> None:
        """Ring no more, unless it is set again."""
        self._at = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        at, self._at = self._at, None
        if at is None:
            return
        if at > self._loop.time() + SLACK_S:
            self.set(at)
        else:
            self._ring()
