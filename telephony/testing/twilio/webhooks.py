"""Requests from Twilio to the application: signed, in time, tried again where the URL's fragment asks for it.

Sources: https://www.twilio.com/docs/usage/security#validating-requests,
https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Self
from urllib.parse import parse_qsl, urlencode

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout, ConnectionTimeoutError, TCPConnector
from twilio.request_validator import RequestValidator
from yarl import URL

from realtime_bridge.errors import TransportError
from telephony.testing.twilio.faults import TwilioFaults
from telephony.testing.twilio.records import Webhook
from telephony.testing.twilio.twiml import TWIML_CHARS_MAX

FAILED: Final = 11200  # HTTP retrieval failure
UNREACHABLE: Final = 11205  # HTTP connection failure
BAD_URL: Final = 11100  # Invalid URL format
TOTAL_S_MAX: Final = 15.0
BODY_BYTES_MAX: Final = 4 * TWIML_CHARS_MAX
SOUND_BYTES_MAX: Final = 16 * 1024 * 1024
_RETRIED_BY_DEFAULT: Final = "ct"


class WebhookError(TransportError):
    """The application did not answer a webhook as it must. `code`: of Twilio's error dictionary."""


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the fragment of a webhook's URL asks for: `#rc=3&rp=ct,rt`."""

    retries: int = 1
    policies: frozenset[str] = frozenset({_RETRIED_BY_DEFAULT})
    connect_s: float = 5.0
    read_s: float = TOTAL_S_MAX
    total_s: float = TOTAL_S_MAX

    @classmethod
    def of(cls, fragment: str) -> Overrides:
        """Values out of range are drawn into it, others ignored."""
        given = dict(parse_qsl(fragment))

        def number(name: str, default: float, least: float, most: float) -> float:
            text = given.get(name, "")
            return min(max(float(text), least), most) if text.isdigit() else default

        return cls(
            retries=int(number("rc", 1, 0, 5)),
            policies=frozenset(given.get("rp", _RETRIED_BY_DEFAULT).split(",")),
            connect_s=number("ct", 5000, 100, 10_000) / 1000,
            read_s=number("rt", 15_000, 100, 15_000) / 1000,
            total_s=number("tt", 15_000, 100, 15_000) / 1000,
        )

    def retry(self, why: str) -> bool:
        return why in self.policies or "all" in self.policies


@dataclass(slots=True)
class Webhooks:
    """Sends them and writes them down. `journal` is where: one `Webhook` per request that was, or should have been, sent."""

    auth_token: str
    faults: TwilioFaults
    journal: list[Webhook]
    timeout_s: float = TOTAL_S_MAX
    _session: ClientSession | None = None
    _tokens: int = field(default=0)

    async def __aenter__(self) -> Self:
        self._session = ClientSession(connector=TCPConnector(limit=0, force_close=True), auto_decompress=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    def sign(self, url: str, form: Mapping[str, str] | None = None) -> str:
        """`X-Twilio-Signature` over a URL as it was configured, and the form's parameters."""
        signature: str = RequestValidator(self.auth_token).compute_signature(url, dict(form or {}))
        return signature

    async def request(self, kind: str, url: str, method: str, form: dict[str, str], told: list[Webhook]) -> Webhook:
        """Send one; returns it with its 2xx answer. Raises WebhookError. `told`: another place to write it down."""
        if not url.startswith(("http://", "https://")):
            raise WebhookError(f"{url!r} is no URL of a webhook", code=BAD_URL)
        fault = self.faults.strike_webhook(kind, form)
        asked = Webhook(kind, url, method, form, time.monotonic(), fault=fault.kind if fault is not None else "")
        if fault is not None and fault.kind == "lost":
            asked.error = "the request was lost"
            self._note(asked, told)
            raise WebhookError(asked.error, code=FAILED)
        if fault is not None and fault.kind == "late":
            await asyncio.sleep(fault.delay_s)
        answer = await self._with_retries(asked, told)
        if asked.fault == "duplicate":
            await self._with_retries(asked, told)
        return answer

    async def fetch(self, kind: str, url: str, told: list[Webhook]) -> bytes:
        """GET a sound. Raises WebhookError."""
        assert self._session is not None, "used outside of its `async with`"
        webhook = Webhook(kind, url, "GET", {}, time.monotonic())
        self._note(webhook, told)
        headers = self._headers(webhook, f"{self._tokens:08x}")
        try:
            limits = ClientTimeout(total=self.timeout_s)
            async with self._session.get(URL(url, encoded=True), headers=headers, timeout=limits) as response:
                webhook.status = response.status
                data = await _body(response, SOUND_BYTES_MAX)
        except (ClientError, OSError, ValueError, TimeoutError) as e:
            webhook.error = f"{url} cannot be reached: {e}"
            raise WebhookError(webhook.error, code=UNREACHABLE) from e
        if webhook.status != 200:
            webhook.error = f"{url} returned the HTTP status code {webhook.status}"
            raise WebhookError(webhook.error, code=FAILED)
        return data

    async def _with_retries(self, asked: Webhook, told: list[Webhook]) -> Webhook:
        url, _, fragment = asked.url.partition("#")
        overrides = Overrides.of(fragment)
        self._tokens += 1
        headers = self._headers(replace(asked, url=url), f"{self._tokens:08x}")
        gives_up_at = time.monotonic() + min(overrides.total_s, self.timeout_s)
        attempt = 0
        while True:
            attempt += 1
            webhook = replace(asked, url=url, sent_at=time.monotonic(), attempt=attempt)
            self._note(webhook, told)
            why = await self._attempt(webhook, headers, overrides, gives_up_at)
            webhook.answered_at = time.monotonic()
            if not why:
                return webhook
            if attempt > overrides.retries or not overrides.retry(why) or time.monotonic() >= gives_up_at:
                raise WebhookError(webhook.error, code=UNREACHABLE if why == "ct" else FAILED)

    async def _attempt(
        self, webhook: Webhook, headers: dict[str, str], overrides: Overrides, gives_up_at: float
    ) -> str:
        """Once; returns "" or why it failed: ct, rt, 4xx, 5xx, other."""
        assert self._session is not None, "used outside of its `async with`"
        url, body = _target(webhook.url, webhook.method, webhook.form)
        left_s = max(gives_up_at - time.monotonic(), 0.001)
        limits = ClientTimeout(total=left_s, sock_connect=overrides.connect_s, sock_read=overrides.read_s)
        connected = False
        try:
            async with self._session.request(
                webhook.method, URL(url, encoded=True), data=body, headers=headers, timeout=limits
            ) as response:
                connected = True
                webhook.status, webhook.content_type = response.status, response.content_type
                webhook.body = (await _body(response, BODY_BYTES_MAX)).decode("utf-8", "replace")
        except ConnectionTimeoutError:
            webhook.error = f"no connection to {webhook.url} in time"
            return "ct"
        except TimeoutError:
            webhook.error = f"no answer from {webhook.url} in time"
            return "rt"
        except (ClientError, OSError, ValueError) as e:
            webhook.error = f"{webhook.url} cannot be reached: {e}"
            return "rt" if connected else "ct"
        if not 200 <= response.status < 300:
            webhook.error = f"{webhook.url} returned the HTTP status code {response.status}"
            return f"{response.status // 100}xx"
        return ""

    def _headers(self, asked: Webhook, token: str) -> dict[str, str]:
        headers = {"Accept": "*/*", "I-Twilio-Idempotency-Token": token, "User-Agent": "TwilioProxy/1.1"}
        if asked.method == "POST":
            headers["Content-Type"] = "application/x-www-form-urlencoded; charset=UTF-8"
        if asked.fault != "unsigned":
            url, _ = _target(asked.url, asked.method, asked.form)
            signer = RequestValidator("of somebody else" if asked.fault == "forged" else self.auth_token)
            headers["X-Twilio-Signature"] = signer.compute_signature(url, asked.form if asked.method == "POST" else {})
        return headers

    def _note(self, webhook: Webhook, told: list[Webhook]) -> None:
        self.journal.append(webhook)
        told.append(webhook)


async def _body(response: ClientResponse, bytes_max: int) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > bytes_max:
            break
    return bytes(body)


def _target(url: str, method: str, form: dict[str, str]) -> tuple[str, bytes | None]:
    """(URL as requested and signed, body)"""
    encoded = urlencode(form)
    if method == "POST":
        return url, encoded.encode()
    if not form:
        return url, None
    return f"{url}{'&' if '?' in url else '?'}{encoded}", None
