"""Work that FastAPI puts off until its first request, done before: calls are under way by then, and would stutter."""

from __future__ import annotations

from fastapi import FastAPI


def work_out_routes(app: FastAPI) -> None:
    """FastAPI works a route out when it first looks for one, which takes a good part of a second."""
    nowhere = {"type": "http", "method": "GET", "path": "/", "root_path": "", "headers": []}
    for route in app.routes:
        route.matches(nowhere)
