"""A dialler with all that it needs around it: a simulated Twilio, faults in front of it, a store, our webhooks."""

import asyncio
import contextlib
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import aiohttp
from support.http_endpoint import CLOSE, RESET, SILENCE, HttpEndpoint, answer

from telephony.outbound.dialler import Dialler, DialLimits
from telephony.outbound.requests import CallRequest
from telephony.settings import Settings
from telephony.store import Store
from telephony.testing.twilio import TwilioSimulator, murmur
from telephony.twilio.rest import RestLimits, TwilioRest
from telephony.twilio.voice_request import read_voice_request

TOKEN = "auth-token"
FROM = "+14155550100"
ANN, BOB, CAL = "+12025550111", "+12025550122", "+12025550133"
FAULTS = {
    "500": answer(500, {"code": 20500}),
    "502 page": answer(502, text="<html>"),
    "garbage": answer(201, text="OK"),
    "no SID": answer(201, {"status": "queued"}),
    "half": b"HTTP/1.1 201 Created\r\nContent-Length: 500\r\n\r\n{",
    "reset": RESET,
    "close": CLOSE,
    "silence": SILENCE,
}
TOO_MANY = answer(429, {"code": 20429})


@dataclass
class World:
    twilio: TwilioSimulator
    front: HttpEndpoint
    store: Store
    settings: Settings
    rest: TwilioRest
    dialler: Dialler
    before: list = field(default_factory=list)  # answers given in Twilio's stead to the next requests to dial
    after: list = field(default_factory=list)  # what becomes of Twilio's answers to the next ones, None: nothing
    hiccups: int = 0  # webhooks that are refused for the moment
    deaf: bool = False  # webhooks are answered, and not heeded

    def place(self, to, **fields):
        return self.dialler.place(CallRequest(to=to, **fields))

    def rung(self, to):
        return len(self.twilio.calls_to(to))


@contextlib.asynccontextmanager
async def dialling(database_url, *, settle_seconds=0.5, request_seconds=30.0):
    """Who wants to see what happens when Twilio is silent, says how long it may be."""
    holder = []

    async def webhook(asked):
        form = dict(parse_qsl(asked.body))
        world = holder[0]
        (attempt,) = asked.query["attempt"]
        if world.hiccups:
            world.hiccups -= 1
            return answer(503)
        if not world.deaf:
            await world.dialler.on_status(attempt, read_voice_request(form))
        text = "<Response><Hangup/></Response>" if asked.path == "/twilio/voice" else ""
        return answer(200, text=text).replace(b"application/json", b"text/xml")

    async def forward(asked):
        world = holder[0]
        dials = asked.method == "POST" and asked.path.endswith("/Calls.json")
        if dials and world.before:
            return world.before.pop(0)
        headers = {name: asked.headers[name] for name in ("authorization", "content-type") if name in asked.headers}
        async with (
            aiohttp.ClientSession() as session,
            session.request(asked.method, world.twilio.url + asked.target, data=asked.body, headers=headers) as got,
        ):
            passed = answer(got.status, text=await got.text())
        return (dials and world.after and world.after.pop(0)) or passed

    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(Store.open(database_url, node="here"))  # closed last
        ours = await stack.enter_async_context(HttpEndpoint(webhook))
        front = await stack.enter_async_context(HttpEndpoint(forward))
        twilio = await stack.enter_async_context(
            TwilioSimulator(auth_token=TOKEN, calls_per_second=100, speech=murmur, webhook_timeout_s=30)
        )
        twilio.number(FROM)
        for number in (ANN, BOB, CAL):
            twilio.person(number, answers_after_s=0.05)
        given = {
            "twilio_account_sid": twilio.account_sid,
            "twilio_auth_token": TOKEN,
            "twilio_api_base_url": front.url,
            "twilio_number": FROM,
            "public_url": ours.url,
        }
        configured = Settings(_env_file=None, **given)
        rest = await stack.enter_async_context(TwilioRest(configured, limits=brief(request_seconds), sleep=no_pause))
        dialler = Dialler(store=store, rest=rest, settings=configured, limits=patience(settle_seconds))
        stack.push_async_callback(dialler.close)
        holder.append(World(twilio, front, store, configured, rest, dialler))
        yield holder[0]


def brief(seconds):
    return RestLimits(request_seconds=seconds, connect_seconds=seconds, total_seconds=60, back_off_seconds=0.01)


def patience(settle_seconds):
    return DialLimits(settle_seconds=settle_seconds, poll_seconds=0.05)


async def no_pause(_seconds):
    await asyncio.sleep(0)
