"""The phone server's application: its routes, and what they are made of.

The media socket itself never reaches this application; `telephony.handoff` takes it at the same port. So serve the
application with `telephony.server.PhoneServer`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import JSONResponse

from realtime_bridge.agent import Agent
from telephony.agents import PhoneAgent
from telephony.api import api_app
from telephony.call_details import LAST_WORDS_S, CallDetails
from telephony.front_office import FrontOffice
from telephony.metrics import metrics_route
from telephony.opening import is_shared, open_office
from telephony.routes import work_out_routes
from telephony.settings import Settings, check_signing, load_settings
from telephony.stream import AnswerCall, Clock, MediaEndpoint, StreamLimits
from telephony.tokens import CallTokens
from telephony.twilio.signature import SignatureCheck
from telephony.twilio.twiml import Overflow
from telephony.twilio.voice_request import VoiceRequest
from telephony.webhooks.requests import TwilioRequests
from telephony.webhooks.ringing import inbound_call
from telephony.webhooks.status import status_routes
from telephony.webhooks.transfers import transfer_routes
from telephony.webhooks.voice import Door, voice_routes


def create_app(
    *,
    agent: Agent | PhoneAgent | None = None,
    answer: AnswerCall | None = None,
    settings: Settings | None = None,
    limits: StreamLimits | None = None,
    clock: Clock = time.monotonic,
) -> FastAPI:
    """The application: `agent` talks to every call (default: the demo's), on OpenAI's model or, without a key, offline.

    `answer`, in place of an agent, is given each call whose media begins, and says who talks to it; there is no store
    then, and no API.

    `app.state.media` is the `MediaEndpoint` of its calls, `app.state.settings` what it was made of, `app.state.office`
    what it stands on while it runs. Raises SettingsError when the settings contradict each other.
    """
    settings = settings or load_settings()
    check_signing(settings)
    signature = None
    if settings.twilio_auth_token is not None and settings.public_url is not None:
        signature = SignatureCheck(settings.twilio_auth_token.get_secret_value(), settings.public_url)
    front = FrontOffice()
    media = MediaEndpoint(
        answer=answer or front.answer,
        tokens=CallTokens(),
        signature=signature,
        calls_max=settings.max_calls,
        redeem_shared=front.redeem if answer is None and is_shared(settings) else None,
        limits=limits or StreamLimits(call_seconds_max=settings.call_seconds_max + LAST_WORDS_S),
        clock=clock,
    )
    app = FastAPI(
        title="realtime-bridge",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=_staffed(front, agent, settings) if answer is None else None,
    )
    app.state.media = media
    app.state.settings = settings
    twilio = TwilioRequests(signature, settings)
    overflow_to = Overflow(
        message=settings.overflow_message, number=settings.overflow_number, queue=settings.overflow_queue
    )
    if answer is not None:
        app.include_router(voice_routes(Door(twilio, media, overflow_to=overflow_to), ringing=_anybody, aftermath=None))
    else:
        door = Door(twilio, media, overflow_to=overflow_to, expect=front.expect, share=front.share, follows=True)
        app.include_router(voice_routes(door, ringing=front.ringing, aftermath=front.aftermath))
        app.include_router(status_routes(twilio, on_status=front.on_status, on_machine=front.on_machine))
        app.include_router(
            transfer_routes(door, answer=front.transfer_answer, status=front.transfer_status, ringing=front.ringing)
        )
        app.mount("/api/v1", api_app(lambda: front.office.services if front.is_open else None))
    token = settings.metrics_token
    app.include_router(metrics_route(None if token is None else token.get_secret_value()))

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

    work_out_routes(app)
    return app


def _staffed(
    front: FrontOffice, agent: Agent | PhoneAgent | None, settings: Settings
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    """The application's life: the office is open from its start to its end."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_office(agent, settings) as office:
            app.state.office = office
            front.opened(office)
            try:
                yield
            finally:
                front.closed()

    return lifespan


async def _anybody(request: VoiceRequest, _attempt_id: str | None) -> CallDetails | str:
    return inbound_call(request, None)
