"""The longest a call may last: a warning first, then its end. Pure: the time is an argument (seconds, monotonic)."""

from __future__ import annotations

from math import inf
from typing import Literal

from telephony.steering.control_settings import LengthSettings


class CallLength:
    """Of one call that began at `began`."""

    def __init__(self, settings: LengthSettings, began: float) -> None:
        self._end_at = began + settings.seconds_max
        before_s = settings.warning_before_s
        warned = before_s is not None and 2 * before_s <= settings.seconds_max
        self._warn_at = self._end_at - before_s if warned and before_s is not None else inf

    def next_deadline(self) -> float:
        return min(self._warn_at, self._end_at)

    def due(self, now: float) -> Literal["warn", "end"] | None:
        """Each once."""
        if now >= self._end_at:
            self._warn_at = self._end_at = inf
            return "end"
        if now >= self._warn_at:
            self._warn_at = inf
            return "warn"
        return None
