"""A network in virtual time: one direction of one TCP connection."""

from __future__ import annotations

from random import Random


class Link:
    """Says when what is sent arrives. Nothing is lost and nothing overtakes, as on TCP."""

    def __init__(self, one_way_ms: float = 0.0, jitter_ms: float = 0.0, rng: Random | None = None) -> None:
        """Each frame takes `one_way_ms` and an even share of `jitter_ms`, drawn from `rng`, and waits for those before it."""
        self._delay_s = one_way_ms / 1000
        self._jitter_s = jitter_ms / 1000
        self._rng = rng or Random(0)  # noqa: S311 - repeatable is what it must be
        self._last_arrival = float("-inf")
        self._stalls: list[tuple[float, float]] = []

    def stall(self, start: float, end: float) -> None:
        """Nothing arrives in [start, end): it all comes at the end, at once, as after a lost packet."""
        self._stalls.append((start, end))

    def arrival(self, sent_at: float) -> float:
        """When a frame sent now arrives. Call once per frame, in order."""
        jitter = self._rng.uniform(0, self._jitter_s) if self._jitter_s else 0.0
        at = max(self._last_arrival, sent_at + self._delay_s + jitter)
        for start, end in self._stalls:
            if start <= at < end:
                at = end
        self._last_arrival = at
        return at
