"""What a simulation writes down, for tests and people to ask: alerts, webhooks, what was said.

Times are seconds of the simulator's monotonic clock (`time.monotonic`), the one that calls and lines are told by.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

# https://www.twilio.com/docs/voice/api/call-resource#call-status-values
FINAL_STATUSES: Final = frozenset({"completed", "busy", "no-answer", "canceled", "failed"})


@dataclass(frozen=True, slots=True)
class StatusChange:
    status: str
    at: float


@dataclass(frozen=True, slots=True)
class Alert:
    """What Twilio's debugger would show. `code`: of https://www.twilio.com/docs/api/errors."""

    code: int
    message: str
    at: float
    call_sid: str = ""


@dataclass(slots=True)
class Webhook:
    """One request to the application, and what came of it.

    `kind`: what it was for: voice, status, amd, stream-status, action, whisper, recording, conference, fallback, media.
    `status` is None when no answer came; `error` then says why.
    """

    kind: str
    url: str
    method: str
    form: dict[str, str]
    sent_at: float
    attempt: int = 1
    fault: str = ""
    status: int | None = None
    content_type: str = ""
    body: str = ""
    error: str = ""
    answered_at: float | None = None


@dataclass(frozen=True, slots=True)
class Executed:
    """A TwiML verb that was begun."""

    verb: str
    attributes: dict[str, str]
    text: str
    at: float


@dataclass(slots=True)
class Said:
    """Twilio said or played this to somebody. `end` is when it really ended; `cut`: before it was through."""

    text: str
    start: float
    end: float
    cut: bool = False


@dataclass(slots=True)
class Recording:
    """Audio that Twilio recorded, 8 kHz mu-law; `channels` side by side in `mulaw` only when there are two."""

    sid: str
    call_sid: str
    source: str
    started_at: float
    mulaw: tuple[bytes, ...] = ()
    status: str = "in-progress"
    digits: str = ""

    @property
    def duration_s(self) -> int:
        """Whole seconds, as Twilio reports them; rounded up, so that a short word is no nothing."""
        return -(-max((len(channel) for channel in self.mulaw), default=0) // 8000)


@dataclass(slots=True)
class Ledger:
    """All that happened on a simulator beside its calls."""

    alerts: list[Alert] = field(default_factory=list)
    webhooks: list[Webhook] = field(default_factory=list)
    recordings: dict[str, Recording] = field(default_factory=dict)
