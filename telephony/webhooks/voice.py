"""How a call is answered, and what follows when its stream is over.

A call that can be served is joined to the media socket. Everything else gets the overflow: a caller never meets dead
air, whatever fails. What follows a stream is asked of us once it has closed: a call that somebody hung up is over, a call
that we failed gets an apology and the overflow.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from fastapi import APIRouter, Request, Response
from twilio.twiml.voice_response import VoiceResponse

from telephony.call_details import CallDetails
from telephony.handoff import MEDIA_PATH
from telephony.stream import MediaEndpoint
from telephony.twilio.signature import websocket_url
from telephony.twilio.twiml import Overflow, connect_stream, goodbye, overflow
from telephony.twilio.voice_request import VoiceRequest
from telephony.webhooks.requests import TwilioRequests, twiml

log = logging.getLogger(__name__)

VOICE_PATH: Final = "/twilio/voice"
AFTER_PATH: Final = "/twilio/after"
APOLOGY: Final = "I am sorry, something went wrong on our side."


# What is done when a call rings, given its attempt if we placed it: says who is to talk, or refuses with TwiML.
Ringing: TypeAlias = Callable[[VoiceRequest, str | None], Awaitable[CallDetails | str]]
# How the stream of a call ended: True in order, False by a fault of ours, None when nothing is known of it.
Aftermath: TypeAlias = Callable[[str], Awaitable[bool | None]]


def voice_routes(
    twilio: TwilioRequests,
    media: MediaEndpoint,
    *,
    ringing: Ringing,
    aftermath: Aftermath | None,
    share: Callable[[str, CallDetails], Awaitable[None]] | None,
    overflow_to: Overflow,
) -> APIRouter:
    """`share` makes a token known to the other workers. `aftermath` None: nothing follows a stream."""
    routes = APIRouter()

    @routes.post(VOICE_PATH)
    async def voice(request: Request, attempt: str | None = None) -> Response:
        asked, _ = await twilio.voice(request)
        if not media.has_room:
            log.warning("call %s gets the overflow: %s", asked.call_sid, "draining" if media.draining else "MAX_CALLS")
            return twiml(overflow(overflow_to))
        try:
            details = await ringing(asked, attempt)
        except Exception:
            log.exception("call %s gets the overflow: it cannot be answered", asked.call_sid)
            return twiml(overflow(overflow_to))
        if isinstance(details, str):
            return twiml(details)
        token = media.tokens.issue(asked.call_sid, media.clock())
        if token is None:
            log.warning("call %s gets the overflow: too many calls wait for their stream", asked.call_sid)
            return twiml(overflow(overflow_to))
        if share is not None:
            await share(token, details)
        origin = twilio.origin(request)

        def then(response: VoiceResponse) -> None:
            if aftermath is not None:
                response.redirect(origin + AFTER_PATH, method="POST")

        return twiml(connect_stream(websocket_url(origin) + MEDIA_PATH, {"token": token}, then=then))

    @routes.post(AFTER_PATH)
    async def after(request: Request) -> Response:
        asked, _ = await twilio.voice(request)
        if aftermath is None or await aftermath(asked.call_sid):
            return twiml(goodbye())
        log.warning("call %s gets an apology and the overflow: its stream did not end in order", asked.call_sid)
        apology = f"{APOLOGY} {overflow_to.message}"
        return twiml(overflow(Overflow(message=apology, number=overflow_to.number, queue=overflow_to.queue)))

    return routes
