"""When, by the phone's clock, something happened here.

The recording is on the phone's clock, whose 0 is the first sample of the caller. It is known from what the phone says of
itself: caller audio is stamped with the time at which it began, and can leave only when it has ended. What it takes to
arrive varies, and so the clock goes by the average of the last seconds, as the playout ledger's round trip does: both
together then place the agent's audio without a bias. What comes in late bursts, after a stall of the network or of this
program, says nothing.

Source: https://www.twilio.com/docs/voice/media-streams/websocket-messages ("Media message", `timestamp`).

Pure: times are arguments, in seconds of any monotonic clock.
"""

from __future__ import annotations

from collections import deque

SAMPLES_KEPT = 500  # ten seconds of caller audio
STALL_S = 0.1  # later than the earliest of them: not jitter, but a stall
REFRESH_EVERY = 25  # samples: what is asked every frame is worked out twice a second


class PhoneClock:
    """The phone's clock in terms of ours."""

    def __init__(self, began: float) -> None:
        """`began`: when the stream did, as far as is known before the first caller audio."""
        self._zero = began
        self._samples: deque[float] = deque(maxlen=SAMPLES_KEPT)
        self._fresh = 0  # samples since `_zero` was worked out

    def heard(self, timestamp_ms: int, lasting_ms: float, now: float) -> None:
        """Caller audio came that began at `timestamp_ms` of the phone's clock."""
        self._samples.append(now - (timestamp_ms + lasting_ms) / 1000)
        self._fresh += 1

    def at_ms(self, at: float) -> float:
        """A time of ours on the phone's clock: what the caller said then, we hear now. Never before 0."""
        if self._fresh and (self._fresh >= REFRESH_EVERY or len(self._samples) < REFRESH_EVERY):
            self._fresh = 0
            latest = min(self._samples) + STALL_S
            in_time = sorted(sample for sample in self._samples if sample <= latest)
            cut = len(in_time) // 4
            middle = in_time[cut : len(in_time) - cut]
            self._zero = sum(middle) / len(middle)
        return max(0.0, (at - self._zero) * 1000)
