"""How a call comes about: from the first ring to the answer, or to whatever else the person does."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final, Literal

from telephony.testing.twilio.call import SimulatedCall
from telephony.testing.twilio.people import Busy, NoAnswer, OutOfService, Rejects, detection

RING_S_MAX: Final = 600.0
DECLINED: Final = 603
BUSY_HERE: Final = 486


@dataclass(frozen=True, slots=True)
class Detection:
    """Answering-machine detection, as asked for. `waits`: the TwiML begins when it is through; else `callback` is told."""

    mode: Literal["Enable", "DetectMessageEnd"]
    timeout_s: float = 30.0
    waits: bool = True
    callback: str = ""
    method: str = "POST"


async def ring_person(call: SimulatedCall, timeout_s: float) -> bool:
    """Dial; True when they have answered within `timeout_s` of ringing. Else the call is over."""
    person = call.person
    await call.exchange.rehearse(person)
    await asyncio.sleep(call.exchange.timing.setup)
    match person.behaviour:
        case OutOfService(sip_code=code):
            call.sip_code = code
            call.finish("failed")
            return False
        case Busy():
            call.sip_code = BUSY_HERE
            call.finish("busy")
            return False
        case _:
            call.set_status("ringing")
    never = isinstance(person.behaviour, NoAnswer) or person.answers_after_s > timeout_s
    await asyncio.sleep(timeout_s if never else person.answers_after_s)
    if call.is_over:
        return False
    if never:
        call.finish("no-answer")
        return False
    if isinstance(person.behaviour, Rejects):
        call.sip_code = DECLINED
        call.finish("busy")
        return False
    call.answer()
    return True


async def detect(call: SimulatedCall, wish: Detection) -> None:
    """Find out who has answered, and set `answered_by`. Takes as long as it takes, and `timeout_s` at most."""
    began = time.monotonic()
    answered_by, after_s = detection(call.person, wish.mode, call.exchange.voice)
    if after_s > wish.timeout_s:
        answered_by, after_s = "unknown", wish.timeout_s
    await asyncio.sleep(after_s)
    if call.is_over:
        return
    call.answered_by = answered_by
    if wish.callback:
        milliseconds = str(round((time.monotonic() - began) * 1000))
        form = {
            "AccountSid": call.exchange.account_sid,
            "CallSid": call.sid,
            "AnsweredBy": answered_by,
            "MachineDetectionDuration": milliseconds,
        }
        call.tell("amd", wish.callback, wish.method, form)
