"""A call that REST was asked to place: what is allowed, and how it goes from the queue to its TwiML."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, cast
from urllib.parse import urlsplit

from telephony.testing.twilio.call import TIME_LIMIT_S, Callback, Calls, RecordingWish, SimulatedCall
from telephony.testing.twilio.dialling import RING_S_MAX, Detection, detect, ring_person
from telephony.testing.twilio.exchange import Exchange
from telephony.testing.twilio.interpreter import Interpreter
from telephony.testing.twilio.program import Program
from telephony.testing.twilio.refusals import RefusedError
from telephony.testing.twilio.twiml import TWIML_CHARS_MAX_INLINE

RING_S: Final = 60.0  # when no Timeout is given
SEND_DIGITS_MAX: Final = 32
EVENTS: Final = frozenset({"initiated", "ringing", "answered", "completed"})
_E164: Final = re.compile(r"\+[1-9]\d{6,14}")
_SEND_DIGITS: Final = re.compile(rf"[0-9A-D*#wW]{{0,{SEND_DIGITS_MAX}}}")


class Form(Protocol):
    """A posted form, as aiohttp reads it; a name may come several times."""

    def get(self, name: str, default: str, /) -> object: ...

    def getall(self, name: str, default: list[str], /) -> Sequence[object]: ...


@dataclass(slots=True)
class Permissions:
    """Who may be called. `refused`: prefix of a number -> Twilio's error code. `verified`: other numbers to call from, and
    on a trial account the only ones to call. `status`: of the account, which calls nobody unless it is active."""

    refused: dict[str, int] = field(default_factory=dict)
    verified: set[str] = field(default_factory=set)
    trial: bool = False
    status: Literal["active", "suspended", "closed"] = "active"

    def check(self, to: str, from_: str, own: Iterable[str]) -> None:
        """Raises RefusedError."""
        if self.status != "active":
            raise RefusedError(20005)
        if not to:
            raise RefusedError(21201)
        if not from_:
            raise RefusedError(21213)
        if not _E164.fullmatch(to):
            raise RefusedError(21211, to)
        if from_ not in self.verified and from_ not in own:
            raise RefusedError(21210, from_)
        for prefix, code in self.refused.items():
            if to.startswith(prefix):
                raise RefusedError(code, to)
        if self.trial and to not in self.verified:
            raise RefusedError(21219, to)


@dataclass(frozen=True, slots=True)
class Order:
    """How a call is to be placed, as REST was asked."""

    program: Program
    ring_s: float
    send_digits: str
    detection: Detection | None


def order(exchange: Exchange, calls: Calls, permissions: Permissions, form: Form) -> SimulatedCall:
    """Take the order: the call is queued from now on. Raises RefusedError."""
    to, from_ = _text(form, "To").strip(), _text(form, "From").strip()
    permissions.check(to, from_, exchange.numbers)
    program = read_program(form)
    if program is None:
        raise RefusedError(21205, "")
    placed = Order(program, _number(form, "Timeout", RING_S, RING_S_MAX), _send_digits(form), _detection(form))
    wish = None
    if _text(form, "Record").lower() == "true":
        method = _method(form, "RecordingStatusCallbackMethod")
        wish = RecordingWish(_text(form, "RecordingStatusCallback"), method, _text(form, "RecordingChannels") == "dual")
    number = exchange.numbers.get(from_)
    call = SimulatedCall(
        exchange,
        calls,
        _text(form, "CallerId") or from_,
        to,
        "outbound-api",
        exchange.person(to),
        callback=_callback(exchange, form),
        time_limit_s=_number(form, "TimeLimit", TIME_LIMIT_S, 24 * 3600.0),
        recording_wish=wish,
        number_sid=number.sid if number is not None else "",
    )
    call.set_status("queued")
    call.start(_place(call, placed))
    return call


def read_program(form: Form) -> Program | None:
    """`Twiml` or `Url` of a form. None: neither. Raises RefusedError."""
    twiml, url = _text(form, "Twiml"), _text(form, "Url")
    if twiml:
        if len(twiml) > TWIML_CHARS_MAX_INLINE:
            raise RefusedError(20001, f"Twiml is longer than {TWIML_CHARS_MAX_INLINE} characters")
        return Program(twiml=twiml)
    if not url:
        return None
    for given in (url, _text(form, "FallbackUrl")):
        if given and (urlsplit(given).scheme not in ("http", "https") or not urlsplit(given).hostname):
            raise RefusedError(21205, given)
    return Program(
        url,
        _method(form, "Method"),
        fallback_url=_text(form, "FallbackUrl"),
        fallback_method=_method(form, "FallbackMethod"),
    )


async def _place(call: SimulatedCall, placed: Order) -> None:
    call.queue_s = await call.exchange.slot()
    call.set_status("initiated")
    if not await ring_person(call, placed.ring_s):
        return
    if placed.send_digits:
        # No detection then: https://www.twilio.com/docs/voice/api/call-resource, SendDigits
        now = time.monotonic()
        await _until(call.live_line.send_digits(placed.send_digits, now))
    elif placed.detection is not None and placed.detection.waits:
        await detect(call, placed.detection)
    elif placed.detection is not None:
        call.exchange.spawn(detect(call, placed.detection))
    await Interpreter(call, placed.program).run()


async def _until(at: float) -> None:
    await asyncio.sleep(max(at - time.monotonic(), 0))


# ---- fields ------------------------------------------------------------------------------------------------------------


def _detection(form: Form) -> Detection | None:
    mode = _text(form, "MachineDetection")
    if not mode:
        return None
    if mode not in ("Enable", "DetectMessageEnd"):
        raise RefusedError(20001, f"MachineDetection {mode}")
    waits = _text(form, "AsyncAmd").lower() != "true"
    return Detection(
        cast('Literal["Enable", "DetectMessageEnd"]', mode),
        _number(form, "MachineDetectionTimeout", 30.0, 59.0),
        waits,
        "" if waits else _text(form, "AsyncAmdStatusCallback"),
        _method(form, "AsyncAmdStatusCallbackMethod"),
    )


def _callback(exchange: Exchange, form: Form) -> Callback | None:
    """Events that do not exist do not stop the call: no callback comes, and 21626 is in the debugger."""
    url = _text(form, "StatusCallback")
    if not url:
        return None
    events = frozenset(str(event) for event in form.getall("StatusCallbackEvent", ["completed"]))
    if not events <= EVENTS:
        exchange.alert(21626, f"Invalid StatusCallbackEvents: {' '.join(sorted(events - EVENTS))}")
        return None
    return Callback(url, _method(form, "StatusCallbackMethod"), events)


def _send_digits(form: Form) -> str:
    digits = _text(form, "SendDigits")
    if not _SEND_DIGITS.fullmatch(digits):
        raise RefusedError(21206, digits)
    return digits


def _method(form: Form, name: str) -> str:
    method = (_text(form, name) or "POST").upper()
    if method not in ("GET", "POST"):
        raise RefusedError(21209, method)
    return method


def _number(form: Form, name: str, default: float, most: float) -> float:
    text = _text(form, name)
    if not text:
        return default
    if not text.isdigit() or not 0 < int(text) <= most:
        raise RefusedError(21208 if name == "Timeout" else 20001, f"{name} {text}")
    return float(text)


def _text(form: Form, name: str) -> str:
    value = form.get(name, "")
    return value if isinstance(value, str) else ""
