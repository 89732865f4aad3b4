"""Twilio's REST API, as far as this server needs it: by the `twilio` package, over an HTTP client of our own.

Our own, because what matters most here is whether a request that failed may have had its effect. Twilio has no
idempotency key: a call that is asked for twice rings twice. So a POST that may have arrived is never repeated, unless
doing it twice is the same as doing it once; and the errors tell which is which (`TwilioRestError.kind`). The package's
client also logs every number, and waits for ever.
"""

from __future__ import annotations

import asyncio
import random
import re
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Literal, Self, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import msgspec
from twilio.base import values
from twilio.http import AsyncHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from telephony import metrics
from telephony.numbers import mask_number
from telephony.settings import Settings, SettingsError
from telephony.twilio.rest_errors import TwilioRestError, error_of
from telephony.twilio.voice_request import SID

ANSWER_BYTES_MAX: Final = 4 * 1024 * 1024  # a page of fifty calls is about 100 kB
LIST_MAX: Final = 200
STATUS_EVENTS: Final = ("initiated", "ringing", "answered", "completed")

_T = TypeVar("_T")
_NEVER_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
    aiohttp.InvalidURL,
)


class RestLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait for Twilio, and how often to ask again where asking again is safe."""

    connect_seconds: float = 5.0
    request_seconds: float = 10.0
    tries_max: int = 4
    back_off_seconds: float = 0.5  # doubles with each try
    total_seconds: float = 25.0  # of one operation, waiting between its tries included


class _Discreet(msgspec.Struct, frozen=True, kw_only=True):
    """Has phone numbers in it, so it is shown by its SID."""

    def __repr__(self) -> str:
        name = self.__struct_fields__[0]
        value = getattr(self, name)
        return f"{type(self).__name__}({mask_number(value) if value.startswith('+') else value}, …)"


class PlaceCall(_Discreet, frozen=True, kw_only=True):
    """One outbound call. URLs are absolute, and POSTed to."""

    to: str
    from_number: str
    url: str  # answers with TwiML when somebody has picked up
    status_callback: str
    ring_seconds: int  # 1 to 600; Twilio may add 5
    call_seconds_max: int
    machine_detection: Literal["Enable", "DetectMessageEnd"] | None = None
    amd_callback: str | None = None  # where detection tells its result while the call goes on; None: `url` waits for it


class TwilioCall(_Discreet, frozen=True, kw_only=True):
    """A call as Twilio's books have it."""

    sid: str
    status: str  # see telephony.twilio.voice_request.CallStatus
    to_number: str = ""
    from_number: str = ""
    direction: str = ""  # inbound, outbound-api, outbound-dial
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_s: int | None = None
    answered_by: str | None = None
    parent_call_sid: str | None = None


class TwilioNumber(_Discreet, frozen=True, kw_only=True):
    """A phone number of the account, and where its calls go. What is unset is empty."""

    number: str
    sid: str
    name: str = ""
    voice: bool = True  # whether it can have calls at all
    voice_url: str = ""
    voice_method: str = "POST"
    status_callback: str = ""
    status_callback_method: str = "POST"
    voice_application_sid: str = ""  # wins over `voice_url`
    trunk_sid: str = ""  # wins over both


class TwilioAccount(msgspec.Struct, frozen=True, kw_only=True):
    sid: str
    status: str  # active, suspended, closed
    type: str  # Full, Trial


class TwilioRest:
    """One account. Every method raises TwilioRestError; after `close`, none may be called."""

    def __init__(
        self,
        settings: Settings,
        *,
        limits: RestLimits | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Raises SettingsError without credentials; an API key is preferred to the auth token."""
        username, password = _credentials(settings)
        self._limits = limits or RestLimits()
        self._sleep = sleep
        self._http = _Http(self._limits, proxy=_proxy(settings.twilio_api_base_url))
        self._client = Client(
            username,
            password,
            settings.twilio_account_sid,
            http_client=self._http,
            environment={"TWILIO_EDGE": ""},  # TWILIO_API_BASE_URL says where, and nothing beside it
        )
        self._client.api.base_url = settings.twilio_api_base_url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.close()

    @property
    def heard_at(self) -> datetime | None:
        """The time by Twilio's clock when it last answered, to the second."""
        return self._http.heard_at

    async def place_call(self, call: PlaceCall) -> str:
        """Dial; the call's SID. With kind `unknown` a phone may be ringing: find out, never ask again."""
        detection: dict[str, Any] = {}
        if call.machine_detection is not None:
            detection["machine_detection"] = call.machine_detection
            if call.amd_callback is not None:
                detection |= {"async_amd": "true", "async_amd_status_callback": call.amd_callback}
        placed = await self._tried(
            lambda: self._client.calls.create_async(
                to=call.to,
                from_=call.from_number,
                url=call.url,
                status_callback=call.status_callback,
                status_callback_event=list(STATUS_EVENTS),
                timeout=call.ring_seconds,
                time_limit=call.call_seconds_max,
                **detection,
            ),
            repeatable=False,
        )
        return _sid(placed.sid)

    async def update_call(
        self, call_sid: str, *, twiml: str | None = None, status: Literal["completed", "canceled"] | None = None
    ) -> None:
        """Give a live call new instructions, or end it. Kind `over`: it has ended by itself."""
        await self._tried(
            lambda: self._client.calls(call_sid).update_async(
                twiml=values.unset if twiml is None else twiml, status=values.unset if status is None else status
            ),
            repeatable=twiml is None,  # ended twice is ended; said twice is said twice
        )

    async def fetch_call(self, call_sid: str) -> TwilioCall:
        return _call(await self._tried(lambda: self._client.calls(call_sid).fetch_async()))

    async def list_calls(self, *, to: str, since: datetime, from_number: str | None = None) -> tuple[TwilioCall, ...]:
        """Calls to a number, created at or after `since` (aware), latest first; at most LIST_MAX.

        By the time of creation, not of starting: a call that still waits in Twilio's queue has not started.
        """
        found = await self._tried(
            lambda: self._client.calls.list_async(
                to=to, from_=values.unset if from_number is None else from_number, limit=LIST_MAX, page_size=LIST_MAX
            )
        )
        calls = [_call(call) for call in found]
        return tuple(call for call in calls if call.created_at is not None and call.created_at >= since)

    async def list_numbers(self, number: str | None = None) -> tuple[TwilioNumber, ...]:
        """The account's numbers; only `number` (E.164) where it is given."""
        found = await self._tried(
            lambda: self._client.incoming_phone_numbers.list_async(
                phone_number=values.unset if number is None else number, limit=LIST_MAX, page_size=LIST_MAX
            )
        )
        return tuple(_number(each) for each in found)

    async def update_number(self, sid: str, *, voice_url: str, status_callback: str) -> TwilioNumber:
        """Send a number's calls to `voice_url`, and the news of them to `status_callback`, both by POST."""
        updated = await self._tried(
            lambda: self._client.incoming_phone_numbers(sid).update_async(
                voice_url=voice_url,
                voice_method="POST",
                status_callback=status_callback,
                status_callback_method="POST",
                voice_application_sid="",  # would win over the URL
            )
        )
        return _number(updated)

    async def fetch_account(self) -> TwilioAccount:
        assert self._client.account_sid is not None
        account_sid: str = self._client.account_sid
        account = await self._tried(lambda: self._client.api.accounts(account_sid).fetch_async())
        return TwilioAccount(sid=_sid(account.sid), status=_text(account.status), type=_text(account.type))

    async def _tried(self, operation: Callable[[], Awaitable[_T]], *, repeatable: bool = True) -> _T:
        """Run `operation`, again where it surely did nothing, or where doing it twice does no harm."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.total_seconds
        pause = self._limits.back_off_seconds
        for tries_left in range(self._limits.tries_max - 1, -1, -1):
            try:
                return await operation()
            except _Answered as e:
                error, wished = e.error, e.retry_after_seconds
            except (ValueError, TypeError, KeyError, AttributeError, LookupError) as e:
                # JSON of another shape than the package expects
                error, wished = _garbage(type(e).__name__), None
            wait = max(wished or 0.0, pause * random.uniform(0.75, 1.25))  # noqa: S311 - spreads load, hides nothing
            again = error.kind == "back_off" or (repeatable and error.kind == "unknown")
            if not again or tries_left == 0 or loop.time() + wait > deadline:
                raise error
            await self._sleep(wait)
            pause *= 2
        raise AssertionError("tries_max is at least 1")


class _Answered(Exception):  # noqa: N818 - inside this module: an error on its way, with what its header wished
    def __init__(self, error: TwilioRestError, retry_after_seconds: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.retry_after_seconds = retry_after_seconds
        code = metrics.bounded("rest_code", str(error.code or error.status or "none"))
        metrics.REST_ERRORS.labels(error.kind, code).inc()


class _Http(AsyncHttpClient):  # type: ignore[misc]  # the package ships no types
    """What carries the package's requests. Logs nothing: URLs, forms and answers hold phone numbers."""

    def __init__(self, limits: RestLimits, *, proxy: str | None) -> None:
        super().__init__(logger=None, is_async=True)
        self._proxy = proxy
        self._timeout = aiohttp.ClientTimeout(total=limits.request_seconds, sock_connect=limits.connect_seconds)
        self._session: aiohttp.ClientSession | None = None
        self.heard_at: datetime | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(  # noqa: PLR0917 - the base's signature
        self,
        method: str,
        uri: str,
        params: Mapping[str, Any] | None = None,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 - the base's signature; ours is in the limits
        allow_redirects: bool = False,  # noqa: ARG002 - as above
    ) -> Response:
        """Raises _Answered, for all that is not a JSON object with a status of success."""
        if self._session is None:  # which wants a running loop
            self._session = aiohttp.ClientSession(timeout=self._timeout)
        try:
            async with self._session.request(
                method,
                uri,
                params=params,
                data=_form(data) if data else None,
                headers={**(headers or {}), "Authorization": _basic(*(auth or ("", "")))},
                allow_redirects=False,
                proxy=self._proxy,
            ) as answer:
                status, answer_headers, body = answer.status, answer.headers, await _body(answer)
        except _NEVER_SENT as e:
            raise _Answered(_unreached(e)) from e
        except (TimeoutError, aiohttp.ClientError, OSError) as e:
            raise _Answered(_broken_off(e)) from e
        if "Date" in answer_headers:
            self.heard_at = _date(answer_headers["Date"])
        if not 200 <= status < 300:
            raise _Answered(error_of(status, body), _seconds(answer_headers.get("Retry-After", "")))
        try:
            if not isinstance(msgspec.json.decode(body), dict):
                raise _Answered(_garbage("no JSON object", status))
        except (msgspec.DecodeError, RecursionError) as e:
            raise _Answered(_garbage("no JSON", status)) from e
        return Response(status, body, answer_headers)


def _proxy(url: str) -> str | None:
    """HTTPS_PROXY and its kin, NO_PROXY obeyed. (aiohttp's own reading of them brings ~/.netrc's passwords along.)"""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def _basic(username: str, password: str) -> str:
    """RFC 7617."""
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()


def _form(data: Mapping[str, Any]) -> aiohttp.FormData:
    """A value that is a list is sent as often as it is long."""
    form = aiohttp.FormData()
    for name, value in data.items():
        for each in value if isinstance(value, list) else [value]:
            form.add_field(name, str(each))
    return form


async def _body(answer: aiohttp.ClientResponse) -> str:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise _Answered(_garbage(f"more than {ANSWER_BYTES_MAX} bytes", answer.status))
    return body.decode(errors="replace")


def _credentials(settings: Settings) -> tuple[str, str]:
    if settings.twilio_account_sid is None:
        raise SettingsError("TWILIO_ACCOUNT_SID: needed to reach Twilio's API; see https://console.twilio.com")
    if settings.twilio_api_key_sid is not None and settings.twilio_api_key_secret is not None:
        return settings.twilio_api_key_sid, settings.twilio_api_key_secret.get_secret_value()
    if settings.twilio_auth_token is not None:
        return settings.twilio_account_sid, settings.twilio_auth_token.get_secret_value()
    raise SettingsError(
        "TWILIO_AUTH_TOKEN: needed to reach Twilio's API (or TWILIO_API_KEY_SID with TWILIO_API_KEY_SECRET); "
        "see https://console.twilio.com, Account info"
    )


def _unreached(e: Exception) -> TwilioRestError:
    return TwilioRestError(
        f"Twilio cannot be reached ({type(e).__name__}), so nothing was done; "
        "check the network, TWILIO_API_BASE_URL and any HTTPS_PROXY",
        kind="back_off",
    )


def _broken_off(e: Exception) -> TwilioRestError:
    return TwilioRestError(
        f"Twilio did not answer ({type(e).__name__}); what was asked may have been done: wait for its callbacks",
        kind="unknown",
    )


def _garbage(what: str, status: int | None = None) -> TwilioRestError:
    return TwilioRestError(
        f"Twilio's answer cannot be read ({what}); what was asked may have been done. Check TWILIO_API_BASE_URL",
        kind="unknown",
        status=status,
    )


def _date(header: str) -> datetime | None:
    try:
        return parsedate_to_datetime(header)
    except ValueError:
        return None


def _seconds(header: str) -> float | None:
    """Retry-After in seconds; its other form, a date, is not used by Twilio."""
    return float(header) if re.fullmatch(r"\d{1,4}", header) else None


def _sid(value: object) -> str:
    if not isinstance(value, str) or not SID.fullmatch(value):
        raise _garbage("no SID")
    return value


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _time(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None


def _call(call: Any) -> TwilioCall:
    duration = _text(call.duration)
    return TwilioCall(
        sid=_sid(call.sid),
        status=_text(call.status),
        to_number=_text(call.to),
        from_number=_text(call._from),  # noqa: SLF001 - so the package names it: `from` is a word of Python
        direction=_text(call.direction),
        created_at=_time(call.date_created),
        started_at=_time(call.start_time),
        ended_at=_time(call.end_time),
        duration_s=int(duration) if re.fullmatch(r"\d{1,9}", duration) else None,
        answered_by=_text(call.answered_by) or None,
        parent_call_sid=_text(call.parent_call_sid) or None,
    )


def _number(number: Any) -> TwilioNumber:
    capabilities = number.capabilities if isinstance(number.capabilities, dict) else {}
    return TwilioNumber(
        number=_text(number.phone_number),
        sid=_sid(number.sid),
        name=_text(number.friendly_name),
        voice=capabilities.get("voice", True) is not False,
        voice_url=_text(number.voice_url),
        voice_method=_text(number.voice_method) or "POST",
        status_callback=_text(number.status_callback),
        status_callback_method=_text(number.status_callback_method) or "POST",
        voice_application_sid=_text(number.voice_application_sid),
        trunk_sid=_text(number.trunk_sid),
    )
