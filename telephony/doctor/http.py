"""One request, with all that can go wrong told as what it means for a set-up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
import msgspec

REQUEST_SECONDS_MAX: Final = 8.0
BODY_BYTES_MAX: Final = 1024 * 1024


class Unreachable(Exception):  # noqa: N818 - a finding on its way
    """No answer came; the text says why."""


class Answer(msgspec.Struct, frozen=True):
    status: int
    body: bytes
    date: datetime | None


async def ask(
    method: str, url: str, *, headers: Mapping[str, str] | None = None, form: Mapping[str, str] | None = None
) -> Answer:
    """Raises Unreachable. Follows no redirection."""
    timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS_MAX)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, headers=headers, data=form, allow_redirects=False) as answer,
        ):
            body = await answer.content.read(BODY_BYTES_MAX)
            return Answer(answer.status, body, _date(answer.headers.get("Date", "")))
    except aiohttp.ClientConnectorCertificateError as e:
        raise Unreachable("its certificate is not valid") from e
    except aiohttp.ClientConnectorDNSError as e:
        raise Unreachable("there is no such host") from e
    except aiohttp.ClientConnectorError as e:
        raise Unreachable(f"no connection ({e.strerror or type(e).__name__})") from e
    except TimeoutError as e:
        raise Unreachable(f"no answer within {REQUEST_SECONDS_MAX:g} s") from e
    except (aiohttp.ClientError, OSError, ValueError) as e:
        raise Unreachable(f"no proper answer ({type(e).__name__})") from e


def _date(header: str) -> datetime | None:
    try:
        found = parsedate_to_datetime(header)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
