"""Who asks, and what they may: bearer tokens as RFC 6750 has them, by the `Authorization` header alone.

Nothing of a token is logged or repeated. Wrong tokens cost the asker's address its patience before they cost the database
a look; tokens that were right a moment ago are let through, so that nobody can lock others out from the same address.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer, SecurityScopes

from telephony.api.problems import Problem
from telephony.api.services import Services
from telephony.numbers import mask_number
from telephony.scopes import SCOPES, allows

REALM: Final = 'Bearer realm="realtime-bridge"'
FAILURES_MAX: Final = 20  # at once, of one address
FAILURE_S: Final = 3.0  # after which one more is allowed
ADDRESSES_MAX: Final = 10_000
KNOWN_MAX: Final = 1000
# RFC 6750, 2.1: "Bearer" 1*SP b64token
_BEARER: Final = re.compile(r"Bearer +([A-Za-z0-9._~+/-]+=*)", re.IGNORECASE | re.ASCII)
_NUMBER: Final = re.compile(r"\+[1-9][0-9]{7,14}(?![0-9])")

_scheme = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="A token of `realtime-bridge token create`. Its scopes: "
    + " ".join(f"`{scope}`: {meaning}" for scope, meaning in SCOPES.items()),
)


class FailureLimit:
    """How many wrong tokens an address may try. Pure; `now` in seconds, of any clock that does not go back."""

    def __init__(self) -> None:
        self._free_at: OrderedDict[str, float] = OrderedDict()  # when the address owes nothing any more

    def wait_s(self, address: str, now: float) -> float:
        """How long until this address may try again; 0 when it may."""
        owed_s = self._free_at.get(address, now) - now
        return max(0.0, owed_s - (FAILURES_MAX - 1) * FAILURE_S)

    def failed(self, address: str, now: float) -> None:
        self._free_at[address] = max(self._free_at.get(address, now), now) + FAILURE_S
        self._free_at.move_to_end(address)
        if len(self._free_at) > ADDRESSES_MAX:
            self._free_at.popitem(last=False)


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of somebody who was let in. `who`: as the audit names them."""

    who: str
    scopes: tuple[str, ...]
    services: Services

    def may(self, scope: str) -> bool:
        return allows(self.scopes, scope)

    def require(self, scope: str, why: str) -> None:
        if not self.may(scope):
            raise _forbidden(scope, f"{why} needs the scope {scope}.")

    def number(self, number: str) -> str:
        return number if self.may("numbers:read") else mask_number(number)

    def discreet(self, value: Any) -> Any:
        """JSON, with the phone numbers in its texts masked where this visitor may not see them."""
        if self.may("numbers:read"):
            return value
        match value:
            case str():
                return _NUMBER.sub(lambda found: mask_number(found.group()), value)
            case dict():
                return {key: self.discreet(item) for key, item in value.items()}
            case list() | tuple():
                return [self.discreet(item) for item in value]
        return value


class Door:
    """Lets requests in by their token. One per application."""

    def __init__(self, services: Callable[[], Services | None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._services = services
        self._clock = clock
        self._limit = FailureLimit()
        self._known: OrderedDict[bytes, None] = OrderedDict()  # digests of tokens that were right

    async def admit(self, request: Request, scopes: list[str]) -> Visit:
        """Raises Problem: 400, 401, 403, 429, or 503 before the server is ready."""
        services = self._services()
        if services is None:
            raise Problem(503, "not-ready", "The server is starting or stopping.", headers={"retry-after": "2"})
        secret = _bearer(request)
        address = request.client.host if request.client is not None else ""
        digest = hashlib.sha256(secret.encode()).digest()
        wait_s = 0.0 if digest in self._known else self._limit.wait_s(address, self._clock())
        if wait_s > 0:
            raise Problem(
                429, "too-many-failures", "Too many wrong tokens came from this address.",
                headers={"retry-after": str(int(wait_s) + 1)},
            )  # fmt: skip
        row = await services.store.access.find_token(secret)
        if row is None:
            self._known.pop(digest, None)
            self._limit.failed(address, self._clock())
            raise _unauthorized("The token is wrong, expired or revoked.", "invalid_token")
        self._known[digest] = None
        self._known.move_to_end(digest)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        for scope in scopes:
            if not allows(row.scopes, scope):
                raise _forbidden(scope, f"The token lacks the scope {scope}.")
        return Visit(f"token:{row.name}", row.scopes, services)


async def _admit(
    request: Request,
    scopes: SecurityScopes,
    _shown: Annotated[HTTPAuthorizationCredentials | None, Security(_scheme)],  # for the schema; read by the door
) -> Visit:
    door: Door = request.app.state.door
    return await door.admit(request, scopes.scopes)


CallsRead = Annotated[Visit, Security(_admit, scopes=["calls:read"])]
CallsWrite = Annotated[Visit, Security(_admit, scopes=["calls:write"])]
ApprovalsRead = Annotated[Visit, Security(_admit, scopes=["approvals:read"])]
ApprovalsDecide = Annotated[Visit, Security(_admit, scopes=["approvals:decide"])]
SuppressionsRead = Annotated[Visit, Security(_admit, scopes=["suppressions:read"])]
SuppressionsWrite = Annotated[Visit, Security(_admit, scopes=["suppressions:write"])]
AuditRead = Annotated[Visit, Security(_admit, scopes=["audit:read"])]
PeopleExport = Annotated[Visit, Security(_admit, scopes=["people:export"])]
PeopleErase = Annotated[Visit, Security(_admit, scopes=["people:erase"])]
RecordingsRead = Annotated[Visit, Security(_admit, scopes=["recordings:read"])]


def _bearer(request: Request) -> str:
    headers = request.headers.getlist("authorization")
    if not headers:
        # RFC 6750, 3.1: no error code for a request without any authentication
        raise _unauthorized("Send a token: `Authorization: Bearer …`; make one with `realtime-bridge token create`.")
    found = _BEARER.fullmatch(headers[0].strip()) if len(headers) == 1 else None
    if found is None:
        challenge = {"www-authenticate": f'{REALM}, error="invalid_request"'}
        raise Problem(400, "malformed", "The Authorization header is not `Bearer` and one token.", headers=challenge)
    return found.group(1)


def _unauthorized(detail: str, error: str | None = None) -> Problem:
    challenge = REALM if error is None else f'{REALM}, error="{error}"'
    return Problem(401, "unauthorized", detail, headers={"www-authenticate": challenge})


def _forbidden(scope: str, detail: str) -> Problem:
    challenge = f'{REALM}, error="insufficient_scope", scope="{scope}"'
    return Problem(403, "forbidden", detail, headers={"www-authenticate": challenge}, more={"scope": scope})
