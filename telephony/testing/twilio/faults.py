"""What goes wrong on a simulated Twilio, switched on by tests.

twilio.faults.rest("reset-after", times=1, path="Calls.json")       # the call is made, its answer never comes
twilio.faults.webhook("duplicate", kind="status")
twilio.faults.stream = StreamFaults(media_lost=0.01)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Literal

from telephony.testing.phone import Faults

# slow: answers after `delay_s`. error: HTTP 500, code 20500. unavailable: HTTP 503 without JSON. garbage: HTTP 200 that is
# no JSON. too-many: HTTP 429, code 20429. reset-before: the connection is reset and nothing was done. reset-after: it was
# done, and then the connection is reset. hang-after: it was done, and no answer comes before `delay_s`.
RestFaultKind = Literal[
    "slow", "error", "unavailable", "garbage", "too-many", "reset-before", "reset-after", "hang-after"
]
# duplicate: sent twice. late: after `delay_s`, so behind those of later events. lost: never sent. forged: signed with
# another token. unsigned: without a signature.
WebhookFaultKind = Literal["duplicate", "late", "lost", "forged", "unsigned"]


@dataclass(frozen=True, slots=True)
class StreamFaults(Faults):
    """What goes wrong on media streams; chances from 0 to 1.

    `media_repeated`: a frame of caller audio comes twice. `media_swapped`: a frame comes behind the next one.
    """

    media_repeated: float = 0.0
    media_swapped: float = 0.0


@dataclass(slots=True)
class RestFault:
    kind: RestFaultKind
    method: str
    path: str
    left: int
    delay_s: float


@dataclass(slots=True)
class WebhookFault:
    kind: WebhookFaultKind
    about: str
    where: dict[str, str]
    left: int
    delay_s: float


@dataclass(slots=True)
class TwilioFaults:
    """All faults of one simulator. `rng` decides about those that have chances."""

    stream: StreamFaults = field(default_factory=StreamFaults)
    rng: Random = field(default_factory=lambda: Random(0))  # noqa: S311 - repeatable is what it must be
    _rest: list[RestFault] = field(default_factory=list)
    _webhooks: list[WebhookFault] = field(default_factory=list)

    def rest(
        self, kind: RestFaultKind, *, times: int = 1, method: str = "", path: str = "", delay_s: float = 1.0
    ) -> None:
        """The next `times` requests of this method whose path holds `path` meet this fault; faults strike in order."""
        self._rest.append(RestFault(kind, method, path, times, delay_s))

    def webhook(
        self,
        fault: WebhookFaultKind,
        *,
        kind: str = "",
        times: int = 1,
        delay_s: float = 1.0,
        **fields: str,
    ) -> None:
        """The next `times` webhooks of this kind (see `Webhook`) with these form fields meet this fault."""
        self._webhooks.append(WebhookFault(fault, kind, fields, times, delay_s))

    def clear(self) -> None:
        """Nothing goes wrong from now on."""
        self._rest.clear()
        self._webhooks.clear()
        self.stream = StreamFaults()

    def strike_rest(self, method: str, path: str) -> RestFault | None:
        """The fault of this request, used up by it."""
        for fault in self._rest:
            if fault.left > 0 and fault.method in ("", method) and fault.path in path:
                fault.left -= 1
                return fault
        return None

    def strike_webhook(self, kind: str, form: Mapping[str, str]) -> WebhookFault | None:
        """The fault of this webhook, used up by it."""
        for fault in self._webhooks:
            matches = fault.about in ("", kind) and fault.where.items() <= form.items()
            if fault.left > 0 and matches:
                fault.left -= 1
                return fault
        return None
