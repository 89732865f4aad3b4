"""What Twilio's REST API refuses, in kinds that tell what to do next. Pure.

The table is the meaning of Twilio's error dictionary for someone who dials; each code's page is
https://www.twilio.com/docs/api/errors/<code>. Codes that are not in it are judged by their HTTP status.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from realtime_bridge.errors import TransportError

# permanent  this request will never work: another number, another SID
# settings   it works when the account or our settings have been changed
# back_off   nothing was done, and later it may work
# over       the call has ended already
# unknown    no telling whether Twilio did it: a call may be ringing. Never simply repeat it.
RestErrorKind: TypeAlias = Literal["permanent", "settings", "back_off", "over", "unknown"]

_NUMBER: Final = "check the number; calls to it cannot work"
_KEYS: Final = "check TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and TWILIO_API_KEY_… against https://console.twilio.com"
_GEO: Final = "allow the country in the Console: Voice, Settings, Geo permissions"
_FROM: Final = (
    "set TWILIO_NUMBER to a number of this account (`realtime-bridge numbers list`), or to a verified caller ID"
)
_URL: Final = "set PUBLIC_URL to an address that Twilio can reach"

CODES: Final[dict[int, tuple[RestErrorKind, str, str]]] = {
    10001: ("settings", "the account is not active", "look into the Console: it is suspended or closed"),
    10002: ("settings", "a trial account cannot do this", "upgrade the account in the Console"),
    10004: ("back_off", "the account has as many calls as it may have at once", "wait until calls have ended"),
    10005: ("settings", "voice calls are disabled for the account", "ask Twilio's support to enable them"),
    13223: ("permanent", "the number is not in E.164 form", _NUMBER),
    13224: ("permanent", "there is no such number, or Twilio cannot call it", _NUMBER),
    13225: ("permanent", "Twilio forbids calls to this number", _NUMBER),
    13226: ("permanent", "there is no such country code", _NUMBER),
    13227: ("settings", "the account may not call this country", _GEO),
    20003: ("settings", "the credentials are wrong", _KEYS),
    20005: ("settings", "the account is not active", "look into the Console: it is suspended or closed"),
    20008: ("settings", "test credentials cannot do this", "use the account's live credentials"),
    20404: ("permanent", "there is no such thing in this account", "check the SID, and TWILIO_ACCOUNT_SID"),
    20429: ("back_off", "too many requests at once", "place calls more slowly"),
    21201: ("permanent", "no number to call was given", _NUMBER),
    21202: ("permanent", "this is a premium-rate number", _NUMBER),
    21203: ("settings", "international calls are not enabled", _GEO),
    21205: ("settings", "Twilio cannot use the webhook's URL", _URL),
    21210: ("settings", "the caller ID is not verified", _FROM),
    21211: ("permanent", "this is no phone number", _NUMBER),
    21212: ("settings", "the caller ID is no phone number", _FROM),
    21213: ("settings", "there is no caller ID", _FROM),
    21214: ("permanent", "the number cannot be reached", _NUMBER),
    21215: ("settings", "the account may not call this country or number", _GEO),
    21216: ("settings", "the account is not allowed to call this number", "ask Twilio's support why it is blocked"),
    21217: ("permanent", "this does not seem to be a phone number", _NUMBER),
    21219: ("settings", "a trial account calls verified numbers only", "verify the number in the Console, or upgrade"),
    21220: ("over", "the call has already ended", "nothing is left to do"),
}

_BY_STATUS: Final[dict[int, tuple[RestErrorKind, str, str]]] = {
    401: ("settings", "the credentials are wrong", _KEYS),
    403: ("settings", "the credentials may not do this", _KEYS),
    404: ("permanent", "there is no such thing in this account", "check the SID, and TWILIO_ACCOUNT_SID"),
    407: ("settings", "a proxy wants to be asked first", "check HTTPS_PROXY"),
    408: ("unknown", "the request took too long", "wait for Twilio's callbacks"),
    429: ("back_off", "too many requests at once", "place calls more slowly"),
}
_REDIRECTS: Final = (301, 302, 307, 308)  # whoever says these has done nothing (RFC 9110, 15.4); 303 may have
_ANSWER_CHARS_MAX: Final = 200


class TwilioRestError(TransportError):
    """Twilio did not do, or may not have done, what was asked. The message says what to do, and holds no number.

    `code`: Twilio's (None: it gave none). `status`: HTTP's (None: no answer came). `kind`: see `RestErrorKind`.
    `retryable` is True only where the request surely had no effect.
    """

    def __init__(
        self, message: str, *, kind: RestErrorKind, code: int | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, code=code, retryable=kind == "back_off")
        self.code: int | None = code
        self.status = status
        self.kind = kind


class _ErrorBody(msgspec.Struct):
    code: int | None = None


def error_of(status: int, body: str) -> TwilioRestError:
    """The error that an answer other than 2xx stands for. Twilio's own text is left out: it repeats numbers."""
    code = _code(body)
    if code in CODES:
        kind, what, advice = CODES[code]
    elif status in _BY_STATUS:
        kind, what, advice = _BY_STATUS[status]
    elif status in _REDIRECTS:
        kind, what, advice = "settings", f"HTTP {status}: a redirection", "check TWILIO_API_BASE_URL"
    elif 400 <= status < 500:
        kind, what, advice = "permanent", f"HTTP {status}: the request is wrong", "look the code up"
    else:
        kind, what, advice = (
            "unknown",
            f"HTTP {status}",
            "what was asked may have been done; wait for Twilio's callbacks",
        )
    if status >= 500:
        kind = "unknown"  # whatever the body says
    where = f" (error {code}, https://www.twilio.com/docs/api/errors/{code})" if code is not None else ""
    return TwilioRestError(f"Twilio: {what}{where}; {advice}", kind=kind, code=code, status=status)


def _code(body: str) -> int | None:
    try:
        found: Any = msgspec.json.decode(body, type=_ErrorBody).code
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return found if found is not None and 0 < found < 1_000_000 else None
