"""How calls fare, as Twilio tells it: states, answering machines, streams. Callbacks are idempotent, in any order.

They are best effort on Twilio's side, so nothing waits for them alone; see `telephony.outbound` for how the truth is asked.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from fastapi import APIRouter, HTTPException, Request, Response

from telephony.store import StoreError
from telephony.twilio.voice_request import VoiceRequest
from telephony.webhooks.requests import TwilioRequests
from telephony.webhooks.voice import STREAM_STATUS_PATH

log = logging.getLogger(__name__)

STATUS_PATH: Final = "/twilio/status"
AMD_PATH: Final = "/twilio/amd"

# What is told of a call, with the attempt it belongs to, if we placed it. May raise StoreError.
Told: TypeAlias = Callable[[VoiceRequest, str | None], Awaitable[None]]


def status_routes(twilio: TwilioRequests, *, on_status: Told, on_machine: Told) -> APIRouter:
    routes = APIRouter()

    @routes.post(STATUS_PATH, status_code=204)
    async def status(request: Request, attempt: str | None = None) -> Response:
        told, _ = await twilio.voice(request)
        return await _heed(on_status, told, attempt)

    @routes.post(AMD_PATH, status_code=204)
    async def amd(request: Request, attempt: str | None = None) -> Response:
        told, _ = await twilio.voice(request)
        if told.answered_by is None:
            raise HTTPException(400, "AnsweredBy is missing.")
        return await _heed(on_machine, told, attempt)

    @routes.post(STREAM_STATUS_PATH, status_code=204)
    async def stream_status(request: Request) -> Response:
        told, form = await twilio.voice(request)
        event = form.get("StreamEvent", "")[:40]
        if event == "stream-error":
            log.error("call %s: Twilio's stream has failed: %s", told.call_sid, form.get("StreamError", "")[:200])
        else:
            log.info("call %s: %s", told.call_sid, event or "a stream's status without its event")
        return Response(status_code=204)

    return routes


async def _heed(heed: Told, told: VoiceRequest, attempt: str | None) -> Response:
    try:
        await heed(told, attempt)
    except StoreError as e:
        log.warning("call %s: a callback is not stored: %s", told.call_sid, e)
        raise HTTPException(503, headers={"Retry-After": "5"}) from None
    return Response(status_code=204)
