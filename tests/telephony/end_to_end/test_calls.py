"""Calls through the whole house: Twilio (simulated), the server as a process of its own, a model as another one.

The callers press keys, which a script answers; nobody's speech has to be understood.
"""

import asyncio
import json

from support.phone_house import NUMBER, Scenarios
from support.phone_server import http

from telephony.testing import HangUp, Pause, Press, WaitForAgent
from telephony.testing.twilio import AnsweringMachine, Busy, HearText, Human, NoAnswer, spelt

BILLING, BOSS = "+14155550111", "+14155550112"


def on_key(key, **deeds):
    return {"heard": [f"the caller pressed {key} on the keypad"], **deeds}


SCRIPT = {
    "greeting": "Front desk, how can I help you today?",
    "rules": [
        on_key(1, say="Goodbye then, it was a pleasure to talk to you.", call="hang_up", **{"with": {"reason": "done"}}),
        on_key(2, say="I connect you.", call="transfer_call", **{"with": {"destination": "billing", "summary": "A bill."}}),
        on_key(3, say="I ask.", call="ask_for", **{"with": {"destination": "boss", "summary": "Ann wants a raise."}}),
        on_key(4, say="I see.", call="refund", **{"with": {"order": "4711"}}),
        on_key(5, say="Your number, please.", call="collect_digits", **{"with": {"digits_max": 4}}),
        on_key(6, call="press_keys", **{"with": {"keys": "12#"}}),
        {"after": "collect_digits", "say": "Thank you. {result}"},
        {"after": "refund", "say": "That is done."},
        {"after": "ask_for", "say": "I am sorry, the boss has no time."},
        {"after": "press_keys", "say": "I have pressed the keys."},
    ],
}  # fmt: skip

HOUSES = {
    "one process, SQLite": {},
    "two workers, PostgreSQL": {"WORKERS": "2", "DATABASE_URL": "postgresql"},
}
scenarios = Scenarios(HOUSES, script=SCRIPT, SILENCE_SECONDS="3")


def key(digit):
    """Press it, and have it taken at once."""
    return [Press(digit), Pause(100), Press("#")]


def said(record):
    return [(line["role"], line["text"]) for line in record["transcript"]]


@scenarios.add
async def a_caller_is_greeted_recorded_and_remembered(house):
    first = await house.ring(WaitForAgent(), HangUp(), from_="+14155550001", carrier={"FromCity": "ULM"})
    await first.until_status("completed")
    record = await house.record_of(first.sid)
    assert said(record) == [("assistant", "Front desk, how can I help you today?")]
    assert (record["from_number"], record["to_number"], record["direction"]) == ("+14155550001", NUMBER, "inbound")
    row = await house.stored(first.sid)
    assert (row.from_number, row.carrier, row.recording) == ("+14155550001", {"city": "ULM"}, f"calls/{first.sid}")
    async with house.store() as store:
        [past] = await store.calls.past("+14155550001")
        assert (past.call_sid, await store.calls.turns(first.sid) != ()) == (first.sid, True)


@scenarios.add
async def the_agent_hangs_up_when_its_goodbye_was_heard(house):
    call = await house.ring(WaitForAgent(), *key("1"), Pause(60_000))
    await call.until_status("completed")
    record = await house.record_of(call.sid)
    assert said(record)[-1] == ("assistant", "Goodbye then, it was a pleasure to talk to you.")
    assert not any(line["cut"] for line in record["transcript"])
    goodbye = call.heard.audible[-1]
    assert goodbye.end - goodbye.start > 2.0
    assert call.ended_at - goodbye.end < 3.0
    assert (await house.stored(call.sid)).disposition == "done"


@scenarios.add
async def a_cold_transfer_connects_the_caller_to_a_person(house):
    house.twilio.person(BILLING, Human(["Billing, hello.", Pause(1500), HangUp()]), answers_after_s=0.5)
    call = await house.ring(WaitForAgent(), *key("2"), Pause(60_000))
    await call.until(lambda: call.children, "second leg")
    [leg] = call.children
    assert (leg.to, leg.person.number) == (BILLING, BILLING)
    await leg.until_status("completed")
    await call.until_status("completed")
    assert (await house.stored(call.sid)).disposition.startswith("transferred")


@scenarios.add
async def a_caller_whom_the_boss_declines_comes_back_to_the_agent(house):
    house.twilio.person(BOSS, Human([HearText("press 1"), Press("2"), Pause(60_000)]), answers_after_s=0.5)
    call = await house.ring(WaitForAgent(), *key("3"), Pause(3_000), WaitForAgent(), HangUp(), from_="+14155550003")
    await call.until_status("completed", timeout_s=120)
    record = await house.record_of(call.sid)
    assert said(record)[-1] == ("assistant", "I am sorry, the boss has no time.")


@scenarios.add
async def digits_are_collected_and_reach_the_model(house):
    call = await house.ring(
        WaitForAgent(), *key("5"), WaitForAgent(), *spelt("4729"), WaitForAgent(), HangUp(), from_="+14155550005"
    )
    await call.until_status("completed", timeout_s=120)
    record = await house.record_of(call.sid)
    [tool] = [tool for tool in record["tools"] if tool["name"] == "collect_digits"]
    assert tool["output"] == "The caller entered 4 7 2 9."


@scenarios.add
async def keys_that_the_agent_presses_are_heard_as_tones(house):
    call = await house.ring(WaitForAgent(), *key("6"), WaitForAgent(), HangUp(), from_="+14155550006")
    await call.until_status("completed", timeout_s=120)
    assert call.heard.digits() == "12#"


@scenarios.add
async def an_approval_is_given_over_the_api_and_the_tool_runs_once(house):
    call = await house.ring(WaitForAgent(), *key("4"), Pause(60_000), from_="+14155550004")
    [waiting] = await house.until_api("GET", f"/approvals?status=waiting&call_sid={call.sid}", lambda a: a["approvals"])
    assert (waiting["tool"], waiting["arguments"]) == ("refund", '{"order":"4711"}')
    first, second = await asyncio.gather(
        house.api("POST", f"/approvals/{waiting['approval_id']}/approve", {}),
        house.api("POST", f"/approvals/{waiting['approval_id']}/reject", {}),
    )
    assert sorted([first[0], second[0]]) == [200, 409]
    won = first[0] == 200
    await call.until(lambda: call.heard.audible[-1].end - call.heard.audible[-1].start > 0.5, "an answer")
    await house.api("POST", f"/calls/{call.sid}/hang-up", {})
    await call.until_status("completed")
    record = await house.record_of(call.sid)
    assert [(tool["name"], tool["approved"]) for tool in record["tools"]] == [("refund", won)]
    assert house.refunds() == (["4711"] if won else [])


@scenarios.add
async def an_operator_speaks_holds_and_hangs_up(house):
    call = await house.ring(Pause(60_000), from_="+14155550007")
    await call.until_silent(1.0)
    spoken = len(call.heard.audible)
    assert (await house.api("POST", f"/calls/{call.sid}/say", {"text": "This is an announcement of ours."}))[0] == 200
    await call.until(lambda: len(call.heard.audible) > spoken, "the announcement")
    await call.until_silent(1.0)
    assert (await house.api("POST", f"/calls/{call.sid}/hold", {}))[0] == 200
    await call.until_heard(2.0, since=call.heard.audible[-1].end)
    assert (await house.api("POST", f"/calls/{call.sid}/resume", {}))[0] == 200
    status, state = await house.api("GET", f"/calls/{call.sid}/live")
    assert (status, state["state"]["agent"]) == (200, "Front desk")
    assert (await house.api("POST", f"/calls/{call.sid}/hang-up", {"after_goodbye": False}))[0] == 200
    await call.until_status("completed")


@scenarios.add
async def a_caller_who_says_nothing_is_asked_twice_and_told_goodbye(house):
    call = await house.ring(Pause(60_000), from_="+14155550008")
    await call.until_status("completed", timeout_s=120)
    said_of = [text for _, text in said(await house.record_of(call.sid))]
    assert len(said_of) == 4
    assert said_of[-1].endswith("Goodbye!")


# ---- calls that we place ---------------------------------------------------------------------------------------------


async def place(house, to, **more):
    status, placed = await house.api("POST", "/calls", {"to": to, "parameters": {"name": "Ann"}, **more})
    assert status == 201, placed
    return house.twilio.calls[placed["call_sid"]], placed


@scenarios.add
async def a_person_who_is_called_talks_to_the_agent(house):
    house.twilio.person("+14155551001", Human([WaitForAgent(), HangUp()]))
    call, placed = await place(house, "+1 415 555 1001")
    await call.until_status("completed")
    record = await house.record_of(call.sid)
    assert (record["direction"], record["to_number"]) == ("outbound", "+14155551001")
    row = await house.stored(call.sid, lambda row: row.status == "completed" and row.finished_at is not None)
    assert (row.attempt_id, row.parameters) == (placed["attempt_id"], {"name": "Ann"})


@scenarios.add
async def a_message_is_left_on_a_machine_after_the_beep(house):
    house.twilio.person("+14155551002", AnsweringMachine(greeting="Nobody is home."))
    call, _ = await place(house, "+14155551002", on_machine="Please call the front desk.")
    await call.until_status("completed", timeout_s=120)
    assert len(call.message) > 8000


@scenarios.add
async def busy_and_unanswered_phones_are_told_apart(house):
    house.twilio.person("+14155551003", Busy())
    house.twilio.person("+14155551004", NoAnswer())
    for number, status in (("+14155551003", "busy"), ("+14155551004", "no-answer")):
        call, placed = await place(house, number, ring_seconds=5)
        await call.until_status(status)
        await house.until_api("GET", f"/attempts/{placed['attempt_id']}", lambda a, want=status: a["status"] == want)


@scenarios.add
async def numbers_that_must_not_be_called_are_not(house):
    assert (await house.api("POST", "/suppressions", {"number": "+14155551005"}))[0] in (200, 201)
    for to, code in (
        ("+14155551005", "suppressed"), ("12", "short-code"), ("+4930123456", "country"), ("+19005551234", "premium"),
    ):  # fmt: skip
        status, problem = await house.api("POST", "/calls", {"to": to})
        assert status in (409, 422), problem
        assert code in json.dumps(problem)
    assert not house.twilio.calls_to("+14155551005")


@scenarios.add
async def asking_twice_with_one_key_rings_once(house):
    house.twilio.person("+14155551006", Human([WaitForAgent(), HangUp()]))
    asked = [house.api("POST", "/calls", {"to": "+14155551006"}, headers={"Idempotency-Key": "k-1"}) for _ in range(3)]
    answers = await asyncio.gather(*asked)
    assert len({answer["call_sid"] for _, answer in answers}) == 1
    assert len(house.twilio.calls_to("+14155551006")) == 1


@scenarios.add
async def what_is_not_signed_is_refused(house):
    for path in ("/twilio/voice", "/twilio/status", "/twilio/amd", "/twilio/after", "/twilio/stream-status"):
        status, _ = await http(house.url + path, {"CallSid": "CA1", "CallStatus": "ringing", "AnsweredBy": "human"})
        assert status == 403, path


test_in_the_house = scenarios.tests()
