"""Outbound calls: placed once per Idempotency-Key, or refused with a reason that programs can tell apart."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Response

from telephony.api.access import CallsRead, CallsWrite, Visit
from telephony.api.models import Attempt, PlaceCallIn, PlacedCall
from telephony.api.problems import FieldProblem, Problem
from telephony.outbound.requests import CallRequest, DialReason, DialRefused
from telephony.store.rows import AttemptRow

router = APIRouter(tags=["calls"])

_STATUS_OF: Final[dict[DialReason, int]] = {
    "suppressed": 409,
    "settings": 503,
    "refused": 502,
    "busy": 503,
    "unknown": 504,
}
_OUTCOMES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": PlacedCall, "description": "An earlier request with this Idempotency-Key placed it."},
    409: {"description": "The number is suppressed, or the key belongs to another call."},
    502: {"description": "Twilio refused; `twilio_code` says why."},
    504: {"description": "Twilio did not say whether it dialled. The call is not dialled again; look at the attempt."},
}

IdempotencyKey = Annotated[
    str | None,
    Header(
        pattern=r"^[\x21-\x7e]{1,100}$",
        description="Makes repeating safe: requests of one token with the same key place one call.",
    ),
]


@router.post("/calls", status_code=201, responses=_OUTCOMES)
async def place_call(
    visit: CallsWrite, body: PlaceCallIn, response: Response, idempotency_key: IdempotencyKey = None
) -> PlacedCall:
    """Call somebody. Answers when Twilio has the call, not when it is picked up: follow it by its `call_sid`."""
    dialler = visit.services.dialler
    if dialler is None:
        raise Problem(503, "settings", "This server places no calls: TWILIO_ACCOUNT_SID and its secrets are not set.")
    try:
        placed = await dialler.place(_request(visit, body, idempotency_key))
    except DialRefused as e:
        raise _problem(visit, e) from e
    if not placed.fresh:
        response.status_code = 200
        await _same_call(visit, placed.attempt_id, body)
    response.headers["location"] = f"/api/v1/calls/{placed.call_sid}"
    return PlacedCall(
        attempt_id=placed.attempt_id, call_sid=placed.call_sid, status=placed.status, fresh=placed.fresh
    )  # fmt: skip


@router.get("/attempts/{attempt_id}")
async def show_attempt(visit: CallsRead, attempt_id: Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]) -> Attempt:
    """What became of an outbound call that was asked for, whether or not it was placed."""
    row = await visit.services.store.attempts.get(attempt_id)
    if row is None:
        raise Problem(404, "not-found", f"There is no attempt {attempt_id}.")
    return Attempt.of(row, visit)


def _request(visit: Visit, body: PlaceCallIn, key: str | None) -> CallRequest:
    return CallRequest(
        to=body.to,
        agent=body.agent,
        from_=body.from_number,
        parameters=body.parameters,
        on_machine=body.on_machine,
        on_unknown=body.on_unknown,
        wait_for_machine=body.wait_for_machine,
        ring_seconds=body.ring_seconds,
        call_seconds_max=body.call_seconds_max,
        record=body.record,
        idempotency_key=None if key is None else f"{visit.who}:{key}",  # nobody finds another one's calls by a key
        requested_by=visit.who,
    )


def _problem(visit: Visit, refused: DialRefused) -> Problem:
    status = _STATUS_OF.get(refused.reason, 422)
    named, separator, detail = str(refused).partition(": ")
    fields = (FieldProblem(field=f"body.{named}", detail=detail),) if status == 422 and separator else ()
    more = {"twilio_code": refused.code, "attempt_id": refused.attempt_id}
    return Problem(
        status,
        refused.reason.replace("_", "-"),
        str(visit.discreet(str(refused))),
        fields=fields,
        headers={"retry-after": "5"} if refused.reason == "busy" else None,
        more={name: value for name, value in more.items() if value is not None},
    )


async def _same_call(visit: Visit, attempt_id: str, body: PlaceCallIn) -> None:
    """Raises Problem 409 when the key was used for something else."""
    row = await visit.services.store.attempts.get(attempt_id)
    if row is not None and not _asks_for(row, body):
        raise Problem(409, "key-reused", "This Idempotency-Key belongs to a call to another number, agent or purpose.")


def _asks_for(row: AttemptRow, body: PlaceCallIn) -> bool:
    return (_digits(row.to_number), row.agent or "", row.parameters) == (_digits(body.to), body.agent, body.parameters)


def _digits(number: str) -> str:
    return "".join(c for c in number if c.isdigit())
