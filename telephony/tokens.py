"""Single-use tokens that join a call's webhook to its media socket.

A media socket costs model time, so it opens only for a call whose webhook was answered a moment ago: the answer carries a
token for that call's SID, and the socket's `start` message must bring both back, once.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from itertools import takewhile
from typing import Final

TOKEN_BYTES: Final = 32
TOKEN_SECONDS: Final = 60.0  # Twilio opens the stream at once; a greeting may come before it
EXPECTED_SECONDS: Final = 10.0  # Twilio opens the stream within one or two
TOKENS_MAX: Final = 10_000


class TokenVerdict(Enum):
    """The value is fit for a log line and a close reason."""

    VALID = "valid"
    MISSING = "no token"
    UNKNOWN = "no token is open for this call: it was used, has expired, or never was"
    FOREIGN = "the token belongs to another call"
    EXPIRED = "the token has expired"


@dataclass(frozen=True, slots=True)
class _Issued:
    token: str
    expires_at: float


class CallTokens:
    """The tokens that wait for their socket: at most one per call, `tokens_max` in all. `now` is monotonic seconds."""

    def __init__(self, *, seconds: float = TOKEN_SECONDS, tokens_max: int = TOKENS_MAX) -> None:
        self._seconds = seconds
        self._tokens_max = tokens_max
        self._by_call: OrderedDict[str, _Issued] = OrderedDict()  # oldest first

    def issue(self, call_sid: str, now: float) -> str | None:
        """A fresh token, which replaces an earlier one of the same call. None when too many are open."""
        self._by_call.pop(call_sid, None)
        while self._by_call and next(iter(self._by_call.values())).expires_at <= now:
            self._by_call.popitem(last=False)
        if len(self._by_call) >= self._tokens_max:
            return None
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._by_call[call_sid] = _Issued(token, now + self._seconds)
        return token

    def redeem(self, token: str | None, call_sid: str, now: float) -> TokenVerdict:
        """Use a token up. A wrong token leaves the right one open: guessing must not lock the caller out."""
        if not token:
            return TokenVerdict.MISSING
        issued = self._by_call.get(call_sid)
        if issued is None:
            return TokenVerdict.UNKNOWN
        if not hmac.compare_digest(issued.token.encode(), token.encode("utf-8", "surrogatepass")):
            return TokenVerdict.FOREIGN
        del self._by_call[call_sid]
        return TokenVerdict.VALID if now < issued.expires_at else TokenVerdict.EXPIRED

    def expected(self, now: float) -> int:
        """How many calls are about to open their socket: those whose token is fresh.

        One that is still open later was used at another process, or its caller has gone; in a rare case it comes yet.
        """
        fresh_from = now + max(0.0, self._seconds - EXPECTED_SECONDS)
        newest_first = reversed(self._by_call.values())
        return sum(1 for _ in takewhile(lambda issued: issued.expires_at > fresh_from, newest_first))
