"""The phone server's HTTP side: the voice webhook, which lets a call in, and health.

The media socket itself never reaches this application; `telephony.handoff` takes it at the same port. So serve the
application with `telephony.server.PhoneServer`.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final
from urllib.parse import parse_qsl

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import ImmutableMultiDict

from realtime_bridge.agent import Agent
from telephony.calls.answering import Switchboard
from telephony.calls.opening import open_switchboard
from telephony.handoff import MEDIA_PATH
from telephony.settings import Settings, check_signing, is_loopback, load_settings
from telephony.stream import AnswerCall, Clock, MediaEndpoint, PhoneCall, PhoneLine, StreamLimits
from telephony.tokens import CallTokens
from telephony.twilio.messages import Start
from telephony.twilio.signature import SIGNATURE_HEADER, SignatureCheck, websocket_url
from telephony.twilio.twiml import apologise, connect_stream

FORM_BYTES_MAX: Final = 64 * 1024  # a voice webhook has some thirty short fields
FORM_FIELDS_MAX: Final = 200
FORM_SECONDS_MAX: Final = 10.0  # Twilio itself gives up after 15
BUSY: Final = "All our lines are busy. Please call again in a few minutes."

Form = ImmutableMultiDict[str, str]


class TwilioRequests:
    """Reads Twilio's form posts, and refuses those that Twilio did not send.

    Without `signature` (no auth token) only requests to a loopback name pass: neither a tunnel's nor, by a rebound host
    name, a web page's.
    """

    def __init__(self, signature: SignatureCheck | None) -> None:
        self._signature = signature

    async def form(self, request: Request) -> Form:
        """The decoded parameters. Raises HTTPException 403, 408, 413 or 400, before anything is done."""
        if self._signature is None and not is_loopback(request.url.hostname or ""):
            raise HTTPException(403, "Without TWILIO_AUTH_TOKEN, this server answers on loopback only.")
        try:
            async with asyncio.timeout(FORM_SECONDS_MAX):
                body = await _body(request)
        except TimeoutError:
            raise HTTPException(408) from None
        try:
            form = Form(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FORM_FIELDS_MAX))
        except ValueError:
            raise HTTPException(400, "The body is not a form.") from None
        if self._signature is not None and not self._signature.webhook(
            _target(request), form, request.headers.get(SIGNATURE_HEADER)
        ):
            raise HTTPException(403, "The request is not signed by Twilio for this server's PUBLIC_URL.")
        return form


def create_app(
    *,
    agent: Agent | None = None,
    answer: AnswerCall | None = None,
    settings: Settings | None = None,
    limits: StreamLimits | None = None,
    clock: Clock = time.monotonic,
) -> FastAPI:
    """The application: `agent` talks to every call (default: the demo's), on OpenAI's model or, without a key, offline.

    `answer`, in place of an agent, is given each call whose media begins, and says who talks to it.

    `app.state.media` is the `MediaEndpoint` of its calls, `app.state.settings` what it was made of. Raises SettingsError
    when the settings contradict each other.
    """
    settings = settings or load_settings()
    check_signing(settings)
    signature = None
    if settings.twilio_auth_token is not None and settings.public_url is not None:
        signature = SignatureCheck(settings.twilio_auth_token.get_secret_value(), settings.public_url)

    def by_switchboard(start: Start, line: PhoneLine) -> PhoneCall:
        switchboard: Switchboard = app.state.switchboard
        return switchboard.answer(start, line)

    tokens = CallTokens()
    media = MediaEndpoint(
        answer=answer or by_switchboard,
        tokens=tokens,
        signature=signature,
        calls_max=settings.max_calls,
        limits=limits or StreamLimits(call_seconds_max=settings.call_seconds_max),
        clock=clock,
    )
    twilio = TwilioRequests(signature)
    app = FastAPI(
        title="realtime-bridge",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=_staffed(agent, settings) if answer is None else None,
    )
    app.state.media = media
    app.state.settings = settings

    @app.post("/twilio/voice")
    async def voice(request: Request) -> Response:
        form = await twilio.form(request)
        call_sid = form.get("CallSid", "")
        if not re.fullmatch(r"\w{1,64}", call_sid, re.ASCII):
            raise HTTPException(400, "CallSid is missing or malformed.")
        token = tokens.issue(call_sid, clock()) if media.has_room else None
        if token is None:
            return _twiml(apologise(BUSY))
        origin = settings.public_url or str(request.base_url).rstrip("/")
        return _twiml(connect_stream(websocket_url(origin) + MEDIA_PATH, {"token": token}))

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        state = {
            "ready": media.has_room,
            "draining": media.draining,
            "calls": media.calls,
            "max_calls": media.calls_max,
        }
        return JSONResponse(state, status_code=200 if media.has_room else 503)

    return app


def _staffed(agent: Agent | None, settings: Settings) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """The application's life: a switchboard is open from its start to its end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_switchboard(agent, settings) as switchboard:
            app.state.switchboard = switchboard
            yield

    return lifespan


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > FORM_BYTES_MAX:
            raise HTTPException(413)
    return bytes(body)


def _target(request: Request) -> str:
    """Path and query as they stood in the request line, undecoded."""
    path: bytes = request.scope["raw_path"]
    query: bytes = request.scope["query_string"]
    return (path + b"?" + query if query else path).decode("latin-1")


def _twiml(document: str) -> Response:
    return Response(document, media_type="text/xml")
