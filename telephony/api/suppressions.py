"""Numbers that must not be called."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from telephony.api.access import SuppressionsRead, SuppressionsWrite
from telephony.api.models import E164, Suppressed, Suppression, SuppressionIn, SuppressionPage
from telephony.api.problems import Problem

router = APIRouter(prefix="/suppressions", tags=["suppressions"])

NumberInPath = Annotated[str, Path(pattern=E164, description="E.164, the + as %2B or as it is.")]


@router.get("")
async def list_suppressions(
    visit: SuppressionsRead,
    cursor: Annotated[str, Query(pattern=E164 + "|^$")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> SuppressionPage:
    """The whole list, by number. Needs the scope numbers:read too; to look one up, `GET /suppressions/{number}` does not."""
    visit.require("numbers:read", "The list")
    rows = await visit.services.store.suppressions.list(after=cursor, limit=limit)
    more = rows[-1].number if len(rows) == limit else None
    return SuppressionPage(suppressions=[Suppression.of(row) for row in rows], next_cursor=more)


@router.get("/{number}")
async def look_up(visit: SuppressionsRead, number: NumberInPath) -> Suppressed:
    """Whether this number must not be called."""
    return Suppressed(number=number, suppressed=await visit.services.store.suppressions.contains(number))


@router.post("", status_code=201, responses={200: {"description": "It was suppressed already."}})
async def suppress(visit: SuppressionsWrite, body: SuppressionIn, response: Response) -> Suppressed:
    """Do not call this number from now on. 201 when new, 200 when known; the first reason is kept."""
    store = visit.services.store
    await store.access.audit(visit.who, "suppression.add", body.number, {"reason": body.reason})
    if not await store.suppressions.add(body.number, reason=body.reason, by=visit.who):
        response.status_code = 200
    return Suppressed(number=body.number, suppressed=True)


@router.delete("/{number}", status_code=204)
async def allow(visit: SuppressionsWrite, number: NumberInPath) -> None:
    """Let it be called again."""
    store = visit.services.store
    await store.access.audit(visit.who, "suppression.remove", number)
    if not await store.suppressions.remove(number):
        raise Problem(404, "not-found", "This number is not suppressed.")
