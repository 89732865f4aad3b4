"""`realtime-bridge call`"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn
from uuid import uuid4

import msgspec
import typer

from realtime_bridge.errors import MisuseError
from telephony.cli.database import print_json
from telephony.logs import configure_logging
from telephony.settings import Settings, database_url, load_settings, secret_values

if TYPE_CHECKING:
    from rich.console import Console

    from telephony.outbound.requests import CallRequest, DialRefused, Placed
    from telephony.store import Store
    from telephony.store.rows import CallRow

LOOK_SECONDS: Final = 0.25
POST_SECONDS_MAX: Final = 60.0
TRIES_MAX: Final = 3
AFTER_END_SECONDS_MAX: Final = 60.0  # for the record of a call that is over
_WRONG_USAGE: Final = frozenset({"request", "settings", "not_a_number"})
_TOLD: Final = {
    "queued": "Twilio has the call",
    "initiated": "dialling",
    "ringing": "ringing",
    "in-progress": "answered",
}


def call(
    number: Annotated[str, typer.Argument(help="Whom to call, with + and country, such as +14155550100.")],
    *,
    agent: Annotated[str | None, typer.Option(help="MODULE:NAME of the agent that talks. [AGENT]")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="The number to call from. [TWILIO_NUMBER]")] = None,
    machine: Annotated[
        str, typer.Option(help="What to do with an answering machine: talk, hang_up, or a message after its beep.")
    ] = "talk",
    parameter: Annotated[list[str] | None, typer.Option(help="NAME=VALUE for the agent; may be given often.")] = None,
    record: Annotated[
        bool | None, typer.Option("--record/--no-record", help="Whether the call is recorded. [RECORD_CALLS]")
    ] = None,
    ring_seconds: Annotated[int | None, typer.Option(help="How long it may ring. [RING_SECONDS]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Place one call and follow it to its end.

    Through the server at HOST and PORT, where one runs; otherwise this command is the server for as long as the call
    lasts, and PUBLIC_URL must lead here. Exit status 0 when people talked and the call ended in order, 1 when not.

    Example: realtime-bridge call +14155550100 --agent my_company.front_desk:agent --machine hang_up
    """
    from telephony.outbound.requests import CallRequest, DialRefused  # noqa: PLC0415 - slow, and `--help` needs it not

    settings = load_settings(agent=agent)
    configure_logging("warning", settings.log_format, secrets=secret_values(settings), rules=settings.redact)
    request = CallRequest(
        to=number,
        agent=agent or "",
        from_=from_,
        parameters=_parameters(parameter or []),
        on_machine=machine,
        ring_seconds=ring_seconds,
        record=record,
        idempotency_key=uuid4().hex,
        requested_by="command line",
    )
    try:
        result = asyncio.run(_call(settings, request))
    except DialRefused as e:
        _refused(e, as_json=as_json)
    if as_json:
        print_json(result)
    if not result["ok"]:
        raise typer.Exit(1)


def _parameters(given: list[str]) -> dict[str, str]:
    for each in given:
        if "=" not in each:
            raise MisuseError(f"--parameter {each}: expected NAME=VALUE")
    return {name: value for name, _, value in (each.partition("=") for each in given)}


def _refused(refused: DialRefused, *, as_json: bool) -> NoReturn:
    if as_json:
        told = {"ok": False, "reason": refused.reason, "code": refused.code, "message": str(refused)}
        print_json(told | {"attempt_id": refused.attempt_id})
    typer.echo(f"realtime-bridge: the call is not placed ({refused.reason}): {refused}", err=True)
    raise typer.Exit(2 if refused.code is None and refused.reason in _WRONG_USAGE else 1)


async def _call(settings: Settings, request: CallRequest) -> dict[str, Any]:
    """Raises DialRefused."""
    from rich.console import Console  # noqa: PLC0415 - slow to import

    progress = Console(stderr=True, highlight=False)
    async with _place(settings, request, progress) as (placed, store):
        row = await _follow(store, placed, settings, progress)
        return await _result(store, placed, row, progress)


@contextlib.asynccontextmanager
async def _place(settings: Settings, request: CallRequest, progress: Console) -> AsyncIterator[tuple[Placed, Store]]:
    """The placed call, and the store in which it can be followed; what serves it serves until the end."""
    server = await _running(settings)
    if server is not None:
        from telephony.store import Store  # noqa: PLC0415 - slow to import

        progress.print(f"The server at {server} places the call.", style="dim")
        async with Store.open(database_url(settings), node=f"command-{os.getpid()}-{uuid4().hex[:6]}") as store:
            yield await _by_server(server, store, request), store
        return
    from telephony.app import create_app  # noqa: PLC0415 - slow to import
    from telephony.server import PhoneServer  # noqa: PLC0415 - as above

    app = create_app(settings=settings)
    async with PhoneServer(app, host=settings.host, port=settings.port) as own:
        progress.print(f"Serving this call at {own.url}.", style="dim")
        await _must_lead_here(settings)
        office = app.state.office
        office.switchboard.live.add_listener(_Heard(progress))
        yield await office.dialler.place(request), office.store


async def _must_lead_here(settings: Settings) -> None:
    """Nobody's phone shall ring for a call that cannot be answered. Raises DialRefused."""
    from telephony.doctor.here import is_ours  # noqa: PLC0415 - slow to import
    from telephony.doctor.http import Unreachable, ask  # noqa: PLC0415 - as above
    from telephony.outbound.requests import DialRefused  # noqa: PLC0415 - as above

    if settings.public_url is None:
        return  # the dialler says so
    try:
        answer = await ask("GET", f"{settings.public_url}/healthz")
        what = "" if is_ours(answer.body) else f"answers HTTP {answer.status}, and not as this server does"
    except Unreachable as e:
        what = f"cannot be reached: {e}"
    if what:
        here = f"http://{settings.host}:{settings.port}"
        raise DialRefused("settings", f"PUBLIC_URL: {settings.public_url} {what}; let it lead to {here}")


class _Heard:
    """Prints what is said while it is said; a listener of the live calls of this process."""

    def __init__(self, progress: Console) -> None:
        from telephony.demo.view import LiveTranscript  # noqa: PLC0415 - slow to import

        self._transcript = LiveTranscript(progress)

    def call_began(self, call: Any) -> None:
        call.session.on(None, self._transcript.event)

    def call_ended(self, call: Any, ending: Any) -> None:
        pass


async def _running(settings: Settings) -> str | None:
    """The URL of the server at HOST and PORT, if there is one of ours."""
    from telephony.doctor.here import is_ours  # noqa: PLC0415 - slow to import
    from telephony.doctor.http import Unreachable, ask  # noqa: PLC0415 - as above

    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104 - compared, not bound
    url = f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"
    if settings.port == 0:
        return None
    try:
        answer = await ask("GET", f"{url}/healthz")
    except Unreachable:
        return None
    return url if is_ours(answer.body) else None


async def _by_server(server: str, store: Store, request: CallRequest) -> Placed:
    """Ask the server's API, with a token of its own database that lasts as long as the question. Raises DialRefused."""
    expires_at = datetime.now(UTC) + timedelta(seconds=TRIES_MAX * POST_SECONDS_MAX)
    token, secret = await store.access.create_token("the command `call`", ["calls:write"], expires_at)
    try:
        status, answer = await _post(f"{server}/api/v1/calls", secret, request)
    finally:
        await store.access.revoke(token.token_id)
    from telephony.outbound.requests import DialRefused, Placed  # noqa: PLC0415 - slow to import

    if status in (200, 201):
        return msgspec.convert(answer, Placed, strict=False)
    reason: Any = str(answer.get("code", "busy")).replace("-", "_")
    raise DialRefused(
        reason if status < 500 or "attempt_id" in answer or reason in _WRONG_USAGE else "busy",
        str(answer.get("detail", f"the server answers HTTP {status}")),
        code=answer.get("twilio_code"),
        attempt_id=answer.get("attempt_id"),
    )


async def _post(url: str, secret: str, request: CallRequest) -> tuple[int, dict[str, Any]]:
    """Asked again when the connection breaks: the key makes that safe. Raises TransportError."""
    import aiohttp  # noqa: PLC0415 - slow to import

    from realtime_bridge.errors import TransportError  # noqa: PLC0415 - with what is used here alone

    body = {
        "to": request.to,
        "agent": request.agent,
        "from": request.from_,
        "parameters": dict(request.parameters),
        "on_machine": request.on_machine,
        "ring_seconds": request.ring_seconds,
        "record": request.record,
    }
    headers = {"Authorization": f"Bearer {secret}", "Idempotency-Key": request.idempotency_key or uuid4().hex}
    timeout = aiohttp.ClientTimeout(total=POST_SECONDS_MAX)
    trouble = ""
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        for _ in range(TRIES_MAX):
            try:
                async with session.post(url, json=body) as answer:
                    found = await answer.json(content_type=None)
                    return answer.status, found if isinstance(found, dict) else {}
            except (aiohttp.ClientError, TimeoutError, ValueError) as e:
                trouble = type(e).__name__
    raise TransportError(
        f"the server did not answer ({trouble}); `realtime-bridge calls list` shows whether it dialled"
    )


async def _follow(store: Store, placed: Placed, settings: Settings, progress: Console) -> CallRow | None:
    """Tell of each state until the end is stored. None: the call never came to the books."""
    from telephony.store.states import is_final  # noqa: PLC0415 - slow to import

    loop = asyncio.get_running_loop()
    until = loop.time() + settings.call_seconds_max + 2 * 600  # it may wait in Twilio's queue, and ring
    seen = ""
    row = None
    while loop.time() < until:
        row = await store.calls.get(placed.call_sid)
        if row is not None and row.status != seen:
            seen = row.status
            progress.print(f"{datetime.now():%H:%M:%S}  {_TOLD.get(seen, seen)}", style="dim")  # noqa: DTZ005 - their watch
            if is_final(seen):
                until = min(until, loop.time() + AFTER_END_SECONDS_MAX)
        if row is not None and row.finished_at is not None and is_final(row.status):
            return row
        await asyncio.sleep(LOOK_SECONDS)
    return row


async def _result(store: Store, placed: Placed, row: CallRow | None, progress: Console) -> dict[str, Any]:
    attempt = await store.attempts.get(placed.attempt_id)
    turns = await store.calls.turns(placed.call_sid)
    status = placed.status if row is None else row.status
    disposition = None if row is None else row.disposition
    broken = disposition is None or disposition == "lost" or disposition.startswith("failed")
    well = status == "completed" and bool(turns) and not broken
    progress.print(f"{placed.call_sid}: {status}, {disposition or 'and nobody told how it ended'}", soft_wrap=True)
    if turns:
        progress.print(f"More: realtime-bridge calls show {placed.call_sid}", style="dim")
    return {
        "ok": well,
        "attempt_id": placed.attempt_id,
        "call_sid": placed.call_sid,
        "status": status,
        "disposition": disposition,
        "answered_by": None if attempt is None else attempt.answered_by,
        "code": None if attempt is None else attempt.code,
        "duration_ms": None if row is None else row.duration_ms,
        "transcript": [{"role": turn.role, "text": turn.text, "cut": turn.cut} for turn in turns],
    }
