"""Reads Twilio's form posts, and refuses those that Twilio did not send, before anything is done."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

from fastapi import HTTPException, Request, Response
from starlette.datastructures import ImmutableMultiDict

from realtime_bridge.errors import ProtocolError
from telephony import metrics
from telephony.settings import Settings, is_loopback
from telephony.twilio.signature import SIGNATURE_HEADER, SignatureCheck
from telephony.twilio.voice_request import VoiceRequest, read_voice_request

FORM_BYTES_MAX: Final = 64 * 1024  # a voice webhook has some thirty short fields
FORM_FIELDS_MAX: Final = 200
FORM_SECONDS_MAX: Final = 10.0  # Twilio itself gives up after 15

Form = ImmutableMultiDict[str, str]


class TwilioRequests:
    """Without a `signature` to check (no auth token) only requests to a loopback name pass: neither a tunnel's nor, by a
    rebound host name, a web page's."""

    def __init__(self, signature: SignatureCheck | None, settings: Settings) -> None:
        self._signature = signature
        self._public_url = settings.public_url

    async def voice(self, request: Request) -> tuple[VoiceRequest, Mapping[str, str]]:
        """A webhook about a call, and all its fields. Raises HTTPException as `form` does."""
        form = await self.form(request)
        try:
            return read_voice_request(form), form
        except ProtocolError as e:
            raise HTTPException(400, f"{e.where}: {e}") from None

    async def form(self, request: Request) -> Form:
        """The decoded parameters. Raises HTTPException 403, 408, 413 or 400."""
        try:
            return await self._form(request)
        except HTTPException as e:
            metrics.WEBHOOKS_REFUSED.labels(str(e.status_code)).inc()
            raise

    async def _form(self, request: Request) -> Form:
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

    def origin(self, request: Request) -> str:
        """This server as Twilio reaches it, without a slash at the end."""
        return self._public_url or str(request.base_url).rstrip("/")


def twiml(document: str) -> Response:
    return Response(document, media_type="text/xml")


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
