"""Waiting tool calls: who may list them, and who decides. The first decision holds, whoever made it and wherever."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from realtime_bridge.errors import MisuseError
from telephony.api.access import ApprovalsDecide, ApprovalsRead, Visit
from telephony.api.models import CALL_SID, Approval, ApprovalPage, Cursor, DecisionIn
from telephony.api.problems import Problem, wrong_field
from telephony.calls.decisions import decide
from telephony.store.rows import ApprovalStatus

router = APIRouter(prefix="/approvals", tags=["approvals"])

ApprovalId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]


@router.get("")
async def list_approvals(
    visit: ApprovalsRead,
    status: ApprovalStatus | None = None,
    call_sid: Annotated[str | None, Query(pattern=CALL_SID)] = None,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ApprovalPage:
    """Approvals, newest first; `status=waiting` for those that can be decided."""
    approvals = visit.services.store.approvals
    try:
        page = await approvals.list(status=status, call_sid=call_sid, before=cursor, limit=limit)
    except MisuseError:
        raise wrong_field("query.cursor", "must be the next_cursor of an earlier page, unchanged") from None
    return ApprovalPage(approvals=[Approval.of(row) for row in page.rows], next_cursor=page.before)


@router.get("/{approval_id}")
async def show_approval(visit: ApprovalsRead, approval_id: ApprovalId) -> Approval:
    """One approval."""
    row = await visit.services.store.approvals.get(approval_id)
    if row is None:
        raise _unknown(approval_id)
    return Approval.of(row)


@router.post("/{approval_id}/approve")
async def approve(visit: ApprovalsDecide, approval_id: ApprovalId, body: DecisionIn | None = None) -> Approval:
    """Let the tool run, with exactly the arguments that are shown. 409 where it is decided or over already."""
    return await _decide(visit, approval_id, body or DecisionIn(), approved=True)


@router.post("/{approval_id}/reject")
async def reject(visit: ApprovalsDecide, approval_id: ApprovalId, body: DecisionIn | None = None) -> Approval:
    """Refuse it; the agent is told `message`. 409 where it is decided or over already."""
    return await _decide(visit, approval_id, body or DecisionIn(), approved=False)


async def _decide(visit: Visit, approval_id: str, body: DecisionIn, *, approved: bool) -> Approval:
    decision = await decide(
        visit.services.store, approval_id, approved=approved, by=visit.who, message=body.message, always=body.always
    )
    row = decision.row
    if row is None:
        raise _unknown(approval_id)
    wanted = "approved" if approved else "rejected"
    if decision.won or (row.status, row.decided_by) == (wanted, visit.who):  # the same decision, sent again
        return Approval.of(row)
    ended = {"expired": "It has expired.", "cancelled": "Its call is over."}
    detail = ended.get(row.status, f"It was {row.status} by {row.decided_by}.")
    more = {"approval": Approval.of(row).model_dump(mode="json")}
    raise Problem(409, f"approval-{row.status}", f"This cannot be decided any more. {detail}", more=more)


def _unknown(approval_id: str) -> Problem:
    return Problem(404, "not-found", f"There is no approval {approval_id}.")
