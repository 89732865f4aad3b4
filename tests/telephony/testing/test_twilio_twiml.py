"""TwiML on the simulated Twilio: what people hear, press and say, and what the application is asked."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.together import Together
from support.twilio_application import Application, Twilio

from realtime_bridge.errors import MisuseError
from telephony.testing.twilio import (
    STAY,
    Busy,
    HangUp,
    HearText,
    Human,
    NoAnswer,
    Pause,
    Person,
    murmur,
    spelt,
)
from telephony.testing.twilio.sound import beep, digits_in, keys, mix, silence, tone
from telephony.testing.twilio.twiml import TwimlError, read_twiml
from telephony.testing.twilio.wav import mulaw_of_wav, wav_of_mulaw

OURS, CALLER, OTHER = "+15550199", "+15550100", "+15550111"
SORRY = "We are sorry, an application error has occurred. Goodbye."


@contextlib.asynccontextmanager
async def answering(twiml, **options):
    """(simulator, application): what answers calls to our number is this TwiML."""
    async with (
        Application() as application,
        Twilio(**options) as twilio,
    ):
        twilio.number(OURS, voice_url=application.url + "/voice", status_callback=application.url + "/status")
        application.answers["/voice"] = twiml
        yield twilio, application
        assert [asked.target for asked in application.asked if not asked.signed] == []


def response(*verbs):
    return f'<?xml version="1.0" encoding="UTF-8"?><Response>{"".join(verbs)}</Response>'


def texts(call):
    return [said.text for said in call.heard.said]


together = Together()


@together
async def test_a_caller_hears_what_is_said_in_order_and_in_real_time():
    async with answering(response("<Say>One.</Say>", '<Pause length="1"/>', "<Say>Two.</Say>")) as (twilio, app):
        call = await twilio.ring(CALLER, OURS)
        await call.until_status("completed")
        assert texts(call) == ["One.", "Two."]
        first, second = call.heard.audible
        assert first.end - first.start == pytest.approx(0.3, abs=0.05)
        assert 0.98 <= second.start - first.end < 1.5
        assert 1.58 * 8000 <= len(call.heard.mulaw) < 2.5 * 8000
        asked = app.at("/voice")[0].form
        assert (asked["CallStatus"], asked["Direction"], asked["From"], asked["To"]) == (
            "ringing",
            "inbound",
            CALLER,
            OURS,
        )
        assert (await app.until("/status")).form["CallStatus"] == "completed"


@together
async def test_gather_takes_keys_cuts_its_prompt_and_asks_the_action():
    gather = '<Gather numDigits="2" action="/menu?lang=en"><Say>Press two keys, whenever you like.</Say></Gather>'
    async with answering(response(gather)) as (twilio, app):
        app.answers["/menu"] = response("<Say>Thanks.</Say>")
        call = await twilio.ring(CALLER, OURS, steps=[HearText("two keys"), *spelt("42", 50), STAY])
        await call.until_status("completed")
        assert app.at("/menu")[0].form["Digits"] == "42"
        assert [(said.text[:6], said.cut) for said in call.heard.said] == [("Press ", True), ("Thanks", False)]


@together.each(
    ("", "12#", "12"),
    ('finishOnKey="*" timeout="1"', "1#*", "1#"),
    ('timeout="1"', "7", "7"),
    ('timeout="1"', "", None),
)
async def test_gather_ends_by_its_key_or_by_silence(attributes, pressed, digits):
    gather = f'<Gather {attributes} action="/menu"/><Say>Nothing.</Say>'
    async with answering(response(gather)) as (twilio, app):
        call = await twilio.ring(CALLER, OURS, steps=[*spelt(pressed, 20), STAY])
        await call.until_status("completed")
        assert [asked.form["Digits"] for asked in app.at("/menu")] == ([] if digits is None else [digits])
        assert texts(call) == (["Nothing."] if digits is None else [])


@together
async def test_redirect_goes_on_elsewhere_with_get_too():
    async with answering(response('<Redirect method="GET">/next?x=1</Redirect>')) as (twilio, app):
        app.answers["/next"] = response("<Reject/>")
        call = await twilio.ring(CALLER, OURS)
        await call.until_status("no-answer")
        [asked] = app.at("/next")
        assert (asked.method, asked.form["CallSid"], asked.form["x"]) == ("GET", call.sid, "1")
        assert call.answered_at is None


@together.each(("busy", "busy"), ("rejected", "no-answer"))
async def test_a_rejected_call_is_never_answered(reason, status):
    async with answering(response(f'<Reject reason="{reason}"/>')) as (twilio, _):
        call = await twilio.ring(CALLER, OURS)
        await call.until_status(status)
        with pytest.raises(MisuseError, match="has not been answered"):
            call.heard  # noqa: B018 - it raises


@together.each(
    ((500, "no"), 11200),
    ("<Response><Say>Hello</Response>", 12100),
    ("<Answer/>", 12100),
    (response("<Sing>La</Sing>"), 12200),
    (response("<Gather><Dial/></Gather>"), 12200),
    (response('<Pause length="long"/>'), 12200),
    (response('<Play digits="12!"/>'), 12200),
)
async def test_what_twilio_cannot_run_ends_in_an_apology_and_an_alert(answer, code):
    async with answering(answer) as (twilio, _):
        call = await twilio.ring(CALLER, OURS)
        await call.until_said(SORRY)
        assert [alert.code for alert in call.alerts] == [code]
        call.hang_up()
        await call.until_status("completed")


@together.each(
    ((503, ""), "11200", "/voice"),
    (response("<Sing/>"), "12200", "/voice"),
    (response("<Redirect>/none</Redirect>"), "11200", "/none"),
)
async def test_an_error_has_the_fallback_asked(answer, code, where):
    async with answering(answer) as (twilio, app):
        twilio.number(OURS, voice_url=app.url + "/voice", voice_fallback_url=app.url + "/fallback")
        app.answers["/none"] = (404, "")
        app.answers["/fallback"] = response("<Say>Plan B.</Say>")
        call = await twilio.ring(CALLER, OURS)
        await call.until_status("completed")
        assert texts(call) == ["Plan B."]
        asked = app.at("/fallback")[0].form
        assert (asked["ErrorCode"], asked["ErrorUrl"]) == (code, app.url + where)


@together
async def test_a_fallback_that_fails_too_ends_in_an_apology():
    async with answering((503, "")) as (twilio, app):
        twilio.number(OURS, voice_url=app.url + "/voice", voice_fallback_url=app.url + "/voice")
        call = await twilio.ring(CALLER, OURS)
        await call.until_said(SORRY)
        assert [alert.code for alert in call.alerts] == [11200, 11200]


@together
async def test_hanging_up_is_an_answer_and_pausing_is_none():
    async with answering(response("<Pause length='1'/><Hangup/>")) as (twilio, _):
        call = await twilio.ring(CALLER, OURS)
        await call.until_status("completed")
        assert call.answered_at - call.history[0].at >= 1.0


@together
async def test_dialled_people_hear_each_other_and_the_action_learns_how_it_ended():
    dial = f'<Dial action="/after" callerId="{OURS}"><Number url="/whisper">{OTHER}</Number></Dial>'
    async with answering(response(dial)) as (twilio, app):
        app.answers["/whisper"] = response("<Say>A call for you.</Say>")
        app.answers["/after"] = response("<Say>Welcome back.</Say>")
        twilio.add(Person(OTHER, Human([HearText("for you"), Pause(1400), tone(600, ms=300), HangUp()]), 0.05))
        caller = await twilio.ring(CALLER, OURS)
        await caller.until(lambda: caller.children and caller.children[0].line)
        [other] = caller.children
        await other.until_said("A call for you.")
        assert "A call for you." not in texts(caller)
        await caller.until(lambda: len(other.line.sources) > 1, "join")
        began = other.line.next_frame_at
        await caller.say(tone(500, ms=200))
        await caller.until_status("completed")
        assert tone(500, ms=200)[160:-160] in other.heard.mulaw
        assert tone(600, ms=300)[160:-800] in caller.heard.mulaw  # what is on its way is lost with the line
        assert other.heard.ear.heard_since(began) is not None
        after = app.at("/after")[0].form
        assert (after["DialCallStatus"], after["DialCallSid"], after["DialBridged"]) == (
            "completed",
            other.sid,
            "true",
        )
        assert texts(caller) == ["Welcome back."]
        whisper = app.at("/whisper")[0].form
        assert (whisper["CallSid"], whisper["ParentCallSid"]) == (other.sid, caller.sid)
        assert (whisper["Direction"], whisper["From"], whisper["To"]) == ("outbound-dial", OURS, OTHER)


@together.each((Busy(), "busy"), (NoAnswer(), "no-answer"), (None, "failed"))
async def test_a_dial_that_reaches_nobody_says_so(behaviour, status):
    dial = f'<Dial timeout="1" action="/after">{OTHER}</Dial>'
    async with answering(response(dial)) as (twilio, app):
        if behaviour is not None:
            twilio.person(OTHER, behaviour)
        app.answers["/after"] = response("<Hangup/>")
        call = await twilio.ring(CALLER, OURS)
        await call.until_status("completed")
        after = app.at("/after")[0].form
        assert (after["DialCallStatus"], after.get("DialBridged")) == (status, "false")


@together
async def test_who_declines_in_the_whisper_is_not_joined():
    dial = f'<Dial action="/after"><Number url="/whisper">{OTHER}</Number></Dial>'
    async with answering(response(dial)) as (twilio, app):
        app.answers["/whisper"] = response(
            '<Gather numDigits="1" action="/choice"><Say>Press one to take it.</Say></Gather><Hangup/>'
        )
        app.answers["/choice"] = response("<Hangup/>")
        app.answers["/after"] = response("<Say>Sorry, nobody is free.</Say>")
        twilio.add(Person(OTHER, Human([HearText("press one"), *spelt("2"), STAY]), 0.02))
        caller = await twilio.ring(CALLER, OURS)
        await caller.until_said("nobody is free")
        assert app.at("/choice")[0].form["Digits"] == "2"
        assert app.at("/after")[0].form["DialBridged"] == "false"


@together
async def test_new_twiml_ends_a_dial_whose_action_is_asked_and_ignored():
    async with answering(response(f'<Dial action="/after">{OTHER}</Dial>')) as (twilio, app):
        app.answers["/after"] = response("<Say>Too late.</Say>")
        app.answers["/new"] = response("<Say>Come with me.</Say>")
        twilio.person(OTHER, answers_after_s=0.02)
        caller = await twilio.ring(CALLER, OURS)
        await caller.until(lambda: caller.children and caller.children[0].status == "in-progress")
        await twilio.do(lambda c: c.calls(caller.sid).update(url=app.url + "/new"))
        await caller.until_status("completed")
        assert texts(caller) == ["Come with me."]
        assert (await app.until("/after")).form["DialCallStatus"] == "completed"
        assert caller.children[0].status == "completed"


@together
async def test_a_conference_starts_with_the_second_and_ends_with_its_moderator():
    def room(ends):
        noun = f'<Conference endConferenceOnExit="{ends}" statusCallback="/room" statusCallbackEvent="start end join leave">'
        return response(f'<Dial action="/after">{noun}Staff</Conference></Dial>')

    async with answering([room("false"), room("true")]) as (twilio, app):
        app.answers["/after"] = response("<Say>All have gone.</Say>")
        guest = await twilio.ring(CALLER, OURS)
        await guest.until(lambda: "Dial" in guest.verbs)
        await guest.until_heard(0.2)  # music
        moderator = await twilio.ring(OTHER, OURS)
        await moderator.until(lambda: moderator.line and len(moderator.line.sources) > 1, "join")
        await guest.until_silent(0.3)
        await moderator.say(tone(700, ms=200))
        await guest.until(lambda: tone(700, ms=200)[160:-160] in guest.heard.mulaw, "sound")
        moderator.hang_up()
        await guest.until_said("All have gone.")
        told = [asked.form["StatusCallbackEvent"] for asked in app.at("/room")]
        assert {"participant-join", "conference-start", "participant-leave", "conference-end"} <= set(told)


@together
async def test_a_conference_without_a_wait_url_is_silent_and_beeps_as_people_enter():
    async with answering(
        [
            response('<Dial><Conference waitUrl="">Quiet</Conference></Dial>'),
            response('<Dial><Conference waitUrl="" beep="false">Quiet</Conference></Dial>'),
            response('<Dial><Conference waitUrl="">Quiet</Conference></Dial>'),
        ]
    ) as (twilio, _):
        first = await twilio.ring(CALLER, OURS)
        await first.until(lambda: "Dial" in first.verbs)
        second = await twilio.ring(OTHER, OURS)
        await second.until(lambda: second.line and len(second.line.sources) > 1, "join")
        await asyncio.sleep(0.3)
        assert first.heard.audible == []
        third = await twilio.ring("+15550122", OURS)
        await first.until_heard(0.3)
        await second.until_silent(0.1)
        await third.say(tone(700, ms=100))
        await second.until(lambda: tone(700, ms=100)[160:-160] in second.heard.mulaw, "sound")


@together
async def test_a_call_waits_in_a_queue_until_somebody_takes_it():
    async with answering([response('<Enqueue waitUrl="/wait" action="/left">Help</Enqueue>')]) as (twilio, app):
        app.answers["/wait"] = response("<Say>You are first.</Say>", "<Pause/>")
        app.answers["/left"] = response("<Say>Good bye.</Say>")
        caller = await twilio.ring(CALLER, OURS)
        await caller.until_said("You are first.")
        app.answers["/voice"] = response('<Dial timeout="2"><Queue>Help</Queue></Dial>')
        clerk = await twilio.ring(OTHER, OURS)
        await clerk.until(lambda: clerk.line and len(clerk.line.sources) > 1, "join")
        await clerk.say(tone(700, ms=200))
        await caller.until(lambda: tone(700, ms=200)[160:-160] in caller.heard.mulaw, "sound")
        clerk.hang_up()
        await caller.until_said("Good bye.")
        assert app.at("/left")[0].form["QueueResult"] == "bridged"


@together
async def test_who_leaves_the_queue_goes_on_with_the_next_verb():
    async with answering(response('<Enqueue waitUrl="/wait" action="/left">Help</Enqueue>')) as (twilio, app):
        app.answers["/wait"] = [response("<Say>Wait.</Say>"), response("<Redirect>/enough</Redirect>")]
        app.answers["/enough"] = response("<Leave/>")
        app.answers["/left"] = response("<Say>Nobody came.</Say>")
        call = await twilio.ring(CALLER, OURS)
        await call.until_status("completed")
        assert app.at("/left")[0].form["QueueResult"] == "leave"
        assert texts(call) == ["Wait.", "Nobody came."]


@together.each(
    ("<Dial action='/after'>{}</Dial>", "DialCallStatus", "canceled"),
    ("<Enqueue action='/after'>Help</Enqueue>", "QueueResult", "hangup"),
    ("<Record action='/after' playBeep='false'/>", "Digits", "hangup"),
)
async def test_actions_are_asked_after_a_hang_up_and_their_answers_ignored(verb, name, value):
    async with answering(response(verb.format(OTHER))) as (twilio, app):
        twilio.person(OTHER, NoAnswer())
        app.answers["/after"] = response("<Say>Too late.</Say>")
        call = await twilio.ring(CALLER, OURS)
        await call.until_status("in-progress")
        await asyncio.sleep(0.2)
        call.hang_up()
        asked = (await app.until("/after")).form
        assert (asked[name], asked["CallStatus"]) == (value, "completed")
        assert texts(call) == []


@together
async def test_a_star_ends_a_dial_that_allows_it():
    async with answering(response(f'<Dial hangupOnStar="true">{OTHER}</Dial><Say>Back.</Say>')) as (twilio, _):
        twilio.person(OTHER, answers_after_s=0.02)
        call = await twilio.ring(CALLER, OURS)
        await call.until(lambda: call.children and call.children[0].line)
        await call.until(lambda: len(call.line.sources) > 1, "join")
        await call.press("1*")
        await call.until_said("Back.")
        assert call.children[0].status == "completed"


@together
async def test_clients_that_are_not_registered_fail():
    async with answering(response('<Dial action="/after"><Client>ann</Client></Dial>')) as (twilio, app):
        app.answers["/after"] = response("<Hangup/>")
        call = await twilio.ring(CALLER, OURS)
        await call.until_status("completed")
        assert app.at("/after")[0].form["DialCallStatus"] == "failed"


@together
async def test_a_dialled_leg_with_new_twiml_of_its_own_leaves_the_caller():
    async with answering(response(f"<Dial>{OTHER}</Dial><Say>Alone.</Say>")) as (twilio, _):
        twilio.person(OTHER, answers_after_s=0.02)
        call = await twilio.ring(CALLER, OURS)
        await call.until(lambda: call.children and call.children[0].line)
        await call.until(lambda: len(call.line.sources) > 1, "join")
        [other] = call.children
        await twilio.do(lambda c: c.calls(other.sid).update(twiml="<Response><Say>Over here.</Say></Response>"))
        await call.until_said("Alone.")
        await other.until_status("completed")
        assert texts(other) == ["Over here."]


@together
async def test_callers_who_give_up_take_the_ringing_leg_with_them():
    async with answering(response(f"<Dial>{OTHER}</Dial>")) as (twilio, _):
        twilio.person(OTHER, NoAnswer())
        call = await twilio.ring(CALLER, OURS)
        await call.until(lambda: call.children and call.children[0].status == "ringing")
        call.hang_up()
        await call.children[0].until_status("canceled")


@together
async def test_record_keeps_what_is_said_until_silence():
    record = '<Record timeout="1" action="/kept" recordingStatusCallback="/recording"/>'
    async with answering(response(record)) as (twilio, app):
        app.answers["/kept"] = response("<Say>Got it.</Say>")
        message = tone(440, ms=400)
        call = await twilio.ring(CALLER, OURS, steps=[Pause(700), message, STAY])
        await call.until_status("completed")
        [recording] = call.recordings
        assert message in recording.mulaw[0]
        assert app.at("/kept")[0].form["RecordingSid"] == recording.sid
        assert (await app.until("/recording")).form["RecordingStatus"] == "completed"
        assert texts(call) == ["Got it."]
        assert call.heard.mulaw.startswith(beep()[:160]) or beep()[400:800] in call.heard.mulaw


@together
async def test_keys_that_twilio_sends_are_heard_as_tones():
    async with answering(response('<Play digits="159*#0"/>')) as (twilio, _):
        call = await twilio.ring(CALLER, OURS)
        await call.until_status("completed")
        assert call.heard.digits() == "159*#0"


@together
async def test_a_sound_file_is_played_and_a_missing_one_passed_over_with_an_alert():
    from starlette.responses import Response

    sound = tone(500, ms=300)
    async with answering(response("<Play>/jingle.wav</Play><Play>/gone.wav</Play><Say>End.</Say>")) as (
        twilio,
        app,
    ):
        app.answers["/jingle.wav"] = Response(wav_of_mulaw(sound), media_type="audio/wav")
        app.answers["/gone.wav"] = (404, "")
        call = await twilio.ring(CALLER, OURS)
        await call.until_status("completed")
        assert sound in call.heard.mulaw
        assert [alert.code for alert in call.alerts] == [11200]
        assert texts(call) == ["/jingle.wav", "End."]


# ---- without calls -----------------------------------------------------------------------------------------------------


@given(st.text(alphabet="0123456789*#ABCD", max_size=12), st.integers(0, 159))
def test_keys_are_told_by_their_tones_wherever_the_frames_lie(digits, offset):
    assert digits_in(silence(20)[:offset] + keys(digits)) == digits


@given(st.integers(0, 3), st.sampled_from([440, 523, 700, 1000, 2100]))
def test_other_tones_and_murmurs_are_no_keys(count, frequency):
    assert digits_in(tone(frequency, ms=300) + murmur("words " * count)) == ""


def test_sounds_at_once_add_up_and_do_not_wrap():
    loud = tone(300, ms=20, level=0.9)
    assert mix([loud]) == loud
    assert mix([loud, silence(20)]) == loud
    assert len(mix([loud, loud, loud])) == 160


def test_wav_files_keep_their_sound():
    sound = tone(500, ms=100)
    assert mulaw_of_wav(wav_of_mulaw(sound)) == sound
    assert mulaw_of_wav(b"ID3 an mp3") == b""


@given(st.text(max_size=80))
def test_any_document_is_read_or_refused(document):
    with contextlib.suppress(TwimlError):
        read_twiml(document)
    with contextlib.suppress(TwimlError):
        read_twiml(f"<Response>{document}</Response>")
