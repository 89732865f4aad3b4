"""What Prometheus is told: every number this server exports, and the page at `/metrics`.

The numbers live in `prometheus_client`'s own registry, so an agent's tools may add theirs. Labels never hold a phone number
or a SID: they come from us, or pass `bounded`. Several workers' numbers are added up through files in a directory that
`prometheus_client` finds in PROMETHEUS_MULTIPROC_DIR; what is set there before this module is imported holds.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import re
from typing import Final

from fastapi import APIRouter, HTTPException, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client import values as _values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from telephony.worker_link import MULTIPROC_DIR, worker_identity

if MULTIPROC_DIR in os.environ:
    # Workers' numbers lie in files by worker, not by process: a worker's successor goes on counting in its file. Number 0
    # is the supervisor's.
    _NUMBER = (worker_identity() or (0, 0))[0]
    _values.ValueClass = _values.MultiProcessValue(lambda: _NUMBER)  # type: ignore[no-untyped-call]  # it has no types

LABEL_VALUES_MAX: Final = 100
_P: Final = "realtime_bridge"
_TALK_S: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
_DELAY_S: Final = (0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
_WORK_S: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_CALL_S: Final = (5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600)

# ---- calls -----------------------------------------------------------------------------------------------------------

CALLS_ACTIVE = Gauge(f"{_P}_calls_active", "Calls whose media flows now.", ["direction"], multiprocess_mode="livesum")
CALLS = Counter(f"{_P}_calls", "Calls that are over, by how they ended.", ["direction", "outcome"])
CALL_SECONDS = Histogram(f"{_P}_call_seconds", "How long calls lasted.", ["direction"], buckets=_CALL_S)
RESPONSE_SECONDS = Histogram(
    f"{_P}_response_seconds",
    "From the end of the caller's speech to the agent's first audio: sent to the caller, or heard by the caller.",
    ["until"],
    buckets=_TALK_S,
)
CALL_DELAY_SECONDS = Histogram(
    f"{_P}_call_delay_seconds",
    "Each recorded call's own percentiles of what the bridge itself took: to pass audio on, to silence the agent.",
    ["way", "percentile"],
    buckets=_DELAY_S,
)
INTERRUPTIONS = Counter(f"{_P}_interruptions", "Times that the agent was cut short, by whom.", ["by"])
UNHEARD_SECONDS = Histogram(
    f"{_P}_unheard_seconds", "What of a reply was taken back when the caller spoke.", buckets=_TALK_S
)
HANDOFFS = Counter(f"{_P}_handoffs", "Hand-offs between agents.")

# ---- the model -------------------------------------------------------------------------------------------------------

MODEL_ERRORS = Counter(f"{_P}_model_errors", "Errors that the model reported, by its code.", ["code"])
MODEL_LOSSES = Counter(f"{_P}_model_losses", "Connections to the model that were lost in a call.")
MODEL_RECONNECTS = Counter(f"{_P}_model_reconnects", "Fresh model sessions after a lost one.")
MODEL_ROTATIONS = Counter(f"{_P}_model_rotations", "Planned changes to a fresh model session.")
TOKENS = Counter(f"{_P}_tokens", "Tokens that the model charged for.", ["kind"])
CALL_PROBLEMS = Counter(f"{_P}_call_problems", "What went wrong in calls, by its source.", ["source", "level"])

# ---- tools and approvals ---------------------------------------------------------------------------------------------

TOOL_SECONDS = Histogram(f"{_P}_tool_seconds", "How long tools ran.", ["tool", "outcome"], buckets=_WORK_S)
APPROVALS_WAITING = Gauge(
    f"{_P}_approvals_waiting", "Tool calls that wait for somebody's approval now.", multiprocess_mode="livesum"
)
APPROVALS = Counter(f"{_P}_approvals", "Approvals that wait no more, by what became of them.", ["outcome"])

# ---- the door --------------------------------------------------------------------------------------------------------

MEDIA_WAITING = Gauge(f"{_P}_media_sockets_waiting", "Open media sockets without `start`.", multiprocess_mode="livesum")
MEDIA_REFUSED = Counter(f"{_P}_media_refused", "Media sockets that were refused or closed before a call.", ["reason"])
WEBHOOKS_REFUSED = Counter(
    f"{_P}_webhooks_refused", "Requests that claimed to be Twilio's, by the status answered.", ["status"]
)
REST_ERRORS = Counter(f"{_P}_twilio_rest_errors", "Failed requests to Twilio's API.", ["kind", "code"])
STORE_ERRORS = Counter(f"{_P}_store_errors", "What the database did not do, or not in time.", ["retryable"])
STORE_BEHIND = Gauge(
    f"{_P}_store_behind", "1 while finished records wait on disk for the database.", multiprocess_mode="livemax"
)

# ---- the process -----------------------------------------------------------------------------------------------------

LOOP_LAG_SECONDS = Histogram(
    f"{_P}_loop_lag_seconds", "How late the event loop got round to a timer, ten times a second.", buckets=_DELAY_S
)
LOOP_BLOCKS = Counter(f"{_P}_loop_blocks", "Times that something held the event loop up.")
DRAINING = Gauge(f"{_P}_workers_draining", "Processes that take no new calls.", multiprocess_mode="livesum")
WORKER_DEATHS = Counter(f"{_P}_worker_deaths", "Workers that have ended, told to or not.")

_seen: dict[str, set[str]] = {}


def bounded(label: str, value: str | None) -> str:
    """A label's value from outside: at most `LABEL_VALUES_MAX` different ones, and nothing like a number; else `other`."""
    if value is None or not re.fullmatch(r"[A-Za-z_][\w.-]{0,63}|\d{1,5}", value) or re.search(r"\d{6}", value):
        return "other"
    seen = _seen.setdefault(label, set())
    if value not in seen:
        if len(seen) >= LABEL_VALUES_MAX:
            return "other"
        seen.add(value)
    return value


def page() -> bytes:
    """All numbers, in Prometheus' text format; of all workers, where there are several. Takes milliseconds."""
    directory = os.environ.get(MULTIPROC_DIR)
    if directory is None:
        return generate_latest(REGISTRY)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=directory)  # type: ignore[no-untyped-call]  # it has no types
    return generate_latest(registry)


def worker_died(number: int) -> None:
    """In the supervisor: what it counted stays, what it had at the moment goes."""
    WORKER_DEATHS.inc()
    mark_process_dead(number, os.environ[MULTIPROC_DIR])  # type: ignore[no-untyped-call]  # it has no types


def metrics_route(token: str | None) -> APIRouter:
    """`GET /metrics`; with a token, only for whoever brings it (`Authorization: Bearer …`)."""
    router = APIRouter()

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        given = request.headers.get("authorization", "").encode()
        if token is not None and not hmac.compare_digest(given, b"Bearer " + token.encode()):
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
        return Response(await asyncio.to_thread(page), media_type=CONTENT_TYPE_LATEST)

    return router
