"""How long things took, over a whole call, in little memory."""

from __future__ import annotations

from array import array

import numpy as np

SAMPLES_MAX = 4096


class Latencies:
    """Collects times in milliseconds, for percentiles.

    Keeps at most `SAMPLES_MAX`: when they are full, every second one goes, and from then on only every second, fourth,
    eighth … new one is kept. So they stay spread evenly over the call. Adding one costs a fraction of a microsecond.
    """

    def __init__(self) -> None:
        self._kept_ms = array("d")
        self._stride = 1
        self._count = 0
        self._max_ms = 0.0

    def __len__(self) -> int:
        """How many have been added."""
        return self._count

    def add(self, ms: float) -> None:
        if self._count % self._stride == 0:
            if len(self._kept_ms) == SAMPLES_MAX:
                self._kept_ms = self._kept_ms[::2]
                self._stride *= 2
            self._kept_ms.append(ms)
        self._count += 1
        self._max_ms = max(self._max_ms, ms)

    def percentile(self, percent: float) -> float | None:
        """`percent` (0 to 100) of the times are not above this; None when there are none."""
        return float(np.percentile(self._kept_ms, percent)) if self._kept_ms else None

    def summary(self, name: str) -> dict[str, float]:
        """`{name}_p50`, `{name}_p99` and `{name}_max`, to the microsecond; empty when nothing was added."""
        if not self._kept_ms:
            return {}
        p50, p99 = np.percentile(self._kept_ms, [50, 99])
        values = {"p50": p50, "p99": p99, "max": self._max_ms}
        return {f"{name}_{key}": round(float(value), 3) for key, value in values.items()}
