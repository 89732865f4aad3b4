"""Who answers on the simulated network: people, machines, and what Twilio takes them for."""

import pytest
from support.together import Together
from support.twilio_application import Application, Twilio

from realtime_bridge.errors import MisuseError
from telephony.testing.twilio import (
    STAY,
    AnsweringMachine,
    Fax,
    HangUp,
    HearText,
    Human,
    NoAnswer,
    Pause,
    Person,
    Until,
    WaitForAgent,
    murmur,
    spelt,
)

OURS, THEIRS = "+15550199", "+15550100"
LEAVE_WORD = "<Response><Say>Please ring us back.</Say></Response>"
MACHINE = AnsweringMachine("Nobody is here.", pause_s=0.1)


async def called(twilio, person, **options):
    """The call to this person, once it is on its way."""
    twilio.number(OURS)
    twilio.add(person)
    options = {"twiml": LEAVE_WORD, **options}
    made = await twilio.do(lambda c: c.calls.create(to=THEIRS, from_=OURS, **options))
    return twilio.calls[made.sid]


together = Together()


@together.each(
    (Human(), "Enable", "human"),
    (MACHINE, "Enable", "machine_start"),
    (MACHINE, "DetectMessageEnd", "machine_end_beep"),
    (AnsweringMachine("Gone.", beeps=False), "DetectMessageEnd", "machine_end_silence"),
    (Fax(), "Enable", "fax"),
    (AnsweringMachine("A greeting that is longer than the detection waits."), "DetectMessageEnd", "unknown"),
)
async def test_detection_holds_up_the_twiml_until_it_knows_who_it_is(behaviour, mode, expected):
    async with Application() as app, Twilio() as twilio:
        app.answers["/voice"] = LEAVE_WORD
        call = await called(
            twilio,
            Person(THEIRS, behaviour, 0.01),
            twiml=None,
            url=app.url + "/voice",
            machine_detection=mode,
            machine_detection_timeout=3,
        )
        await call.until_said("ring us back")
        assert app.at("/voice")[0].form["AnsweredBy"] == expected
        assert call.heard.said[0].start - call.answered_at >= 0.8
        fetched = await twilio.do(lambda c: c.calls(call.sid).fetch())
        assert fetched.answered_by == expected


@together
async def test_asynchronous_detection_lets_the_call_go_on_and_tells_later():
    async with Application() as app, Twilio() as twilio:
        app.answers["/voice"] = "<Response><Say>Hello?</Say><Pause length='5'/></Response>"
        call = await called(
            twilio,
            Person(THEIRS, MACHINE, 0.01, detected_after_s=0.5),
            twiml=None,
            url=app.url + "/voice",
            machine_detection="DetectMessageEnd",
            async_amd="true",
            async_amd_status_callback=app.url + "/amd",
        )
        asked = await app.until("/amd")
        assert asked.signed
        assert (asked.form["AnsweredBy"], asked.form["CallSid"]) == ("machine_end_beep", call.sid)
        assert 500 <= int(asked.form["MachineDetectionDuration"]) < 10_000
        assert "AnsweredBy" not in app.at("/voice")[0].form
        assert call.heard.says("Hello?")


@together
async def test_detection_may_be_wrong():
    async with Twilio() as twilio:
        person = Person(THEIRS, Human(), 0.01, detected_as="machine_end_beep", detected_after_s=0.05)
        call = await called(twilio, person, machine_detection="DetectMessageEnd")
        await call.until_said("ring us back")
        assert call.answered_by == "machine_end_beep"


@together
async def test_digits_sent_on_answering_are_heard_and_there_is_no_detection():
    async with Twilio() as twilio:
        call = await called(twilio, Person(THEIRS, Human(), 0.01), send_digits="1w2#", machine_detection="Enable")
        await call.until_status("completed")
        assert call.heard.digits() == "12#"
        assert call.answered_by == ""
        assert call.heard.said[0].start - call.answered_at >= 1.0


@together
async def test_what_is_said_after_the_beep_is_on_the_machine_and_it_hangs_up_by_itself():
    async with Twilio() as twilio:
        machine = AnsweringMachine("Hi.", pause_s=0.1, silence_s_max=0.5)
        twiml = "<Response><Pause length='1'/><Say>Ring us back.</Say><Pause length='60'/></Response>"
        call = await called(twilio, Person(THEIRS, machine, 0.01), twiml=twiml)
        await call.until_status("completed")
        assert murmur("Ring us back.") in call.message
        assert call.verbs == ["Pause", "Say", "Pause"]
        with pytest.raises(MisuseError, match="no answering machine"):
            (await twilio.ring(THEIRS, OURS, steps=[])).message  # noqa: B018 - it raises


@together
async def test_a_person_follows_a_script_and_presses_keys_when_told_to():
    async with Application() as app, Twilio() as twilio:
        twiml = f"<Response><Gather action='{app.url}/key' numDigits='1'><Say>Press a key.</Say></Gather></Response>"
        app.answers["/key"] = "<Response><Say>Thank you.</Say><Pause length='9'/></Response>"
        steps = [HearText("press a key"), *spelt("7"), HearText("Thank you"), WaitForAgent(), "Bye.", HangUp()]
        call = await called(twilio, Person(THEIRS, Human(steps), 0.01), twiml=twiml)
        await call.until_status("completed")
        assert app.at("/key")[0].form["Digits"] == "7"
        assert call.run.failure is None
        assert murmur("Bye.") in call.line.spoken


@together
async def test_people_leave_when_they_have_had_enough_whatever_their_script():
    async with Twilio() as twilio:
        person = Person(THEIRS, Human([Pause(50), STAY]), 0.01, hangs_up_after_s=0.3)
        call = await called(twilio, person, twiml="<Response><Pause length='20'/></Response>")
        await call.until_status("completed")
        assert 0.3 <= call.ended_at - call.answered_at < 10


@together
async def test_a_time_limit_ends_a_call():
    async with Twilio() as twilio:
        call = await called(
            twilio, Person(THEIRS, Human(), 0.01), twiml="<Response><Pause length='20'/></Response>", time_limit=1
        )
        await call.until_status("completed")
        assert 1.0 <= call.ended_at - call.answered_at < 10


@together
async def test_a_script_that_fails_fails_the_test_that_waits():
    def broken():
        raise LookupError("a mistake in the script")

    async with Twilio() as twilio:
        call = await called(twilio, Person(THEIRS, Human([Until(broken, "broken")]), 0.01))
        with pytest.raises(LookupError):
            await call.until_said("never")


@together
async def test_waiting_in_vain_says_how_things_are():
    async with Twilio() as twilio:
        call = await called(twilio, Person(THEIRS, NoAnswer()))
        with pytest.raises(TimeoutError, match=r"no status completed within 0.2 s: the call is ringing"):
            await call.until_status("completed", timeout_s=0.2)


@together
async def test_only_numbers_of_the_account_ring():
    async with Twilio() as twilio:
        with pytest.raises(MisuseError, match="no number of this account"):
            await twilio.ring(THEIRS, OURS)
        with pytest.raises(MisuseError, match="no key of a telephone"):
            spelt("1x")
