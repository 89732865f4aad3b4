"""Twilio's REST API, as far as phone calls need it: accounts, calls, numbers, recordings.

Source: https://www.twilio.com/docs/voice/api/call-resource
"""

from __future__ import annotations

import asyncio
import hmac
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final

from aiohttp import web

from telephony.testing.twilio.call import Calls, SimulatedCall
from telephony.testing.twilio.exchange import Exchange
from telephony.testing.twilio.faults import RestFault
from telephony.testing.twilio.interpreter import redirect
from telephony.testing.twilio.ordering import Permissions, order, read_program
from telephony.testing.twilio.refusals import RefusedError
from telephony.testing.twilio.resources import (
    API,
    account_json,
    call_json,
    notification_json,
    number_json,
    page_json,
    recording_json,
)
from telephony.testing.twilio.wav import wav_of_mulaw

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BODY_BYTES_MAX: Final = 256 * 1024
_NUMBER_FIELDS: Final = {
    "VoiceUrl": "voice_url",
    "VoiceMethod": "voice_method",
    "VoiceFallbackUrl": "voice_fallback_url",
    "VoiceFallbackMethod": "voice_fallback_method",
    "StatusCallback": "status_callback",
    "StatusCallbackMethod": "status_callback_method",
    "FriendlyName": "friendly_name",
    "VoiceApplicationSid": "voice_application_sid",
    "TrunkSid": "trunk_sid",
}


@dataclass(slots=True)
class RestApi:
    """The routes of one account. `secrets`: user name -> password (the account's SID, and API keys)."""

    exchange: Exchange
    calls: Calls
    secrets: dict[str, str]
    permissions: Permissions
    requests: list[tuple[str, str, int]] = field(
        default_factory=list
    )  # (method, path, status) of each answer; 0: reset
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard], client_max_size=BODY_BYTES_MAX)
        account = API + "/{account}"
        app.router.add_get(account + ".json", self._account)
        app.router.add_get(account + "/Calls.json", self._list_calls)
        app.router.add_post(account + "/Calls.json", self._create_call)
        app.router.add_get(account + "/Calls/{sid}.json", self._get_call)
        app.router.add_post(account + "/Calls/{sid}.json", self._update_call)
        app.router.add_get(account + "/IncomingPhoneNumbers.json", self._list_numbers)
        app.router.add_get(account + "/IncomingPhoneNumbers/{sid}.json", self._get_number)
        app.router.add_post(account + "/IncomingPhoneNumbers/{sid}.json", self._update_number)
        app.router.add_get(account + "/Notifications.json", self._list_notifications)
        app.router.add_get(account + "/Calls/{sid}/Notifications.json", self._list_notifications)
        app.router.add_get(account + "/Calls/{sid}/Recordings.json", self._list_recordings)
        app.router.add_get(account + "/Recordings.json", self._list_recordings)
        app.router.add_get(account + "/Recordings/{sid:[^./]+}.json", self._get_recording)
        app.router.add_get(account + "/Recordings/{sid:[^./]+}{suffix:(\\.wav)?}", self._download)
        return app

    # ---- at the door ---------------------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Faults first, then who it is, then the work; refusals in Twilio's JSON."""
        if not request.path.startswith(API):
            return await handler(request)
        fault = self.exchange.faults.strike_rest(request.method, request.path)
        if fault is not None and (early := await self._strike_before(request, fault)) is not None:
            return self._note(request, early)
        try:
            self._authenticate(request)
            response = await handler(request)
        except RefusedError as e:
            response = web.json_response(e.body(), status=e.status)
        except web.HTTPNotFound:
            response = web.json_response(RefusedError(20404, request.path).body(), status=404)
        if fault is not None and fault.kind in ("reset-after", "hang-after"):
            if fault.kind == "hang-after":
                await asyncio.sleep(fault.delay_s)
            self._reset(request)
        return self._note(request, response)

    async def _strike_before(self, request: web.Request, fault: RestFault) -> web.StreamResponse | None:
        match fault.kind:
            case "slow":
                await asyncio.sleep(fault.delay_s)
            case "error":
                return web.json_response(RefusedError(20500).body(), status=500)
            case "unavailable":
                return web.Response(text="upstream connect error", status=503)
            case "garbage":
                await request.read()
                return web.Response(text="<html>Welcome to nginx!</html>", content_type="text/html")
            case "too-many":
                return web.json_response(RefusedError(20429).body(), status=429)
            case "reset-before":
                self._reset(request)
            case _:
                pass
        return None

    def _authenticate(self, request: web.Request) -> None:
        kind, _, encoded = request.headers.get("Authorization", "").partition(" ")
        try:
            user, _, password = b64decode(encoded, validate=True).decode().partition(":")
        except (Base64Error, UnicodeError):
            raise RefusedError(20003) from None
        known = self.secrets.get(user)
        if kind.lower() != "basic" or known is None or not hmac.compare_digest(known.encode(), password.encode()):
            raise RefusedError(20003)
        if request.match_info.get("account", self.exchange.account_sid) != self.exchange.account_sid:
            raise RefusedError(20404, request.path)

    def _note(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        self.requests.append((request.method, request.path, response.status))
        return response

    def _reset(self, request: web.Request) -> None:
        """The peer sees its connection reset. Raises ConnectionResetError, which aiohttp takes for a peer that has gone."""
        self.requests.append((request.method, request.path, 0))
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("a fault")

    # ---- calls ---------------------------------------------------------------------------------------------------------

    async def _account(self, _request: web.Request) -> web.Response:
        return web.json_response(
            account_json(self.exchange, self.created, status=self.permissions.status, trial=self.permissions.trial)
        )

    async def _create_call(self, request: web.Request) -> web.Response:
        call = order(self.exchange, self.calls, self.permissions, await request.post())
        return web.json_response(call_json(call), status=201)

    async def _get_call(self, request: web.Request) -> web.Response:
        return web.json_response(call_json(self._call(request)))

    async def _update_call(self, request: web.Request) -> web.Response:
        call = self._call(request)
        form = await request.post()
        if call.is_over:
            raise RefusedError(21220)
        status = str(form.get("Status", ""))
        program = read_program(form)
        if program is not None:
            if call.answered_at is None:
                raise RefusedError(21220)
            redirect(call, program)
        elif status == "completed":
            call.finish("completed" if call.answered_at is not None else "canceled")
        elif status == "canceled":
            if call.answered_at is None:
                call.finish("canceled")
        elif status:
            raise RefusedError(20001, f"Status {status}")
        return web.json_response(call_json(call))

    async def _list_calls(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        calls = [call for call in reversed(tuple(self.calls.values())) if _matches(call, query)]
        return web.json_response(page_json("calls", request.path, query, [call_json(call) for call in calls]))

    def _call(self, request: web.Request) -> SimulatedCall:
        call = self.calls.get(request.match_info["sid"])
        if call is None:
            raise RefusedError(20404, request.path)
        return call

    # ---- numbers -------------------------------------------------------------------------------------------------------

    async def _list_numbers(self, request: web.Request) -> web.Response:
        query = dict(request.query)
        numbers = [
            number_json(self.exchange, number)
            for number in self.exchange.numbers.values()
            if query.get("PhoneNumber", "").strip("*") in number.number
        ]
        return web.json_response(page_json("incoming_phone_numbers", request.path, query, numbers))

    async def _get_number(self, request: web.Request) -> web.Response:
        for number in self.exchange.numbers.values():
            if number.sid == request.match_info["sid"]:
                return web.json_response(number_json(self.exchange, number))
        raise RefusedError(20404, request.path)

    async def _update_number(self, request: web.Request) -> web.Response:
        form = await request.post()
        for number in self.exchange.numbers.values():
            if number.sid == request.match_info["sid"]:
                for name, attribute in _NUMBER_FIELDS.items():
                    if name in form:
                        setattr(number, attribute, str(form[name]))
                return web.json_response(number_json(self.exchange, number))
        raise RefusedError(20404, request.path)

    # ---- the debugger, recordings ----------------------------------------------------------------------------------------------------

    async def _list_notifications(self, request: web.Request) -> web.Response:
        call_sid = request.match_info.get("sid")
        alerts = [
            notification_json(self.exchange, number, alert)
            for number, alert in enumerate(self.exchange.ledger.alerts, 1)
            if call_sid in (None, alert.call_sid)
        ]
        return web.json_response(page_json("notifications", request.path, dict(request.query), alerts[::-1]))

    async def _list_recordings(self, request: web.Request) -> web.Response:
        query = {**request.query, **({"CallSid": request.match_info["sid"]} if "sid" in request.match_info else {})}
        recordings = [
            recording_json(self.exchange, recording)
            for recording in self.exchange.ledger.recordings.values()
            if query.get("CallSid", recording.call_sid) == recording.call_sid
        ]
        return web.json_response(page_json("recordings", request.path, query, recordings))

    async def _get_recording(self, request: web.Request) -> web.Response:
        recording = self.exchange.ledger.recordings.get(request.match_info["sid"])
        if recording is None:
            raise RefusedError(20404, request.path)
        return web.json_response(recording_json(self.exchange, recording))

    async def _download(self, request: web.Request) -> web.Response:
        recording = self.exchange.ledger.recordings.get(request.match_info["sid"])
        if recording is None:
            raise RefusedError(20404, request.path)
        return web.Response(body=wav_of_mulaw(*recording.mulaw), content_type="audio/x-wav")


def _matches(call: SimulatedCall, query: dict[str, str]) -> bool:
    resource: dict[str, Any] = call_json(call)
    for name, key in (("To", "to"), ("From", "from"), ("Status", "status"), ("ParentCallSid", "parent_call_sid")):
        if name in query and resource[key] != query[name]:
            return False
    start = call.started or call.ended or call.created
    end = call.ended
    return all(_in_time(at, name, query) for at, name in ((start, "StartTime"), (end, "EndTime")))


def _in_time(at: datetime | None, name: str, query: dict[str, str]) -> bool:
    """`StartTime=2026-01-31`: on this day; `StartTime>=…`, `StartTime<=…`: from, until; days or times."""
    for key, text in query.items():
        if not key.startswith(name):
            continue
        if at is None:
            return False
        try:
            if len(text) == len("2026-01-31"):
                then, compared = date.fromisoformat(text), at.date()
                inside = {name: compared == then, name + "<": compared <= then, name + ">": compared >= then}
            else:
                moment = datetime.fromisoformat(text)
                inside = {name: at == moment, name + "<": at <= moment, name + ">": at >= moment}
        except ValueError:
            raise RefusedError(20001, f"{key} {text}") from None
        if not inside.get(key, True):
            return False
    return True
