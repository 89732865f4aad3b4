"""Did Twilio send this? `X-Twilio-Signature`, for webhooks and for the media socket's upgrade.

Twilio signs the URL as it wrote it, so the check is over the raw request target: a decoded `%2B` or a re-joined query
fails. Behind proxies only the configured PUBLIC_URL knows the origin (scheme, host, port, path prefix); the `Host`
header and the socket's own port say nothing.
Source: https://www.twilio.com/docs/usage/security#validating-requests
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import ImmutableMultiDict
from twilio.request_validator import RequestValidator

SIGNATURE_HEADER: Final = "X-Twilio-Signature"
_DEFAULT_PORTS: Final = {"http": 80, "ws": 80, "https": 443, "wss": 443}


def websocket_url(url: str) -> str:
    """The same origin for sockets: `http` becomes `ws`, `https` becomes `wss`."""
    return "ws" + url.removeprefix("http") if url.startswith("http") else url


class SignatureCheck:
    """Knows one account's auth token and one public URL."""

    def __init__(self, auth_token: str, public_url: str) -> None:
        self._validator = RequestValidator(auth_token)
        self._public_url = public_url.rstrip("/")

    def webhook(self, target: str, form: ImmutableMultiDict[str, str], signature: str | None) -> bool:
        """`target`: path and query exactly as they stood in the request line. `form`: the POST's decoded parameters."""
        return self._matches(self._public_url + target, form, signature)

    def upgrade(self, target: str, signature: str | None) -> bool:
        """The WebSocket handshake is signed over the `wss://` URL, without parameters."""
        return self._matches(websocket_url(self._public_url) + target, None, signature)

    def _matches(self, url: str, form: ImmutableMultiDict[str, str] | None, signature: str | None) -> bool:
        if not signature:
            return False
        given = signature.encode("utf-8", "surrogateescape")
        return any(
            hmac.compare_digest(self._validator.compute_signature(candidate, form).encode(), given)
            for candidate in _spellings(url)
        )


def _spellings(url: str) -> Iterator[str]:
    """The URL as configured, and with its port left out or written out: Twilio is not consistent about ports.

    `RequestValidator.validate` does the same, but takes 80 for the default port of `wss`, and re-joins the URL.
    """
    yield url
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    rest = url.removeprefix(origin)
    if parts.port is None:
        yield f"{origin}:{_DEFAULT_PORTS[parts.scheme]}{rest}"
    else:
        yield f"{origin.removesuffix(f':{parts.port}')}{rest}"
