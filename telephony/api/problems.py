"""Errors as RFC 9457 writes them: what is wrong, in which field, and what to do about it; never a stack or a secret.

`code` is for programs and does not change; `detail` is for people and may.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from telephony.store import StoreError

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 2
FIELDS_MAX: Final = 20

_TITLES: Final = {
    400: "The request is malformed",
    401: "No valid token",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    408: "The request took too long",
    409: "Not possible in this state",
    413: "The request is too large",
    416: "No such range",
    422: "The request is invalid",
    429: "Too many requests",
    500: "Our mistake",
    502: "The phone network refused",
    503: "Not available now",
    504: "No answer in time",
}


class FieldProblem(BaseModel):
    """One thing that is wrong with the request. `field`: its path, such as `body.to`."""

    field: str
    detail: str


class ProblemBody(BaseModel):
    """`application/problem+json` (RFC 9457). `type` is a URN made of `code`; `detail` says what to do."""

    type: str = Field(examples=["urn:realtime-bridge:problem:not-found"])
    title: str
    status: int
    detail: str
    code: str
    fields: list[FieldProblem] = []


class Problem(Exception):  # noqa: N818 - an answer, not a malfunction
    """Raise it in a route: the request is answered with this. `more` joins the body, `headers` the answer."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        fields: tuple[FieldProblem, ...] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.fields = fields
        self.headers = headers
        self.more = more or {}

    def response(self) -> JSONResponse:
        body: dict[str, Any] = {
            "type": f"urn:realtime-bridge:problem:{self.code}",
            "title": _TITLES.get(self.status, "The request failed"),
            "status": self.status,
            "detail": str(self),
            "code": self.code,
        }
        if self.fields:
            body["fields"] = [field.model_dump() for field in self.fields]
        headers = {"cache-control": "no-store", **(self.headers or {})}
        return JSONResponse({**body, **self.more}, self.status, headers, media_type=MEDIA_TYPE)


def wrong_field(field: str, detail: str, *, code: str = "invalid-request") -> Problem:
    """422 for one field. `field`: its path, such as `body.to`."""
    return Problem(422, code, f"{field}: {detail}", fields=(FieldProblem(field=field, detail=detail),))


def problem_of(error: Exception) -> Problem:
    """What to answer to anything a route raised."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return _invalid(error)
        case HTTPException():
            return Problem(error.status_code, _code_of(error.status_code), str(error.detail), headers=error.headers)
        case StoreError(retryable=True):
            headers = {"retry-after": str(RETRY_AFTER_S)}
            return Problem(503, "database-unavailable", "The database does not answer; try again.", headers=headers)
        case StoreError():
            return Problem(503, "database-failed", f"The database cannot do this: {error}")
    return Problem(500, "internal-error", "This is a mistake in the server; its log has the details.")


def answer_problems(app: FastAPI) -> None:
    """Make every error of this application a problem."""

    async def answer(request: Request, error: Exception) -> JSONResponse:
        if isinstance(error, StoreError):
            log.error("%s %s: %s", request.method, request.scope["path"], error)
        return problem_of(error).response()

    # The last one is answered, and raised on: whoever serves the application logs it.
    for kind in (Problem, RequestValidationError, HTTPException, StoreError, Exception):
        app.add_exception_handler(kind, answer)


def _invalid(error: RequestValidationError) -> Problem:
    fields = tuple(
        FieldProblem(field=".".join(str(step) for step in fault["loc"])[:200], detail=str(fault["msg"])[:500])
        for fault in error.errors()[:FIELDS_MAX]
    )
    return Problem(422, "invalid-request", "; ".join(f"{f.field}: {f.detail}" for f in fields), fields=fields)


def _code_of(status: int) -> str:
    return {400: "malformed", 404: "not-found", 405: "method-not-allowed", 416: "no-such-range"}.get(
        status, f"http-{status}"
    )
