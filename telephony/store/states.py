"""Which state of a call may follow which: callbacks come late, twice and out of order.

Each callback is an HTTP request of its own, so none can count on the others having arrived. A state therefore only ever
moves forward in the table below, and a final one is final.
https://www.twilio.com/docs/voice/api/call-resource#statuscallbackevent
"""

from __future__ import annotations

from typing import Final

from realtime_bridge.errors import MisuseError

# In the order in which a call passes through them; it may skip some. `claimed` is an attempt's, before Twilio knows.
UNDER_WAY: Final = ("claimed", "queued", "initiated", "ringing", "in-progress")
FINAL: Final = frozenset({"completed", "busy", "failed", "no-answer", "canceled", "refused"})


def is_final(status: str) -> bool:
    return status in FINAL


def may_follow(status: str) -> tuple[str, ...]:
    """The states that `status` may replace. Raises MisuseError for an unknown one."""
    if status in FINAL:
        return UNDER_WAY
    if status not in UNDER_WAY:
        raise MisuseError(
            f"{status!r} is no state of a call: expected one of {', '.join([*UNDER_WAY, *sorted(FINAL)])}"
        )
    return UNDER_WAY[: UNDER_WAY.index(status)]
