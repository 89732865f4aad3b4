"""The simulator by HTTP: for people with `curl`, and programs in other languages. JSON in, JSON out, no password.

    POST /simulator/ring             {"from": "+15550100", "to": "+15550199", "steps": ["Hello?", {"wait": true}]}
    POST /simulator/people           {"number": "+15550100", "behaviour": "machine", "answers_after_s": 2}
    GET  /simulator/calls            GET /simulator/calls/CA…      GET /simulator/calls/CA…/heard.wav
    POST /simulator/calls/CA…/say    {"text": "Goodbye."}          POST …/press {"digits": "42#"}    POST …/hang-up {}
    POST /simulator/faults           {"on": "rest", "kind": "reset-after"} or {"on": "webhook", "kind": "lost"}
    GET  /simulator/alerts

A step is a text to say, or one of {"wait": true}, {"hear": TEXT}, {"pause_ms": 500}, {"press": "42#"}, {"stay": true},
{"hang_up": true}. Requests must say `Content-Type: application/json`, so that no web page can send them unnoticed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from aiohttp import web

from realtime_bridge.errors import BridgeError
from telephony.testing.script import HangUp, Pause, WaitForAgent
from telephony.testing.twilio.call import Calls, SimulatedCall
from telephony.testing.twilio.exchange import Exchange
from telephony.testing.twilio.faults import RestFaultKind, WebhookFaultKind
from telephony.testing.twilio.incoming import ring
from telephony.testing.twilio.people import (
    STAY,
    AnsweringMachine,
    Behaviour,
    Busy,
    Fax,
    HearText,
    Human,
    NoAnswer,
    OutOfService,
    Person,
    Rejects,
    ScriptStep,
    spelt,
)
from telephony.testing.twilio.wav import wav_of_mulaw

PREFIX: Final = "/simulator"
Kind = Literal["human", "machine", "fax", "busy", "no-answer", "rejects", "out-of-service"]
PhoneNumber = Annotated[str, msgspec.Meta(pattern=r"^\+[1-9]\d{6,14}$")]

T = TypeVar("T")


class StepWish(msgspec.Struct, forbid_unknown_fields=True):
    """One of them; see the module."""

    wait: bool = False
    hear: str = ""
    pause_ms: float = 0.0
    press: str = ""
    stay: bool = False
    hang_up: bool = False

    def steps(self) -> list[ScriptStep]:
        if self.hear:
            return [HearText(self.hear)]
        if self.press:
            return list(spelt(self.press))
        if self.pause_ms:
            return [Pause(self.pause_ms)]
        if self.stay:
            return [STAY]
        return [HangUp() if self.hang_up else WaitForAgent()]


class RingWish(msgspec.Struct, rename={"from_": "from"}, forbid_unknown_fields=True):
    from_: PhoneNumber
    to: PhoneNumber
    steps: list[str | StepWish] | None = None


class PersonWish(msgspec.Struct, forbid_unknown_fields=True):
    number: PhoneNumber
    behaviour: Kind = "human"
    answers_after_s: float = 1.0
    hangs_up_after_s: float = math.inf
    steps: list[str | StepWish] | None = None
    greeting: str = ""


class SayWish(msgspec.Struct, forbid_unknown_fields=True):
    text: str


class PressWish(msgspec.Struct, forbid_unknown_fields=True):
    digits: str


class FaultWish(msgspec.Struct, forbid_unknown_fields=True):
    on: Literal["rest", "webhook"]
    kind: RestFaultKind | WebhookFaultKind
    times: int = 1
    delay_s: float = 1.0
    path: str = ""
    about: str = ""


def behaviour(kind: Kind, steps: Sequence[str | StepWish] | None = None, greeting: str = "") -> Behaviour:
    """Somebody of this kind. `steps`: of a human; `greeting`: of a machine."""
    match kind:
        case "human":
            return Human(tuple(_steps(steps))) if steps is not None else Human()
        case "machine":
            return AnsweringMachine(greeting) if greeting else AnsweringMachine()
        case "fax":
            return Fax()
        case "busy":
            return Busy()
        case "no-answer":
            return NoAnswer()
        case "rejects":
            return Rejects()
        case "out-of-service":
            return OutOfService()


class Control:
    """The routes, for one account."""

    def __init__(self, exchange: Exchange, calls: Calls) -> None:
        self._exchange = exchange
        self._calls_by_sid = calls

    def add_to(self, app: web.Application) -> None:
        app.router.add_post(PREFIX + "/ring", self._ring)
        app.router.add_post(PREFIX + "/people", self._person)
        app.router.add_post(PREFIX + "/faults", self._fault)
        app.router.add_get(PREFIX + "/alerts", self._alerts)
        app.router.add_get(PREFIX + "/calls", self._calls)
        app.router.add_get(PREFIX + "/calls/{sid}", self._call)
        app.router.add_get(PREFIX + "/calls/{sid}/heard.wav", self._heard)
        app.router.add_post(PREFIX + "/calls/{sid}/say", self._say)
        app.router.add_post(PREFIX + "/calls/{sid}/press", self._press)
        app.router.add_post(PREFIX + "/calls/{sid}/hang-up", self._hang_up)

    async def _ring(self, request: web.Request) -> web.Response:
        wish = await _read(request, RingWish)
        steps = _steps(wish.steps) if wish.steps is not None else None
        try:
            call = await ring(self._exchange, self._calls_by_sid, wish.from_, wish.to, steps=steps)
        except BridgeError as e:
            raise _bad(str(e)) from e
        return _json(call_record(call))

    async def _person(self, request: web.Request) -> web.Response:
        wish = await _read(request, PersonWish)
        try:
            who = behaviour(wish.behaviour, wish.steps, wish.greeting)
        except BridgeError as e:
            raise _bad(str(e)) from e
        self._exchange.people[wish.number] = Person(wish.number, who, wish.answers_after_s, wish.hangs_up_after_s)
        return _json({"number": wish.number, "behaviour": wish.behaviour})

    async def _fault(self, request: web.Request) -> web.Response:
        wish = await _read(request, FaultWish)
        faults = self._exchange.faults
        match wish.kind:
            case "duplicate" | "late" | "lost" | "forged" | "unsigned" if wish.on == "webhook":
                faults.webhook(wish.kind, kind=wish.about, times=wish.times, delay_s=wish.delay_s)
            case (
                "slow"
                | "error"
                | "unavailable"
                | "garbage"
                | "too-many"
                | "reset-before"
                | "reset-after"
                | "hang-after"
            ):
                if wish.on != "rest":
                    raise _bad(f"{wish.kind} is a fault of rest")
                faults.rest(wish.kind, path=wish.path, times=wish.times, delay_s=wish.delay_s)
            case _:
                raise _bad(f"{wish.kind} is a fault of webhooks")
        return _json({"ok": True})

    async def _alerts(self, _request: web.Request) -> web.Response:
        return _json([msgspec.to_builtins(alert) for alert in self._exchange.ledger.alerts])

    async def _calls(self, _request: web.Request) -> web.Response:
        return _json(
            [{"sid": c.sid, "from": c.from_, "to": c.to, "status": c.status} for c in self._calls_by_sid.values()]
        )

    async def _call(self, request: web.Request) -> web.Response:
        return _json(call_record(self._found(request)))

    async def _heard(self, request: web.Request) -> web.Response:
        call = self._live(request)
        return web.Response(body=wav_of_mulaw(bytes(call.heard.mulaw)), content_type="audio/wav")

    async def _say(self, request: web.Request) -> web.Response:
        wish = await _read(request, SayWish)
        call = self._live(request)
        await call.say(wish.text)
        return _json({"ok": True})

    async def _press(self, request: web.Request) -> web.Response:
        wish = await _read(request, PressWish)
        call = self._live(request)
        try:
            await call.press(wish.digits)
        except BridgeError as e:
            raise _bad(str(e)) from e
        return _json({"ok": True})

    async def _hang_up(self, request: web.Request) -> web.Response:
        await _read(request, dict)
        call = self._found(request)
        call.hang_up()
        return _json(call_record(call))

    def _found(self, request: web.Request) -> SimulatedCall:
        call = self._calls_by_sid.get(request.match_info["sid"])
        if call is None:
            raise web.HTTPNotFound(text="no such call")
        return call

    def _live(self, request: web.Request) -> SimulatedCall:
        call = self._found(request)
        if call.line is None:
            raise web.HTTPConflict(text=f"the call has not been answered: its status is {call.status}")
        return call


def call_record(call: SimulatedCall) -> dict[str, Any]:
    """All that is known of a call, but its sound. Times are in seconds since its first status."""
    began = call.history[0].at
    heard = call.line.heard if call.line is not None else None
    return {
        "sid": call.sid,
        "from": call.from_,
        "to": call.to,
        "direction": call.direction,
        "parent": call.parent.sid if call.parent is not None else None,
        "status": call.status,
        "answered_by": call.answered_by,
        "history": [{"status": change.status, "at_s": change.at - began} for change in call.history],
        "verbs": [{"verb": one.verb, "text": one.text, "at_s": one.at - began} for one in call.executed],
        "said": [{"text": s.text, "at_s": s.start - began, "cut": s.cut} for s in heard.said] if heard else [],
        "audible": [{"from_s": s.start - began, "to_s": s.end - began} for s in heard.audible] if heard else [],
        "webhooks": [
            {"kind": w.kind, "url": w.url, "status": w.status, "error": w.error, "at_s": w.sent_at - began}
            for w in call.webhooks
        ],
        "streams": [{"sid": s.stream_sid, "ending": s.ending, "marks": len(s.echoes)} for s in call.streams],
        "alerts": [{"code": alert.code, "message": alert.message} for alert in call.alerts],
    }


def _steps(wishes: Sequence[str | StepWish] | None) -> list[ScriptStep]:
    steps: list[ScriptStep] = []
    for wish in wishes or ():
        steps += [wish] if isinstance(wish, str) else wish.steps()
    return steps


async def _read(request: web.Request, kind: type[T]) -> T:
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="say Content-Type: application/json")
    try:
        return msgspec.json.decode(await request.read(), type=kind)
    except msgspec.DecodeError as e:
        raise _bad(str(e)) from e


def _bad(message: str) -> web.HTTPBadRequest:
    return web.HTTPBadRequest(text=message)


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
