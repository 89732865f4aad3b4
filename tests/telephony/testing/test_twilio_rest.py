"""The simulated Twilio's REST API, as Twilio's own package sees it."""

import asyncio
import base64
import contextlib
import urllib.request
import wave
from datetime import UTC, datetime, timedelta

import pytest
from support.together import Together
from support.twilio_application import TOKEN, Application, Twilio
from twilio.base.exceptions import TwilioRestException

from telephony.testing.twilio import AnsweringMachine, Busy, NoAnswer, Person, Rejects

OURS, THEIRS, NOBODY = "+15550199", "+15550100", "+15550111"
KEY_SID = "SK" + 32 * "a"
STAY_ON = "<Response><Pause length='30'/></Response>"
TALK = "<Response><Say>Hi.</Say></Response>"


class Account(Twilio):
    async def create(self, to=THEIRS, **options):
        return await self.do(lambda c: c.calls.create(**{"to": to, "from_": OURS, "twiml": TALK, **options}))

    async def refused(self, **options):
        with pytest.raises(TwilioRestException) as refused:
            await self.create(**options)
        return refused.value.status, refused.value.code


@contextlib.asynccontextmanager
async def simulated(**options):
    async with Account(**options) as twilio:
        twilio.number(OURS)
        twilio.person(THEIRS, answers_after_s=0.02)
        yield twilio


together = Together()


@together
async def test_a_call_that_was_created_can_be_fetched_and_listed():
    async with simulated() as twilio:
        made = await twilio.create()
        assert (made.status, made.direction, made.to, made._from) == ("queued", "outbound-api", THEIRS, OURS)
        await twilio.calls[made.sid].until_status("completed")
        call = await twilio.do(lambda c: c.calls(made.sid).fetch())
        assert (call.status, call.duration, call.answered_by) == ("completed", "1", None)
        assert call.date_created <= call.start_time <= call.end_time
        assert abs(call.end_time - datetime.now(UTC)) < timedelta(minutes=1)
        assert [c.sid for c in await twilio.do(lambda c: c.calls.list())] == [made.sid]


@together
async def test_lists_are_filtered_and_paged_newest_first():
    async with simulated() as twilio:
        twilio.person(NOBODY, Busy())
        made = [await twilio.create() for _ in range(3)] + [await twilio.create(NOBODY)]
        await twilio.calls[made[-1].sid].until_status("busy")
        sids = [call.sid for call in reversed(made)]

        async def listed(**query):
            return [call.sid for call in await twilio.do(lambda c: c.calls.list(**query))]

        assert await listed(page_size=1) == sids
        assert await listed(to=NOBODY) == sids[:1]
        assert await listed(from_=NOBODY) == []
        assert await listed(status="busy") == sids[:1]
        assert await listed(start_time_after=datetime.now(UTC) - timedelta(minutes=1)) == sids
        assert await listed(start_time_before=datetime.now(UTC) - timedelta(minutes=1)) == []
        assert await listed(start_time=datetime.now(UTC) + timedelta(days=2)) == []


@together.each(
    ({"to": "12345"}, (400, 21211)),
    ({"to": "+1555ABC"}, (400, 21211)),
    ({"to": ""}, (400, 21201)),
    ({"from_": "+15550000"}, (400, 21210)),
    ({"to": "+442071838750"}, (400, 21215)),
    ({"to": "+19005550100"}, (400, 13227)),
    ({"twiml": "", "url": "ftp://example.com"}, (400, 21205)),
    ({"twiml": ""}, (400, 21205)),
    ({"twiml": "<Response>" + "x" * 4000}, (400, 20001)),
    ({"send_digits": "12!"}, (400, 21206)),
    ({"timeout": 601}, (400, 21208)),
)
async def test_what_twilio_refuses_is_refused_with_its_code(options, expected):
    async with simulated() as twilio:
        twilio.permissions.refused = {"+44": 21215, "+1900": 13227}
        assert await twilio.refused(**options) == expected
        assert not twilio.calls


@together
async def test_a_trial_account_calls_verified_numbers_only():
    async with simulated() as twilio:
        twilio.permissions.trial = True
        assert await twilio.refused() == (400, 21219)
        twilio.permissions.verified.add(THEIRS)
        await twilio.create()


@together
async def test_events_that_do_not_exist_silence_the_callback_but_not_the_call():
    async with simulated() as twilio, Application() as application:
        made = await twilio.create(status_callback=application.url + "/status", status_callback_event=["done"])
        await twilio.calls[made.sid].until_status("completed")
        assert [alert.code for alert in twilio.alerts] == [21626]
        assert application.asked == []


@together
async def test_a_suspended_account_calls_nobody():
    async with simulated() as twilio:
        twilio.permissions.status = "suspended"
        account = await twilio.do(lambda c: c.api.accounts(twilio.account_sid).fetch())
        assert (account.status, account.type) == ("suspended", "Full")
        assert await twilio.refused() == (403, 20005)


@together
async def test_only_the_account_and_its_keys_get_in():
    async with simulated(api_keys={KEY_SID: "key secret"}) as twilio:
        account = await twilio.do(
            lambda c: c.api.accounts(twilio.account_sid).fetch(), user=KEY_SID, password="key secret"
        )
        assert (account.sid, account.status) == (twilio.account_sid, "active")
        for user, password in ((twilio.account_sid, "wrong"), (KEY_SID, TOKEN), ("AC" + 32 * "9", TOKEN)):
            with pytest.raises(TwilioRestException) as refused:
                await twilio.do(lambda c: c.api.accounts(twilio.account_sid).fetch(), user=user, password=password)
            assert (refused.value.status, refused.value.code) == (401, 20003)
        with pytest.raises(TwilioRestException) as missing:
            await twilio.do(lambda c: c.calls("CA" + 32 * "9").fetch())
        assert (missing.value.status, missing.value.code) == (404, 20404)


@together
async def test_a_call_can_be_ended_and_steered_while_it_lives_and_not_after():
    async with simulated() as twilio:
        made = await twilio.create(twiml=STAY_ON)
        call = twilio.calls[made.sid]
        await call.until_status("in-progress")
        await twilio.do(lambda c: c.calls(made.sid).update(twiml="<Response><Say>New.</Say><Pause/></Response>"))
        await call.until_said("New.")
        assert call.verbs == ["Pause", "Say"]
        ended = await twilio.do(lambda c: c.calls(made.sid).update(status="completed"))
        assert ended.status == "completed"
        with pytest.raises(TwilioRestException) as over:
            await twilio.do(lambda c: c.calls(made.sid).update(twiml=STAY_ON))
        assert (over.value.status, over.value.code) == (400, 21220)


@together
async def test_a_call_that_rings_can_be_cancelled_but_not_steered():
    async with simulated() as twilio:
        twilio.person(NOBODY, NoAnswer())
        made = await twilio.create(NOBODY)
        await twilio.calls[made.sid].until_status("ringing")
        with pytest.raises(TwilioRestException) as early:
            await twilio.do(lambda c: c.calls(made.sid).update(twiml=STAY_ON))
        assert early.value.code == 21220
        cancelled = await twilio.do(lambda c: c.calls(made.sid).update(status="canceled"))
        assert (cancelled.status, cancelled.duration) == ("canceled", "0")


@together
async def test_calls_leave_the_queue_one_by_one():
    async with simulated(calls_per_second=5) as twilio:
        made = [await twilio.create() for _ in range(3)]
        calls = [twilio.calls[one.sid] for one in made]
        for call in calls:
            await call.until_status("in-progress")
        dialled = [call.history[1].at for call in calls]
        assert [calls[0].history[1].status, calls[0].history[2].status] == ["initiated", "ringing"]
        ordered_at = calls[0].history[0].at
        assert all(at - ordered_at >= 0.2 * n - 0.001 for n, at in enumerate(dialled))
        last = await twilio.do(lambda c: c.calls(made[-1].sid).fetch())
        waited_ms = 1000 * (dialled[-1] - calls[-1].history[0].at)  # little, if asking for it took long
        assert int(last.queue_time) == pytest.approx(waited_ms, abs=100)


@together
async def test_each_end_of_a_call_is_told_with_its_own_status():
    async with simulated() as twilio, Application() as application:
        twilio.person("+15550001", Busy())
        twilio.person("+15550002", NoAnswer())
        twilio.person("+15550003", Rejects(), answers_after_s=0.02)
        status = application.url + "/status?who=me%2Byou"
        ends = {}
        for to in ("+15550001", "+15550002", "+15550003", "+15550004", THEIRS):
            made = await twilio.create(to, status_callback=status, timeout=1)
            asked = await application.until("/status", CallSid=made.sid)
            ends[to] = asked.form["CallStatus"], asked.form["SipResponseCode"]
            assert asked.signed
            assert asked.target == "/status?who=me%2Byou"
        assert [end for end, _ in ends.values()] == ["busy", "no-answer", "busy", "failed", "completed"]
        assert ends["+15550004"] == ("failed", "404")


@together
async def test_progress_comes_in_order_with_the_fields_of_twilio():
    async with simulated() as twilio, Application() as application:
        made = await twilio.create(
            status_callback=application.url + "/status",
            status_callback_event=["initiated", "ringing", "answered", "completed"],
        )
        await application.until("/status", CallStatus="completed")
        told = [asked.form for asked in application.at("/status")]
        assert [form["CallStatus"] for form in told] == ["initiated", "ringing", "in-progress", "completed"]
        assert [form["SequenceNumber"] for form in told] == ["0", "1", "2", "3"]
        last = told[-1]
        assert (last["CallSid"], last["AccountSid"], last["Direction"]) == (
            made.sid,
            twilio.account_sid,
            "outbound-api",
        )
        assert (last["CallDuration"], last["Duration"], last["CallbackSource"]) == (
            "1",
            "1",
            "call-progress-events",
        )
        assert (last["From"], last["To"], last["ApiVersion"]) == (OURS, THEIRS, "2010-04-01")
        assert "CallDuration" not in told[0]


@together
async def test_numbers_can_be_listed_and_pointed_at_a_server():
    async with simulated() as twilio:
        twilio.number("+15550198")
        numbers = await twilio.do(lambda c: c.incoming_phone_numbers.list())
        assert [number.phone_number for number in numbers] == [OURS, "+15550198"]
        [found] = await twilio.do(lambda c: c.incoming_phone_numbers.list(phone_number=OURS))
        changed = await twilio.do(
            lambda c: c.incoming_phone_numbers(found.sid).update(voice_url="https://a.example/v", voice_method="GET")
        )
        assert (changed.voice_url, changed.voice_method) == ("https://a.example/v", "GET")
        assert twilio.numbers[OURS].voice_url == "https://a.example/v"


@together
async def test_recordings_can_be_downloaded():
    async with simulated() as twilio, Application() as application:
        twilio.add(Person(THEIRS, AnsweringMachine("Nobody is here."), answers_after_s=0.01))
        made = await twilio.create(record=True, recording_channels="dual", recording_status_callback=application.url)
        await twilio.calls[made.sid].until_status("completed")
        told = (await application.until("/")).form
        assert (told["CallSid"], told["RecordingStatus"], told["RecordingChannels"]) == (made.sid, "completed", "2")
        who = base64.b64encode(f"{twilio.account_sid}:{TOKEN}".encode()).decode()
        request = urllib.request.Request(told["RecordingUrl"] + ".wav", headers={"Authorization": "Basic " + who})
        answer = await asyncio.to_thread(lambda: urllib.request.urlopen(request, timeout=60))
        with answer, wave.open(answer) as recording:
            assert (recording.getframerate(), recording.getnchannels()) == (8000, 2)
            assert recording.getnframes() >= 2400
        assert len(await twilio.do(lambda c: c.calls(made.sid).recordings.list())) == 1


@together.each(
    ("error", (500, 20500), 0),
    ("unavailable", (503, 503), 0),
    ("too-many", (429, 20429), 0),
    ("garbage", "JSONDecodeError", 0),
    ("reset-before", "ConnectionError", 0),
    ("reset-after", "ConnectionError", 1),
)
async def test_rest_fails_as_it_is_told_to_and_only_as_often(kind, outcome, calls_made):
    async with simulated() as twilio:
        twilio.faults.rest(kind, method="POST", path="Calls.json")
        try:
            await twilio.create()
        except TwilioRestException as e:
            seen = e.status, e.code
        except (ValueError, OSError) as e:
            seen = type(e).__name__
        assert seen == outcome
        assert len(twilio.calls) == calls_made
        await twilio.create()
        assert len(twilio.calls) == calls_made + 1


@together
async def test_a_slow_answer_comes_late():
    async with simulated() as twilio:
        twilio.faults.rest("slow", delay_s=0.3)
        began = asyncio.get_running_loop().time()
        await twilio.create()
        assert asyncio.get_running_loop().time() - began >= 0.3


@together
async def test_the_debugger_tells_what_went_wrong():
    async with simulated() as twilio:
        made = await twilio.create(twiml="<Response><Sing/></Response>")
        await twilio.calls[made.sid].until(lambda: twilio.alerts)
        [told] = await twilio.do(lambda c: c.notifications.list())
        assert (told.error_code, told.call_sid, told.log) == ("12200", made.sid, "0")
        assert abs(told.message_date - datetime.now(UTC)) < timedelta(minutes=1)
        assert len(await twilio.do(lambda c: c.calls(made.sid).notifications.list())) == 1
        assert await twilio.do(lambda c: c.calls("CA" + 32 * "9").notifications.list()) == []
