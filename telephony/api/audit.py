"""Who did what, and when: decisions, commands to live calls, suppressions, tokens and operators. Nothing changes it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from telephony.api.access import AuditRead
from telephony.api.models import Audited, AuditPage

router = APIRouter(prefix="/audit", tags=["audit"])

Exactly = Annotated[str | None, Query(max_length=200)]


@router.get("")
async def list_audit(
    visit: AuditRead,
    subject: Exactly = None,
    who: Exactly = None,
    cursor: Annotated[int | None, Query(ge=1, le=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> AuditPage:
    """Newest first. `subject`: the id of what it was done to, such as a call's SID; `who`: as `token:crm`, `operator:ann`."""
    rows = await visit.services.store.access.audits(subject=subject, who=who, before=cursor, limit=limit)
    more = rows[-1].audit_id if len(rows) == limit else None
    return AuditPage(audit=[Audited.of(row, visit) for row in rows], next_cursor=more)
