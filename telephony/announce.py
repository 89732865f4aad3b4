"""Tells another program what needs a person: signed HTTP posts to one configured address.

Signed as https://www.standardwebhooks.com lays down (HMAC-SHA256 over id, time and body), so that the receiver can check
them with any of its libraries. A call never waits for one: posts are sent beside it, tried again for a while, and given
up with a log line. They go to the configured address alone; redirects are not followed, and answers are not read.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import httpx2
import msgspec

from realtime_bridge.errors import MisuseError

log = logging.getLogger(__name__)

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - says what follows, is none itself
SECRET_BYTES_MIN: Final = 16
POST_SECONDS_MAX: Final = 10.0
POSTS_AT_ONCE_MAX: Final = 8
WAITING_MAX: Final = 500
DELAYS_S: Final = (1.0, 5.0, 15.0, 60.0, 120.0)  # between tries, each a little longer by chance
GONE: Final = 410  # the receiver wants no more of it


def signing_key(secret: str) -> bytes:
    """The key of a secret as it is configured: `whsec_` and base64, or any other text as it is. Raises MisuseError."""
    if secret.startswith(SECRET_PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
        except binascii.Error as e:
            raise MisuseError(f"the webhook's secret is not {SECRET_PREFIX} and base64") from e
    else:
        key = secret.encode()
    if len(key) < SECRET_BYTES_MIN:
        raise MisuseError(f"the webhook's secret is shorter than {SECRET_BYTES_MIN} bytes")
    return key


def signature(key: bytes, message_id: str, sent_at_s: int, body: bytes) -> str:
    """The `webhook-signature` header (Standard Webhooks, "Symmetric signatures")."""
    signed = hmac.digest(key, f"{message_id}.{sent_at_s}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(signed).decode()


class Announcer:
    """Posts announcements to one address. Make it where a loop runs; `close` it at the end."""

    def __init__(
        self, url: str, secret: str, *, delays_s: Sequence[float] = DELAYS_S, clock: Callable[[], float] = time.time
    ) -> None:
        """`delays_s`: between tries. `clock`: seconds since 1970. Raises MisuseError for a secret that is too weak."""
        self._url = url
        self._key = signing_key(secret)
        self._delays_s = delays_s
        self._clock = clock
        self._client = httpx2.AsyncClient(timeout=POST_SECONDS_MAX, follow_redirects=False, trust_env=False)
        self._at_once = asyncio.Semaphore(POSTS_AT_ONCE_MAX)
        self._posts: set[asyncio.Task[None]] = set()

    def announce(self, message_id: str, kind: str, data: dict[str, Any], *, until: float | None = None) -> None:
        """Post `data` soon; at once back. `message_id` is the same in every try, for the receiver to tell repeats.

        `until`: seconds since 1970 after which nobody wants to know any more. Beyond `WAITING_MAX`, it is only logged.
        """
        if len(self._posts) >= WAITING_MAX:
            log.error("%s %s is not announced: %d announcements wait already", kind, message_id, WAITING_MAX)
            return
        happened = datetime.fromtimestamp(self._clock(), UTC).isoformat()
        body = msgspec.json.encode({"type": kind, "timestamp": happened, "data": data})
        post = asyncio.get_running_loop().create_task(self._deliver(message_id, kind, body, until))
        self._posts.add(post)
        post.add_done_callback(self._posts.discard)

    async def close(self, wait_s: float = 2.0) -> None:
        """Give what is under way a moment, drop the rest."""
        if self._posts:
            _, pending = await asyncio.wait(self._posts, timeout=wait_s)
            for post in pending:
                post.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
            if pending:
                log.warning("%d announcements were not delivered before the end", len(pending))
        await self._client.aclose()

    async def _deliver(self, message_id: str, kind: str, body: bytes, until: float | None) -> None:
        trouble = ""
        for delay_s in (*self._delays_s, None):
            async with self._at_once:
                if until is not None and self._clock() >= until:
                    trouble = trouble or "too late"
                    break
                status, trouble = await self._post(message_id, body)
            if not trouble:
                return
            if delay_s is None or status == GONE:
                break
            await asyncio.sleep(delay_s * random.uniform(1.0, 1.3))  # noqa: S311 - spreads load, guards nothing
        log.error("%s %s was not announced to %s: %s", kind, message_id, self._url, trouble)

    async def _post(self, message_id: str, body: bytes) -> tuple[int, str]:
        """(status, what went wrong). The time is signed anew with each try: receivers refuse old ones."""
        now_s = int(self._clock())
        headers = {
            "content-type": "application/json",
            "user-agent": "realtime-bridge",
            "webhook-id": message_id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": signature(self._key, message_id, now_s, body),
        }
        try:
            async with (
                asyncio.timeout(POST_SECONDS_MAX),
                self._client.stream("POST", self._url, content=body, headers=headers) as answer,
            ):
                return answer.status_code, "" if answer.is_success else f"it answered {answer.status_code}"
        except (httpx2.HTTPError, TimeoutError, OSError) as e:
            return 0, f"{type(e).__name__}: {e}"
