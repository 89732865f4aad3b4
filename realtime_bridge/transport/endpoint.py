"""Where a realtime model is reached, taken from an `openai` client's own settings.

So base URL, key, organisation, project, extra headers, custom WebSocket base and Azure deployments are configured once,
the way users of the `openai` package know; only the frames take our own, faster path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from realtime_bridge.errors import MisuseError, TransportError

if TYPE_CHECKING:
    from openai import AsyncOpenAI

KEY_S_MAX = 10.0
_WEBSOCKET_SCHEME = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


class Endpoint(msgspec.Struct, frozen=True):
    """A WebSocket URL and the headers of its upgrade. Headers hold the key: never log them."""

    url: str
    headers: dict[str, str]

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r})"


async def realtime_endpoint(
    openai: AsyncOpenAI, *, model: str | None = None, call_id: str | None = None, timeout_s: float = KEY_S_MAX
) -> Endpoint:
    """The endpoint for a new session with `model`, or of a call that is going on (`call_id`, SIP and WebRTC).

    Source: https://platform.openai.com/docs/guides/realtime-websocket, and `openai/resources/realtime/realtime.py`.
    Raises MisuseError when neither or both are given, or a header cannot be sent; TransportError when the key or token
    comes from a function that fails, or takes longer than `timeout_s`.
    """
    from openai import AsyncAzureOpenAI, OpenAIError  # noqa: PLC0415 - slow to load; whoever has a client has loaded it

    if (model is None) == (call_id is None):
        raise MisuseError("give either `model` (a new session) or `call_id` (to join a call)")
    query = {"model": model} if model is not None else {"call_id": str(call_id)}
    try:
        async with asyncio.timeout(timeout_s):
            # The client renews keys that come from a function, and Azure tokens, only when asked to.
            await openai._refresh_api_key()  # noqa: SLF001 - no public name; test_endpoint.py guards it
            if isinstance(openai, AsyncAzureOpenAI):
                extra = {} if call_id is None else {"call_id": call_id}
                azure_url, auth = await openai._configure_realtime(model or "", extra)  # noqa: SLF001 - as above
                return Endpoint(str(azure_url), _headers(openai, auth))
            auth = openai.auth_headers
    except TimeoutError as e:
        raise TransportError(f"there was no key within {timeout_s:g} s") from e
    except OpenAIError as e:
        raise TransportError(f"the openai client has no key: {e}", retryable=False) from e
    except MisuseError:
        raise
    except Exception as e:
        raise TransportError(f"the function that gives the key failed: {e}") from e
    base = urlsplit(str(openai.websocket_base_url or openai.base_url))
    scheme = _WEBSOCKET_SCHEME.get(base.scheme, base.scheme)
    path = base.path.rstrip("/") + "/realtime"
    url = urlunsplit((scheme, base.netloc, path, urlencode(_query(openai, base.query, query)), ""))
    return Endpoint(url, _headers(openai, auth))


def _query(openai: AsyncOpenAI, of_base: str, own: dict[str, str]) -> list[tuple[str, str]]:
    """Ours, the base URL's, the client's defaults: the former win, by name."""
    defaults: dict[str, Any] = {name: value for name, value in openai.default_query.items() if name not in own}
    base = _without(own, parse_qsl(of_base, keep_blank_values=True))
    plain = parse_qsl(openai.qs.stringify(defaults), keep_blank_values=True)
    return [*_without(dict(base), plain), *base, *own.items()]


def _without(names: dict[str, str], pairs: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in pairs if name not in names]


def _headers(openai: AsyncOpenAI, auth: dict[str, str]) -> dict[str, str]:
    """The client's headers win over its key; names are compared as HTTP does (RFC 9110, section 5.1)."""
    merged = {name.lower(): (name, value) for name, value in [*auth.items(), *openai.default_headers.items()]}
    headers: dict[str, str] = {}
    for name, value in merged.values():
        if not isinstance(value, str):
            continue  # the client's way to say: leave this default header out
        if "\r" in value or "\n" in value:
            raise MisuseError(f"the header {name} cannot be sent: it holds a line break")
        headers[name] = value
    return headers
