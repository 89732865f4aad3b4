"""Transfers in whole calls: the person decides, both are joined, and whatever goes wrong, the caller comes back."""

import xml.etree.ElementTree as ET

import pytest
from support.steered_call import OURS, PATIENT, SPEECH, THEIRS, SteeredCall, loudest

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.parts import CallTool
from realtime_bridge.localmodel.parts import Say as SayThis
from telephony.call_details import CallDetails
from telephony.steering.control_settings import ControlSettings, SilenceSettings, TransferSettings
from telephony.steering.transfer_twiml import dial_end
from telephony.steering.transfers import Transfers, call_of, too_late
from telephony.testing import HangUp, Pause, Say, WaitForAgent
from telephony.tools import transfer_call

HELLO = [SayThis("Hello, this is the desk.")]
BILLING = "+14155550123"
TO_BILLING = [
    SayThis("I connect you with billing."),
    CallTool("transfer_call", {"destination": "billing", "summary": "A double charge."}),
]
BACK = [SayThis("I am sorry, they cannot take your call.")]
LEG = "CA9" + "1".zfill(31)
URL = "https://phone.example.com/twilio/transfer/"


def call(*, warm=True, **options):
    return SteeredCall(HELLO, TO_BILLING, BACK, tools=[transfer_call({"billing": BILLING}, warm=warm)], **options)


def transfer_id(steered):
    [placed] = steered.twilio.made("place")
    assert placed.url.startswith(URL)
    return placed.url.removeprefix(URL)


def person(*forms):
    """What the person does, webhook after webhook; the TwiML that they got is kept in the call's `results`."""

    def act(steered):
        for form in forms:
            if "CallStatus" in form:
                steered.transfers.status(transfer_id(steered), form)
            else:
                steered.results.append(steered.transfers.answer(transfer_id(steered), form))

    return act


def verbs(twiml):
    return [verb.tag for verb in ET.fromstring(twiml)]


ASK = [WaitForAgent(), Say(SPEECH)]


def output(steered):
    return next(item.output for item in steered.session.history if item.type == "function_call")


def test_a_person_who_accepts_meets_the_caller_in_a_conference():
    steered = call()
    steered.at(8.0, person({}))
    steered.at(12.0, person({"Digits": "1"}))
    result = steered.run([*ASK, Pause(30_000)])
    [placed] = steered.twilio.made("place")
    assert (placed.to, placed.from_number, placed.ring_seconds) == (BILLING, OURS, 25)
    assert placed.status_callback == placed.url + "/status"
    asked, joins = steered.results
    gather = ET.fromstring(asked).find("Gather")
    assert gather.attrib["action"] == placed.url
    assert gather.findtext("Say") == "A double charge. Press 1 to take the call. Press any other key to decline."
    assert verbs(asked) == ["Gather", "Gather", "Say", "Hangup"]
    [moved] = steered.twilio.made("twiml")
    conference = ET.fromstring(moved).findtext("Dial/Conference")
    assert conference == ET.fromstring(joins).findtext("Dial/Conference") == transfer_id_of(placed)
    assert result.seconds == pytest.approx(12.1, abs=0.2)
    assert steered.ending.reason == "transferred"
    assert steered.twilio.made("completed") == []
    assert 500 < loudest(result, 6.0, 12.0) < 3_000  # music meanwhile


def transfer_id_of(placed):
    return placed.url.removeprefix(URL)


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (person({}, {"Digits": "2"}), "The person did not take the call."),
        (person({}, {"Digits": ""}), "The person did not take the call."),
        (person({"CallStatus": "no-answer"}), "Nobody answered."),
        (person({"CallStatus": "busy"}), "The line is busy."),
        (person({"CallStatus": "failed"}), "The call to the person could not be made."),
        (person({}, {"CallStatus": "completed"}), "The person did not take the call."),  # a voicemail, or a hang-up
    ],
)
def test_a_caller_whom_nobody_takes_comes_back_to_the_agent_who_is_told_why(what, told):
    steered = call()
    steered.at(10.0, what)
    steered.at(10.01, person({"CallStatus": "completed"}))  # it may come once more
    result = steered.run([*ASK, Pause(13_000), Say(SPEECH), Pause(2_000)])
    assert result.failure is None
    assert output(steered).startswith(told)
    assert ("assistant", BACK[0].text, False) in steered.history
    assert loudest(result, 5.0, 10.0) < 3_000 < loudest(result, 10.5, 12.0)  # music, then the agent
    assert not steered.control.on_hold
    assert steered.twilio.made("completed") == []
    assert steered.history[-1][0] == "user"  # the model hears the caller again
    assert len(steered.transfers) == 0


def test_a_person_who_takes_too_long_is_not_waited_for():
    settings = ControlSettings(
        transfer=TransferSettings(consult_s=20), silence=SilenceSettings(after_s=None), public_url=PATIENT.public_url
    )
    steered = call(settings=settings)
    steered.at(12.0, person({}))
    steered.at(40.0, lambda s: s.results.append(s.transfers.answer(transfer_id(s), {"Digits": "1"})))
    steered.run([*ASK, Pause(50_000)])
    assert output(steered).startswith("The person did not take the call in time.")
    assert steered.twilio.made("completed") == [LEG]
    assert steered.results[1] is None
    assert verbs(too_late()) == ["Say", "Hangup"]


def test_a_caller_who_hangs_up_meanwhile_takes_the_other_call_along():
    steered = call()
    steered.run([*ASK, Pause(6_000), HangUp()])
    assert steered.twilio.made("completed") == [LEG]
    assert len(steered.transfers) == 0


def test_a_caller_who_hangs_up_while_twilio_is_asked_leaves_no_ringing_phone():
    steered = call()
    steered.twilio._takes_s = 3.0
    steered.run([*ASK, Pause(3_500), HangUp()])
    assert steered.twilio.made("completed") == [LEG]


@pytest.mark.parametrize(("fails", "told"), [("place", "could not be made"), ("twiml", "could not be made")])
def test_when_twilio_refuses_the_caller_comes_back(fails, told):
    steered = call(fails=[fails])
    steered.at(10.0, person({}, {"Digits": "1"}) if fails == "twiml" else lambda _: None)
    result = steered.run([*ASK, Pause(15_000)])
    assert result.failure is None
    assert told in output(steered)
    assert ("assistant", BACK[0].text, False) in steered.history
    assert steered.twilio.made("completed") == ([LEG] if fails == "twiml" else [])


def test_a_person_who_leaves_before_the_caller_has_come_does_not_keep_the_caller_alone():
    steered = call()
    steered.at(10.0, person({}, {"Digits": "1"}, {"CallStatus": "completed"}))
    steered.run([*ASK, Pause(15_000)])
    assert [verbs(twiml) for twiml in steered.twilio.made("twiml")] == [["Dial", "Hangup"], ["Redirect"]]


def test_a_cold_transfer_is_twilio_s_when_the_caller_has_heard_of_it():
    steered = call(warm=False)
    result = steered.run([*ASK, Pause(30_000)])
    [moved] = steered.twilio.made("twiml")
    dial = ET.fromstring(moved).find("Dial")
    assert dial.findtext("Number") == BILLING
    assert dial.attrib["callerId"] == OURS
    assert (dial.attrib["answerOnBridge"], dial.attrib["timeout"]) == ("true", "25")
    assert dial.attrib["action"].startswith(URL + steered.phone.ids.call_sid)
    assert dial.attrib["action"].endswith("/after")
    assert steered.twilio.at("twiml")[0] == pytest.approx(result.audible[-1].end, abs=0.05)
    assert steered.ending.reason == "transferred"


def test_a_cold_transfer_that_twilio_refuses_leaves_the_caller_with_the_agent():
    steered = call(warm=False, fails=["twiml"])
    steered.run([*ASK, Pause(15_000)])
    assert output(steered).startswith("The call to the person could not be made. (Twilio refused)")
    assert ("assistant", BACK[0].text, False) in steered.history


def test_an_agent_to_whom_the_caller_comes_back_knows_what_was_said():
    first = call(warm=False)
    first.run([*ASK, Pause(10_000)])
    again = SteeredCall([SayThis("I am sorry.")], [SayThis("Yes.")])
    again.transfers = first.transfers
    again.run([WaitForAgent(), Say(SPEECH), WaitForAgent(), HangUp()])
    said = [
        ("assistant", HELLO[0].text),
        ("user", "Well."),
        ("assistant", TO_BILLING[0].text),
        ("assistant", "I am sorry."),
    ]
    assert [(role, text) for role, text, _ in again.history][:4] == said
    items = [(item.role, (item.content[0].text or item.content[0].transcript)) for item in again.brain.asked[-1].items]
    assert items[:4] == said
    once_more = SteeredCall([SayThis("Hello.")])
    once_more.transfers = first.transfers
    once_more.run([WaitForAgent(), HangUp()])
    assert len(once_more.history) == 1


def test_whom_the_person_sees_calling():
    details = CallDetails(call_sid="CA" + "0" * 31 + "1", direction="outbound", caller=OURS, called=THEIRS)
    for settings, sees in ((PATIENT, OURS), (ControlSettings(transfer=TransferSettings(caller_id="+12"), public_url="https://x"), "+12")):  # fmt: skip
        steered = call(details=details, settings=settings)
        steered.run([*ASK, Pause(6_000), HangUp()])
        assert steered.twilio.made("place")[0].from_number == sees


@pytest.mark.parametrize(
    ("to", "options", "why"),
    [
        ("+14155550123", {"rest": False}, "no access to Twilio's API"),
        ("+14155550123", {"settings": ControlSettings()}, "PUBLIC_URL"),
        ("5550123", {}, "E.164"),
        ("+19005550123", {}, "premium"),
        ("+4930901820", {}, "country"),
        ("+1911", {}, "E.164"),
    ],
)
def test_what_cannot_be_is_refused_in_words(to, options, why):
    steered = SteeredCall(HELLO, **options)
    steered.at(2.0, lambda c: c.control.transfer(to, warm=True))
    steered.run([Pause(4_000)])
    [result] = steered.results
    assert (result.outcome, result.connected) == ("not_possible", False)
    assert why in result.message
    assert steered.twilio.requests == []


def test_one_transfer_at_a_time():
    steered = SteeredCall(HELLO)
    for at in (2.0, 3.0):
        steered.at(at, lambda c: c.control.transfer(BILLING, warm=True))
    steered.run([Pause(6_000)])
    assert [result.outcome for result in steered.results] == ["not_possible", "caller_gone"]


def test_an_operator_s_hang_up_ends_a_transfer():
    steered = call()
    steered.at(8.0, lambda c: c.control.hang_up("enough", after_goodbye=False))
    result = steered.run([*ASK, Pause(30_000)])
    assert result.seconds == pytest.approx(8.1, abs=0.3)
    assert sorted(steered.twilio.made("completed")) == sorted([LEG, steered.phone.ids.call_sid])


def test_a_caller_who_is_taken_off_hold_is_not_transferred():
    steered = call()
    steered.at(8.0, lambda c: c.control.resume())
    steered.run([*ASK, Pause(10_000)])
    assert output(steered).startswith("The transfer was called off.")
    assert steered.twilio.made("completed") == [LEG]
    assert not steered.control.on_hold


def test_the_model_picks_a_name_and_never_a_number():
    tool = transfer_call({"billing": BILLING, "sales": "+14155550124"})
    assert tool.parameters["properties"]["destination"]["enum"] == ["billing", "sales"]
    assert BILLING not in str(tool.parameters) + tool.description
    for wrong in ({}, {"billing": "555-0123"}, {"billing": "+0123456789"}):
        with pytest.raises(MisuseError, match="transfer_call"):
            transfer_call(wrong)


def test_what_follows_a_cold_transfer_depends_on_how_it_went():
    assert all(dial_end(status).connected for status in ("completed", "answered"))
    ends = [dial_end(status) for status in ("busy", "no-answer", "failed", "canceled")]
    assert all(not end.connected and end.opening.startswith("I am sorry") for end in ends)


def test_a_transfer_that_nobody_knows_is_told_so():
    transfers = Transfers()
    assert transfers.answer("CA1-none", {"Digits": "1"}) is None
    assert not transfers.status("CA1-none", {"CallStatus": "completed"})
    assert call_of("CA1-none") == "CA1"
    assert call_of("") == ""
