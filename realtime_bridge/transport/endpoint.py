"""Where a realtime model is reached, taken from an `openai` client's own settings.

So base URL, key, organisation, project, extra headers, custom WebSocket base and Azure deployments are configured once,
the way users of the `openai` package know; only the frames take our own, faster path.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec
from openai import AsyncAzureOpenAI, AsyncOpenAI

from realtime_bridge.errors import MisuseError

_WEBSOCKET_SCHEME = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


class Endpoint(msgspec.Struct, frozen=True):
    """A WebSocket URL and the headers of its upgrade. Headers hold the key: never log them."""

    url: str
    headers: dict[str, str]

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"


async def realtime_endpoint(openai: AsyncOpenAI, *, model: str | None = None, call_id: str | None = None) -> Endpoint:
    """The endpoint for a new session with `model`, or of a call that is going on (`call_id`, SIP and WebRTC).

    Source: https://platform.openai.com/docs/guides/realtime-websocket, and `openai/resources/realtime/realtime.py`.
    Raises MisuseError when neither or both are given.
    """
    if (model is None) == (call_id is None):
        raise MisuseError("give either `model` (a new session) or `call_id` (to join a call)")
    query = {"model": model} if model is not None else {"call_id": str(call_id)}
    # The client renews keys that come from a function, and Azure tokens, only when asked to.
    await openai._refresh_api_key()  # noqa: SLF001 - no public name; test_endpoint.py guards it
    if isinstance(openai, AsyncAzureOpenAI):
        extra = {} if call_id is None else {"call_id": call_id}
        azure_url, auth = await openai._configure_realtime(model or "", extra)  # noqa: SLF001 - as above
        return Endpoint(str(azure_url), _headers(openai, auth))
    base = urlsplit(str(openai.websocket_base_url or openai.base_url))
    path = base.path.rstrip("/") + "/realtime"
    whole_query = urlencode([*parse_qsl(base.query), *_default_query(openai), *query.items()])
    url = urlunsplit((_WEBSOCKET_SCHEME.get(base.scheme, base.scheme), base.netloc, path, whole_query, ""))
    return Endpoint(url, _headers(openai, openai.auth_headers))


def _default_query(openai: AsyncOpenAI) -> list[tuple[str, str]]:
    return [(name, str(value)) for name, value in openai.default_query.items()]


def _headers(openai: AsyncOpenAI, auth: dict[str, str]) -> dict[str, str]:
    # Values that are no strings mean "leave this default header out".
    return {name: value for name, value in {**auth, **openai.default_headers}.items() if isinstance(value, str)}
