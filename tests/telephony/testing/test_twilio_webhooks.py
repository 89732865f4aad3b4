"""The simulated Twilio's requests to an application: signed, tried again, and wrong where they are told to be."""

import asyncio
import contextlib
import socket
import time

from hypothesis import given
from hypothesis import strategies as st
from support.together import Together
from support.twilio_application import Application, Twilio

from telephony.testing.twilio.webhooks import Overrides

OURS, CALLER = "+15550199", "+15550100"
BYE = "<Response><Reject/></Response>"
HELLO = "<Response><Say>Hello.</Say></Response>"


@contextlib.asynccontextmanager
async def ready(path="/voice", **options):
    async with Application() as application, Twilio(**options) as twilio:
        twilio.number(OURS, voice_url=application.url + path, status_callback=application.url + "/status")
        application.answers["/voice"] = BYE
        yield twilio, application


async def rung(twilio):
    call = await twilio.ring(CALLER, OURS)
    await call.until(lambda: call.is_over and call.sent("status"))
    await call.until_webhook("status")
    return call


together = Together()


@together
async def test_the_url_is_signed_and_asked_for_as_it_was_written():
    async with ready("/voice?to=%2B1555&x=a%20b&x=c#rc=2") as (twilio, app):
        await rung(twilio)
        [asked] = app.at("/voice")
        assert asked.signed
        assert asked.target == "/voice?to=%2B1555&x=a%20b&x=c"
        assert asked.headers["user-agent"] == "TwilioProxy/1.1"
        assert asked.headers["i-twilio-idempotency-token"]


@together
async def test_what_the_carrier_says_of_the_caller_is_in_the_form():
    async with ready() as (twilio, app):
        call = await twilio.ring(CALLER, OURS, carrier={"FromCity": "SAN JOSÉ & CO", "CallerName": "A+B"})
        await call.until_status("no-answer")
        [asked] = app.at("/voice")
        assert asked.signed
        assert (asked.form["FromCity"], asked.form["CallerName"]) == ("SAN JOSÉ & CO", "A+B")


@together.each(
    ("#rc=3&rp=5xx", [(500, ""), (503, ""), HELLO], 3),
    ("#rc=1&rp=all", [(500, ""), (500, ""), HELLO], 2),
    ("#rc=3&rp=4xx", [(500, ""), HELLO], 1),
    ("", [(500, ""), HELLO], 1),
)
async def test_failures_are_tried_again_as_the_fragment_asks(fragment, answers, asked):
    async with ready("/voice" + fragment) as (twilio, app):
        app.answers["/voice"] = answers
        call = await twilio.ring(CALLER, OURS)
        await call.until_status("in-progress")
        assert len(app.at("/voice")) == asked
        assert len({one.headers["i-twilio-idempotency-token"] for one in app.at("/voice")}) == 1
        assert [webhook.attempt for webhook in call.sent("voice")] == list(range(1, asked + 1))


@together
async def test_an_application_that_is_slow_or_not_there_is_given_up():
    async with ready("/voice#rt=200&rc=0", webhook_timeout_s=0.5) as (twilio, app):

        async def sleep(_asked):
            await asyncio.sleep(1)
            return HELLO

        app.answers["/voice"] = sleep
        began = time.monotonic()
        call = await twilio.ring(CALLER, OURS)
        await call.until_said("application error")
        assert 0.2 <= time.monotonic() - began < 30
        call.hang_up()
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            twilio.number(OURS, voice_url=f"http://127.0.0.1:{closed.getsockname()[1]}/voice#rc=2")
            call = await twilio.ring(CALLER, OURS)
            await call.until_said("application error")
        assert [alert.code for alert in call.alerts] == [11205]
        assert len(call.sent("voice")) == 3


@together.each(("duplicate", 2, {True}), ("lost", 0, set()), ("forged", 1, {False}), ("unsigned", 1, {False}))
async def test_a_webhook_goes_wrong_once_when_told_to(fault, came, signed):
    async with ready() as (twilio, app):
        twilio.faults.webhook(fault, kind="status", CallStatus="no-answer")
        await rung(twilio)
        await asyncio.sleep(0.1)
        assert len(app.at("/status")) == came
        assert {asked.signed for asked in app.at("/status")} == signed
        await rung(twilio)
        assert len(app.at("/status")) == came + 1


@together
async def test_a_number_without_a_voice_url_is_an_alert():
    async with ready() as (twilio, _):
        twilio.number(OURS)
        call = await twilio.ring(CALLER, OURS)
        await call.until_said("application error")
        assert [alert.code for alert in call.alerts] == [11100]


@together
async def test_a_late_callback_comes_behind_the_next_one():
    async with ready() as (twilio, app):
        twilio.person(CALLER, answers_after_s=0.01)
        twilio.faults.webhook("late", kind="status", CallStatus="ringing", delay_s=0.5)
        made = await twilio.do(
            lambda c: c.calls.create(
                to=CALLER,
                from_=OURS,
                twiml="<Response/>",
                status_callback=app.url + "/status",
                status_callback_event=["ringing", "answered", "completed"],
            )
        )
        await app.until("/status", CallStatus="ringing")
        told = [asked.form["CallStatus"] for asked in app.at("/status")]
        assert told == ["in-progress", "completed", "ringing"]
        assert app.at("/status")[2].form["SequenceNumber"] == "0"
        assert app.at("/status")[2].form["CallSid"] == made.sid


@together
async def test_a_forged_voice_webhook_is_turned_away_by_who_checks_it():
    async with ready() as (twilio, app):

        async def check(asked):
            return HELLO if asked.signed else (403, "no")

        app.answers["/voice"] = check
        twilio.faults.webhook("forged", kind="voice")
        call = await twilio.ring(CALLER, OURS)
        await call.until_said("application error")
        call = await twilio.ring(CALLER, OURS)
        await call.until_said("Hello.")


@together
async def test_a_caller_who_hangs_up_does_not_take_back_the_webhook():
    async with ready() as (twilio, app):
        answered = asyncio.Event()

        async def slow(_asked):
            await asyncio.sleep(0.2)
            answered.set()
            return HELLO

        app.answers["/voice"] = slow
        call = await twilio.ring(CALLER, OURS)
        await app.until("/voice")
        call.hang_up()
        await call.until_status("no-answer")
        webhook = await call.until_webhook("voice")
        assert (webhook.status, answered.is_set(), call.executed) == (200, True, [])


@given(st.text(alphabet="rcptalxs=&,0123456789-.", max_size=40))
def test_any_fragment_is_read(fragment):
    overrides = Overrides.of(fragment)
    assert 0 <= overrides.retries <= 5
    assert 0.1 <= overrides.read_s <= 15
