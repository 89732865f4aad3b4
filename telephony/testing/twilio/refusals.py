"""What Twilio's REST API refuses, and the JSON it says so in. Pure.

Source: https://www.twilio.com/docs/api/errors; bodies as `twilio.base.version.Version.exception` reads them.
"""

from __future__ import annotations

from typing import Final

from realtime_bridge.errors import ProtocolError

_STATUS: Final = {20003: 401, 20404: 404, 20429: 429, 20500: 500, 21215: 400, 20005: 403}
MESSAGES: Final = {
    20003: "Authenticate",
    20005: "Account is not active",
    20404: "The requested resource {value} was not found",
    20429: "Too Many Requests",
    20500: "An internal server error has occurred",
    20001: "Invalid parameter: {value}",
    13224: "Dial: Twilio does not support calling this number or the number is invalid: {value}",
    13225: "Dial: Forbidden phone number {value}",
    13227: "Dial: No international authorization to call {value}",
    21201: "No 'To' number is specified",
    21205: "Url is not a valid URL: {value}",
    21210: "The source phone number provided, {value}, is not yet verified for your account. "
    "You may only make calls from phone numbers that you've verified or purchased from Twilio.",
    21211: "The phone number you are attempting to call, {value}, is not valid.",
    21212: "From is not a valid phone number: {value}",
    21213: "No 'From' number is specified",
    21215: "Account not authorized to call {value}. Perhaps you need to enable some international permissions",
    21216: "Account not allowed to call {value}",
    21217: "Phone number does not appear to be valid: {value}",
    21218: "Invalid ApplicationSid: {value}",
    21219: "The number {value} is unverified. Trial accounts may only make calls to verified numbers.",
    21220: "Call is not in-progress. Cannot redirect.",
    21206: "Invalid SendDigits: {value}",
    21208: "Invalid Timeout: {value}",
    21209: "Invalid method: {value}",
}


class RefusedError(ProtocolError):
    """REST refuses a request. `status`: of HTTP."""

    def __init__(self, code: int, value: str = "") -> None:
        super().__init__(MESSAGES.get(code, "Refused: {value}").format(value=value))
        self.code = code
        self.status = _STATUS.get(code, 400)

    def body(self) -> dict[str, object]:
        return {
            "code": self.code,
            "message": str(self),
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.status,
        }
