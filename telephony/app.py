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
from telephony.call_details import CallDetails
from telephony.calls.answering import Switchboard
from telephony.opening import open_switchboard
from telephony.settings import Settings, check_signing, load_settings
from telephony.stream import AnswerCall, Clock, MediaEndpoint, PhoneCall, PhoneLine, StreamLimits
from telephony.tokens import CallTokens
from telephony.twilio.messages import Start
from telephony.twilio.signature import SignatureCheck
from telephony.twilio.twiml import Overflow
from telephony.twilio.voice_request import VoiceRequest
from telephony.webhooks.requests import TwilioRequests
from telephony.webhooks.voice import voice_routes


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

    def switchboard() -> Switchboard:
        found: Switchboard = app.state.switchboard
        return found

    def by_switchboard(start: Start, line: PhoneLine) -> PhoneCall:
        return switchboard().answer(start, line)

    async def ringing(request: VoiceRequest, _attempt_id: str | None) -> CallDetails | str:
        details = _inbound(request)
        if answer is None:
            details = _inbound(request, agent=switchboard().agents.name_for(request.to_number))
            switchboard().expect(details)
        return details

    async def aftermath(call_sid: str) -> bool | None:
        return await switchboard().live.ending(call_sid)

    media = MediaEndpoint(
        answer=answer or by_switchboard,
        tokens=CallTokens(),
        signature=signature,
        calls_max=settings.max_calls,
        limits=limits or StreamLimits(call_seconds_max=settings.call_seconds_max),
        clock=clock,
    )
    app = FastAPI(
        title="realtime-bridge",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=_staffed(agent, settings) if answer is None else None,
    )
    app.state.media = media
    app.state.settings = settings
    app.include_router(
        voice_routes(
            TwilioRequests(signature, settings),
            media,
            ringing=ringing,
            aftermath=aftermath if answer is None else None,
            share=None,
            overflow_to=Overflow(
                message=settings.overflow_message, number=settings.overflow_number, queue=settings.overflow_queue
            ),
        )
    )

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


def _inbound(request: VoiceRequest, agent: str = "") -> CallDetails:
    return CallDetails(
        call_sid=request.call_sid,
        direction="outbound" if request.outbound else "inbound",
        caller=request.from_number,
        called=request.to_number,
        agent=agent,
        carrier=request.carrier,
    )
