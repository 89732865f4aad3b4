"""The API as an application of its own, so that its errors, its limits and its schema are nobody else's.

Every route wants a token, but for the schema: it is the same on every server and tells nothing of this one. There are no
cookies, so no page in a browser can use somebody else's rights.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from telephony.api import approvals, audit, calls, events, outbound, people, recordings, suppressions
from telephony.api.access import Door
from telephony.api.body import BodyLimit
from telephony.api.problems import MEDIA_TYPE, ProblemBody, answer_problems
from telephony.api.services import Services
from telephony.routes import work_out_routes

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": ProblemBody, "description": description}
    for status, description in (
        (401, "No valid token."),
        (403, "The token lacks a scope."),
        (404, "There is no such thing."),
        (422, "A field is wrong; `fields` says which."),
        (429, "Too many wrong tokens, or too much at once."),
        (503, "Not now; Retry-After says when."),
    )
}


def api_app(services: Callable[[], Services | None]) -> FastAPI:
    """The application; mount it at `/api/v1`. `services` is asked with each request; None: the server is not ready."""
    app = FastAPI(
        title="realtime-bridge",
        summary="Calls, approvals, suppressions and recordings of a phone server.",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        responses=_PROBLEMS,
        generate_unique_id_function=lambda route: route.name,  # what generated clients call their functions
    )
    app.state.door = Door(services)
    app.state.event_streams = 0
    app.state.exports = 0
    app.add_middleware(BodyLimit)
    answer_problems(app)
    for router in (
        calls.router,
        outbound.router,
        events.router,
        recordings.router,
        approvals.router,
        suppressions.router,
        people.router,
        audit.router,
    ):
        app.include_router(router)

    @app.get("/openapi.json", include_in_schema=False)
    async def schema() -> JSONResponse:
        # Working it out takes a good part of a second, in which calls want to be heard.
        return JSONResponse(await asyncio.to_thread(_schema, app))

    work_out_routes(app)
    return app


def _schema(app: FastAPI) -> dict[str, Any]:
    """FastAPI's, which believes that errors are plain JSON; here all of them are problems."""
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes, servers=[{"url": "/api/v1"}]
        )
        problem = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}}
        for operation in (o for path in schema["paths"].values() for o in path.values()):
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    answer["content"] = problem
        app.openapi_schema = schema
    return app.openapi_schema
