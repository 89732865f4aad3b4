"""Checks of what is elsewhere: OpenAI, the Twilio account and its numbers, our own public address, the time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

import msgspec
from twilio.request_validator import RequestValidator

from telephony.doctor.findings import Finding, failed, ok, skipped, warning
from telephony.doctor.here import is_ours
from telephony.doctor.http import Answer, Unreachable, ask
from telephony.doctor.webhooks import misdirections, status_url
from telephony.settings import Settings, SettingsError, is_loopback
from telephony.twilio.rest import RestLimits, TwilioNumber, TwilioRest
from telephony.twilio.rest_errors import TwilioRestError
from telephony.twilio.signature import SIGNATURE_HEADER

IMPATIENT: Final = RestLimits(request_seconds=8.0, tries_max=2, total_seconds=12.0)
CLOCK_GOOD: Final = timedelta(seconds=5)  # their dates have whole seconds, and answers take their time
CLOCK_TOLERABLE: Final = timedelta(seconds=30)
OPENAI_HOST: Final = "api.openai.com"
TWILIO_HOST: Final = "api.twilio.com"


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


async def check_openai(settings: Settings, heard: Callable[[str, datetime], None]) -> list[Finding]:
    """The key is valid, and the model is there."""
    if settings.openai_api_key is None:
        return [skipped("openai", "OPENAI_API_KEY", "not set")]
    key = settings.openai_api_key.get_secret_value()
    try:
        answer = await ask("GET", f"{settings.openai_base_url}/models", headers={"Authorization": f"Bearer {key}"})
    except Unreachable as e:
        what = f"{settings.openai_base_url} cannot be reached: {e}"
        return [failed("openai", "OPENAI_BASE_URL", what, "check the URL, the network and the firewall")]
    if answer.date is not None:
        heard("OpenAI", answer.date)
    match answer.status:
        case 200:
            return [_model(settings, answer)]
        case 401 | 403:
            return [
                failed(
                    "openai", "OPENAI_API_KEY", f"the key is refused (HTTP {answer.status})",
                    "make a key at https://platform.openai.com/api-keys, of a project that may use the model",
                )
            ]  # fmt: skip
        case 429:
            return [
                failed("openai", "OPENAI_API_KEY", "its limit is used up (HTTP 429)", "look at the account's billing")
            ]
        case 404 if urlsplit(settings.openai_base_url).hostname != OPENAI_HOST:
            what = f"{settings.openai_base_url} answers, but has no list of models to check key and model by"
            return [warning("openai", "OPENAI_BASE_URL", what, "make sure that it is a realtime API, with its /v1")]
        case status:
            what = f"{settings.openai_base_url}/models answers HTTP {status}"
            return [failed("openai", "OPENAI_BASE_URL", what, "expected https://api.openai.com/v1, or one like it")]


def _model(settings: Settings, answer: Answer) -> Finding:
    try:
        known = {model.id for model in msgspec.json.decode(answer.body, type=_Models).data}
    except msgspec.DecodeError:
        what = "its list of models cannot be read"
        return failed("openai", "OPENAI_BASE_URL", what, "expected https://api.openai.com/v1, or one like it")
    if settings.realtime_model not in known:
        some = ", ".join(sorted(name for name in known if "realtime" in name)[:5]) or "no realtime model"
        what = f"there is no model {settings.realtime_model!r} for this key; there is {some}"
        return failed("openai", "REALTIME_MODEL", what, "name one of these, or ask for access")
    return ok("openai", "OPENAI_API_KEY", f"the key is valid, and {settings.realtime_model} is there")


async def check_twilio(settings: Settings, heard: Callable[[str, datetime], None]) -> list[Finding]:
    """The account, and where the calls of its numbers go."""
    try:
        rest = TwilioRest(settings, limits=IMPATIENT)
    except SettingsError as e:
        where, _, what = str(e).partition(": ")
        return [warning("twilio", where, what, "without it there are calls from this machine only")]
    async with rest:
        try:
            account = await rest.fetch_account()
        except TwilioRestError as e:
            where = "TWILIO_API_BASE_URL" if e.status is None else "TWILIO_AUTH_TOKEN"
            if settings.twilio_api_key_sid is not None and e.status is not None:
                where = "TWILIO_API_KEY_SECRET"
            return [failed("twilio", where, str(e), "copy the credentials anew from https://console.twilio.com")]
        if rest.heard_at is not None:
            heard("Twilio", rest.heard_at)
        found = [_account(account.status, account.type)]
        try:
            numbers = await rest.list_numbers()
        except TwilioRestError as e:
            return [*found, failed("number", "TWILIO_NUMBER", str(e), "try again")]
    return [*found, *_numbers(settings, numbers)]


def _account(status: str, kind: str) -> Finding:
    if status != "active":
        return failed(
            "twilio", "TWILIO_ACCOUNT_SID", f"the account is {status}", "look into https://console.twilio.com"
        )
    if kind == "Trial":
        what = "a trial account calls verified numbers only, and says so first"
        return warning("twilio", "TWILIO_ACCOUNT_SID", what, "upgrade it in the Console for real callers")
    return ok("twilio", "TWILIO_ACCOUNT_SID", "the credentials are right, and the account is active")


def _numbers(settings: Settings, numbers: tuple[TwilioNumber, ...]) -> list[Finding]:
    if not numbers:
        return [failed("number", "TWILIO_NUMBER", "the account has no number", "buy one in the Console")]
    ours = list(numbers)
    found = []
    if settings.twilio_number is None:
        what, mend = "not set, so calls can be answered but not placed", "set it to one of the account's numbers"
        found.append(warning("number", "TWILIO_NUMBER", what, mend))
    else:
        ours = [number for number in numbers if number.number == settings.twilio_number]
        if not ours:
            known = ", ".join(number.number for number in numbers[:5])
            what = f"{settings.twilio_number} is no number of this account, which has {known}"
            return [failed("number", "TWILIO_NUMBER", what, "set it to one of these")]
        found.append(ok("number", "TWILIO_NUMBER", f"{settings.twilio_number} is the account's"))
    return [*found, _webhooks(settings, ours)]


def _webhooks(settings: Settings, numbers: list[TwilioNumber]) -> Finding:
    if settings.public_url is None:
        return skipped("webhooks", "PUBLIC_URL", "not set, so no number can point here")
    astray = {number.number: misdirections(number, settings.public_url) for number in numbers}
    reached = [number for number, wrong in astray.items() if not wrong]
    if reached:
        return ok("webhooks", "Twilio's number", f"calls to {', '.join(reached)} come here")
    number, wrong = next(iter(astray.items()))
    return failed(
        "webhooks", f"Twilio's number {number}", "; ".join(wrong), f"run: realtime-bridge numbers attach {number}"
    )


async def check_public_url(settings: Settings) -> list[Finding]:
    """Twilio can reach this server there, and what Twilio signs is accepted."""
    url = settings.public_url
    if url is None:
        what, mend = "not set: Twilio cannot reach this server", "set it to this server's https:// address"
        return [warning("public url", "PUBLIC_URL", what, mend)]
    found = []
    parts = urlsplit(url)
    real = urlsplit(settings.twilio_api_base_url).hostname == TWILIO_HOST
    if real and is_loopback(parts.hostname or ""):
        what = f"{url} is this machine's inside: Twilio cannot reach it"
        return [failed("public url", "PUBLIC_URL", what, "set the address that the Internet knows (a tunnel's, say)")]
    if real and parts.scheme != "https":
        what, mend = f"{url} is not encrypted: anyone on the way can listen", "use https://, with a proxy or tunnel"
        found.append(warning("public url", "PUBLIC_URL", what, mend))
    try:
        answer = await ask("GET", f"{url}/healthz")
    except Unreachable as e:
        what, mend = f"{url} cannot be reached: {e}", "start `realtime-bridge serve`, and check proxy, tunnel and DNS"
        return [*found, failed("public url", "PUBLIC_URL", what, mend)]
    if answer.status != 200 or not is_ours(answer.body):
        what = f"{url}/healthz answers HTTP {answer.status}, and not as this server does"
        return [*found, failed("public url", "PUBLIC_URL", what, "let the proxy or tunnel lead to HOST and PORT")]
    return [*found, ok("public url", "PUBLIC_URL", f"{url} leads to this server"), await _signed(settings, url)]


async def _signed(settings: Settings, url: str) -> Finding:
    """A webhook as Twilio would sign it, but of no call: 400 when the signature is believed, 403 when not."""
    if settings.twilio_auth_token is None:
        return skipped("signature", "TWILIO_AUTH_TOKEN", "not set, so nothing is signed")
    probe = status_url(url)
    signature = RequestValidator(settings.twilio_auth_token.get_secret_value()).compute_signature(probe, {})
    try:
        answer = await ask("POST", probe, headers={SIGNATURE_HEADER: signature}, form={})
    except Unreachable as e:
        return failed("signature", "PUBLIC_URL", f"{probe} cannot be reached: {e}", "let the proxy pass POST requests")
    match answer.status:
        case 400:
            return ok("signature", "TWILIO_AUTH_TOKEN", "the server believes what is signed with it")
        case 403:
            what = "the server refuses what is signed with this token for this PUBLIC_URL"
            mend = "start it with the same TWILIO_AUTH_TOKEN and PUBLIC_URL; a proxy must not change the path"
            return failed("signature", "TWILIO_AUTH_TOKEN", what, mend)
        case status:
            what, mend = f"{probe} answers HTTP {status}", "let the proxy pass it on unchanged"
            return failed("signature", "PUBLIC_URL", what, mend)


def check_clock(differences: dict[str, timedelta]) -> list[Finding]:
    """`differences`: by how much each other clock is ahead of ours."""
    if not differences:
        return [skipped("clock", "this machine's clock", "nobody told the time")]
    who, apart = max(differences.items(), key=lambda each: abs(each[1]))
    what = f"it differs from {who}'s by {abs(apart).total_seconds():.0f} s"
    mend = "let NTP set it (timedatectl set-ntp true)"
    if abs(apart) > CLOCK_TOLERABLE:
        return [failed("clock", "this machine's clock", what, mend)]
    if abs(apart) > CLOCK_GOOD:
        return [warning("clock", "this machine's clock", what, mend)]
    return [ok("clock", "this machine's clock", f"it agrees with {who}'s")]
