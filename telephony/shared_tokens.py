"""Stream tokens of a server with several workers: the webhook may come to one, and the media socket to another.

Each token also lies in the store, hashed, and is used up there: once, whichever worker has the socket. While the store is
away, a worker still knows its own tokens; those of others are refused, and their callers get what follows the stream.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import msgspec

from telephony.call_details import CallDetails
from telephony.store.errors import StoreError
from telephony.tokens import TOKEN_SECONDS, TokenVerdict

log = logging.getLogger(__name__)

UNSHARED_MAX: Final = 1000
SHARE_S_MAX: Final = 1.0  # the phone rings meanwhile
REDEEM_S_MAX: Final = 1.5  # the caller hears nothing meanwhile
_SLOW: Final = "the database does not answer in time"


class TokenStore(Protocol):
    """See `telephony.store.stream_tokens`."""

    async def put(self, token_hash: str, call_sid: str, expires_at: datetime, details: dict[str, Any]) -> None: ...
    async def use(self, token_hash: str, call_sid: str, now: datetime) -> dict[str, Any] | None: ...


class SharedTokens:
    """`learn` is told of a call that rang at another worker, before its media begins here."""

    def __init__(
        self,
        store: TokenStore,
        learn: Callable[[CallDetails], None],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._learn = learn
        self._clock = clock
        self._unshared: deque[str] = deque(maxlen=UNSHARED_MAX)  # issued while the store was away

    async def share(self, token: str, details: CallDetails) -> None:
        """Make a token of ours known. Never raises: if it fails, the token is good at this worker only."""
        expires_at = self._clock() + timedelta(seconds=TOKEN_SECONDS)
        try:
            async with asyncio.timeout(SHARE_S_MAX):
                await self._store.put(_hash(token), details.call_sid, expires_at, msgspec.to_builtins(details))
        except (StoreError, TimeoutError) as e:
            log.warning("call %s can be answered by this worker only: %s", details.call_sid, str(e) or _SLOW)
            self._unshared.append(_hash(token))

    async def redeem(self, token: str, call_sid: str, known: TokenVerdict) -> TokenVerdict:
        """Use a token up. `known`: what this worker knows of it. Never raises."""
        digest = _hash(token)
        try:
            async with asyncio.timeout(REDEEM_S_MAX):
                found = await self._store.use(digest, call_sid, self._clock())
        except (StoreError, TimeoutError) as e:
            log.warning("call %s: its token is judged without the store: %s", call_sid, str(e) or _SLOW)
            return known
        if found is None:
            if known is TokenVerdict.VALID and digest not in self._unshared:
                return TokenVerdict.UNKNOWN
            return known
        if known is not TokenVerdict.VALID:
            self._learn(msgspec.convert(found, CallDetails))
        return TokenVerdict.VALID


def _hash(token: str) -> str:
    """The token has 256 random bits: a plain hash of it tells nothing."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
