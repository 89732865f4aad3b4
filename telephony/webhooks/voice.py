"""How a call is answered, and what follows when its stream is over.

A call that can be served is joined to the media socket. Everything else gets the overflow: a caller never meets dead
air, whatever fails. What follows a stream is asked of us once it has closed: a call that somebody hung up is over, a call
that we failed gets an apology and the overflow.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import msgspec
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
STREAM_STATUS_PATH: Final = "/twilio/stream-status"
APOLOGY: Final = "I am sorry, something went wrong on our side."

# Who is to talk to a call that rings, given its attempt if we placed it; or TwiML, where nobody is.
Ringing: TypeAlias = Callable[[VoiceRequest, str | None], Awaitable[CallDetails | str]]
# How the stream of a call ended: True in order, False by a fault of ours, None when nothing is known of it.
Aftermath: TypeAlias = Callable[[str], Awaitable[bool | None]]


class Door:
    """Lets calls in, to the media socket."""

    def __init__(
        self,
        twilio: TwilioRequests,
        media: MediaEndpoint,
        *,
        overflow_to: Overflow,
        expect: Callable[[CallDetails], None] | None = None,
        share: Callable[[str, CallDetails], Awaitable[None]] | None = None,
        follows: bool = False,
    ) -> None:
        """`expect` is told of each call whose media will come, `share` of its token. `follows`: something follows its
        stream; else Twilio hangs up."""
        self.twilio = twilio
        self._media = media
        self._overflow_to = overflow_to
        self._expect = expect
        self._share = share
        self._follows = follows

    def refusal(self) -> str | None:
        """Why no call can be let in at the moment."""
        if self._media.has_room:
            return None
        return "the server is draining" if self._media.draining else "MAX_CALLS is reached"

    async def connect(self, request: Request, details: CallDetails) -> Response:
        """Join the call to the media socket, or send it to the overflow."""
        token = None if self.refusal() else self._media.tokens.issue(details.call_sid, self._media.clock())
        if token is None:
            return self.turn_away(details.call_sid, self.refusal() or "too many calls wait for their stream")
        if self._expect is not None:
            self._expect(details)
        if self._share is not None:
            await self._share(token, details)
        origin = self.twilio.origin(request)

        def then(response: VoiceResponse) -> None:
            if self._follows:
                response.redirect(origin + AFTER_PATH, method="POST")

        url = websocket_url(origin) + MEDIA_PATH
        return twiml(connect_stream(url, {"token": token}, then=then, status_callback=origin + STREAM_STATUS_PATH))

    def turn_away(self, call_sid: str, why: str, *, apology: bool = False) -> Response:
        log.warning("call %s gets the overflow: %s", call_sid, why)
        to = self._overflow_to
        if apology:
            to = msgspec.structs.replace(to, message=f"{APOLOGY} {to.message}")
        return twiml(overflow(to))


def voice_routes(door: Door, *, ringing: Ringing, aftermath: Aftermath | None) -> APIRouter:
    routes = APIRouter()

    @routes.post(VOICE_PATH)
    async def voice(request: Request, attempt: str | None = None) -> Response:
        asked, _ = await door.twilio.voice(request)
        if (why := door.refusal()) is not None:
            return door.turn_away(asked.call_sid, why)
        try:
            details = await ringing(asked, attempt)
        except Exception:
            log.exception("call %s cannot be answered", asked.call_sid)
            return door.turn_away(asked.call_sid, "an error, see above", apology=True)
        return twiml(details) if isinstance(details, str) else await door.connect(request, details)

    if aftermath is not None:

        @routes.post(AFTER_PATH)
        async def after(request: Request) -> Response:
            asked, _ = await door.twilio.voice(request)
            if await aftermath(asked.call_sid):
                return twiml(goodbye())
            return door.turn_away(asked.call_sid, "its stream did not end in order", apology=True)

    return routes
