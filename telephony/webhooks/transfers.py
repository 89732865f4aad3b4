"""Twilio's questions about transfers: what the person who is to take a call hears, and what follows when nobody does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeAlias

import msgspec
from fastapi import APIRouter, Request, Response

from telephony.steering.transfer_twiml import dial_end
from telephony.steering.transfers import TRANSFER_PATH, too_late
from telephony.twilio.twiml import goodbye
from telephony.webhooks.requests import twiml
from telephony.webhooks.voice import Door, Ringing

PERSON_PATH: Final = TRANSFER_PATH + "/{transfer_id}"

# Asks the transfer, in whichever process it is: (its id, the form) -> TwiML, or None when there is no such transfer.
AskTransfer: TypeAlias = Callable[[str, Mapping[str, str]], Awaitable[str | None]]


def transfer_routes(door: Door, *, answer: AskTransfer, status: AskTransfer, ringing: Ringing) -> APIRouter:
    routes = APIRouter()

    @routes.post(PERSON_PATH)
    async def person(request: Request, transfer_id: str) -> Response:
        form = await door.twilio.form(request)
        return twiml(await answer(transfer_id, form) or too_late())

    @routes.post(PERSON_PATH + "/status", status_code=204)
    async def person_status(request: Request, transfer_id: str) -> Response:
        await status(transfer_id, await door.twilio.form(request))
        return Response(status_code=204)

    @routes.post(PERSON_PATH + "/after")
    async def after_dial(request: Request, transfer_id: str) -> Response:
        """A cold transfer's dialling is over: the caller whom nobody talked to comes back to the agent."""
        del transfer_id
        asked, form = await door.twilio.voice(request)
        end = dial_end(form.get("DialCallStatus", ""))
        if end.connected:
            return twiml(goodbye())
        details = await ringing(asked, None)
        if isinstance(details, str):
            return twiml(details)
        return await door.connect(request, msgspec.structs.replace(details, opening=end.opening))

    return routes
