"""What Twilio's webhooks say of a call. Pure: from decoded form fields to typed facts.

Source: https://www.twilio.com/docs/voice/twiml#request-parameters and
https://www.twilio.com/docs/voice/api/call-resource#statuscallback
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from realtime_bridge.errors import ProtocolError

CallStatus: TypeAlias = Literal[
    "queued", "initiated", "ringing", "in-progress", "completed", "busy", "no-answer", "canceled", "failed"
]
AnsweredBy: TypeAlias = Literal[
    "human", "fax", "machine_start", "machine_end_beep", "machine_end_silence", "machine_end_other", "unknown"
]
SID: Final = re.compile(r"\w{1,64}", re.ASCII)
_E164: Final = re.compile(r"\+[1-9]\d{1,14}")
# What stands for a number that the caller withholds, or that the network does not know, spelled on a keypad:
# RESTRICTED, BLOCKED, UNKNOWN, ANONYMOUS, UNAVAILABLE, NONE (https://www.twilio.com/docs/glossary/what-is-caller-id).
_WITHHELD: Final = {"+7378742833", "+2562533", "+8656696", "+266696687", "+86282452253", "+464"}
_CARRIER_FIELDS: Final = {
    "CallerName": "name",
    "FromCity": "city",
    "FromState": "state",
    "FromZip": "zip",
    "FromCountry": "country",
    "ForwardedFrom": "forwarded_from",
    "StirVerstat": "attestation",  # SHAKEN/STIR, such as TN-Validation-Passed-A
}
CARRIER_CHARS_MAX: Final = 200


class VoiceRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A voice webhook or a status callback. Numbers are E.164 or SIP addresses, empty when withheld."""

    call_sid: str
    from_number: str = ""
    to_number: str = ""
    outbound: bool = False
    status: CallStatus | None = None
    sequence: int | None = None  # of a status callback; they may come out of order
    duration_s: int | None = None
    answered_by: AnsweredBy | None = None
    carrier: dict[str, str] = {}
    error_code: int | None = None


def read_voice_request(form: Mapping[str, str]) -> VoiceRequest:
    """Raises ProtocolError, which names the field, for what Twilio would not send."""
    call_sid = form.get("CallSid", "")
    if not SID.fullmatch(call_sid):
        raise ProtocolError("missing or malformed", where="CallSid")
    status = form.get("CallStatus")
    if status is not None and status not in get_args(CallStatus):
        raise ProtocolError(f"{status[:40]!r} is no status of a call", where="CallStatus")
    answered_by = form.get("AnsweredBy")
    if answered_by is not None and answered_by not in get_args(AnsweredBy):
        answered_by = "unknown"  # a new kind of Twilio's
    return VoiceRequest(
        call_sid=call_sid,
        from_number=_number(form.get("From", "")),
        to_number=_number(form.get("To", "")),
        outbound=form.get("Direction", "inbound").startswith("outbound"),
        status=status,  # type: ignore[arg-type]  # checked above
        sequence=_integer(form, "SequenceNumber"),
        duration_s=_integer(form, "CallDuration"),
        answered_by=answered_by,  # type: ignore[arg-type]  # checked above
        carrier={name: form[field][:CARRIER_CHARS_MAX] for field, name in _CARRIER_FIELDS.items() if form.get(field)},
        error_code=_integer(form, "ErrorCode"),
    )


def _number(value: str) -> str:
    value = value.strip()
    if value in _WITHHELD:
        return ""
    return value if _E164.fullmatch(value) or value.startswith("sip:") else ""


def _integer(form: Mapping[str, str], field: str) -> int | None:
    value = form.get(field, "")
    if not value:
        return None
    if not re.fullmatch(r"\d{1,9}", value):
        raise ProtocolError(f"{value[:40]!r} is no whole number", where=field)
    return int(value)
