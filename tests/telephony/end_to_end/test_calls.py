"""Calls through the whole house: Twilio (simulated), the server as a process of its own, a model as another one.

The callers press keys, which a script answers; nobody's speech has to be understood.
"""

import asyncio
import json
import time

from support.phone_house import AGENT, NUMBER, Scenarios
from support.phone_server import http
from support.scripted_model import tone
from support.silent_sockets import SilentSockets
from support.twilio_application import TOKEN

from realtime_bridge.audio.g711 import pcm16_to_mulaw
from telephony.testing import HangUp, Pause, Press, WaitForAgent
from telephony.testing.twilio import AnsweringMachine, Busy, Fax, HearText, Human, NoAnswer, spelt

SPEECH = pcm16_to_mulaw(tone(800, rate=8000))
TURN = WaitForAgent(quiet_ms=1500, timeout_s=60)  # the agent's: on a busy machine it falters in the middle of a word
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
        on_key(7, say="Press one for yes, or star for no.", call="book", **{"with": {"day": "Monday"}}),
        {"after": "collect_digits", "say": "Thank you. {result}"},
        {"after": "refund", "say": "That is done."},
        {"after": "book", "say": "So be it. {result}"},
        {"after": "ask_for", "say": "I am sorry, the boss has no time."},
        {"after": "press_keys", "say": "I have pressed the keys."},
    ],
}  # fmt: skip

NIGHT, STRICT = "+14155550198", "+14155550197"  # other numbers of ours, with agents of their own
AGENTS = (
    AGENT
    + '''
from telephony import PhoneAgent
from telephony.steering.control_settings import ControlSettings, LengthSettings, SilenceSettings


@tool(needs_approval=True, approval_by_caller="1")
def book(day: str) -> str:
    """Book a day."""
    return f"Booked {day}."


agent.tools.append(book)
short = LengthSettings(seconds_max=16, warning_before_s=7, warning="Seven seconds are left.", goodbye="Time is up. Goodbye!")
night = PhoneAgent(
    Agent(name="Night desk", instructions="Be quiet."),
    steering=ControlSettings(length=short, silence=SilenceSettings(after_s=30)),
)
strict = PhoneAgent(
    Agent(name="Strict desk", instructions="Be quick."), steering=ControlSettings(silence=SilenceSettings(after_s=3))
)
'''
)
HOUSES = {
    "one process, SQLite": {"LOG_LEVEL": "debug"},
    "two workers, PostgreSQL": {"WORKERS": "2", "DATABASE_URL": "postgresql"},
}
scenarios = Scenarios(
    HOUSES,
    script=SCRIPT,
    agent=AGENTS,
    AGENTS=f"{NIGHT}=house:night,{STRICT}=house:strict",
    SILENCE_SECONDS="600",
    hears=["Now you hear me."] * 50,
)


def key(digit):
    """Press it, and have it taken at once."""
    return [Press(digit), Pause(100), Press("#")]


def add_number(house, number):
    house.twilio.number(number, voice_url=f"{house.url}/twilio/voice", status_callback=f"{house.url}/twilio/status")


def said(record):
    return [(line["role"], line["text"]) for line in record["transcript"]]


async def tell(house, call, verb, **how):
    """An operator's command is carried out: when it is answered or, if it takes longer, as the call's events say."""
    status, answer = await house.api("POST", f"/calls/{call.sid}/{verb}", how)
    assert (status, answer.get("state")) in ((200, "done"), (202, "started")), answer
    if status == 202:

        def carried_out(page):
            return [event["data"] for event in page["events"] if event["data"].get("verb") == verb.replace("-", "_")]

        [command] = await house.until_api("GET", f"/calls/{call.sid}/events", carried_out)
        assert command["ok"], command


@scenarios.add
async def a_caller_is_greeted_recorded_and_remembered(house):
    first = await house.ring(TURN, HangUp(), from_="+14155550001", carrier={"FromCity": "ULM"})
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
    call = await house.ring(TURN, *key("1"), Pause(60_000))
    await call.until_status("completed")
    record = await house.record_of(call.sid)
    assert said(record)[-1] == ("assistant", "Goodbye then, it was a pleasure to talk to you.")
    assert not any(line["cut"] for line in record["transcript"])
    goodbye = call.heard.audible[-1]
    assert goodbye.end - goodbye.start > 2.0
    assert call.ended_at - goodbye.end < 10
    assert (await house.stored(call.sid)).disposition == "done"


@scenarios.add
async def a_cold_transfer_connects_the_caller_to_a_person(house):
    house.twilio.person(BILLING, Human(["Billing, hello.", Pause(1500), HangUp()]), answers_after_s=0.5)
    call = await house.ring(TURN, *key("2"), Pause(60_000))
    await call.until(lambda: call.children, "second leg")
    [leg] = call.children
    assert (leg.to, leg.person.number) == (BILLING, BILLING)
    await leg.until_status("completed")
    await call.until_status("completed")
    assert (await house.stored(call.sid)).disposition.startswith("transferred")


@scenarios.add
async def a_caller_whom_the_boss_declines_comes_back_to_the_agent(house):
    house.twilio.person(BOSS, Human([HearText("press 1"), Press("2"), Pause(60_000)]), answers_after_s=0.5)
    call = await house.ring(TURN, *key("3"), Pause(600_000), from_="+14155550003")
    await house.until_agent_said(call, "the boss has no time.")
    await call.until_status("completed", timeout_s=120)
    record = await house.record_of(call.sid)
    assert said(record)[-1] == ("assistant", "I am sorry, the boss has no time.")


@scenarios.add
async def digits_are_collected_and_reach_the_model(house):
    call = await house.ring(TURN, *key("5"), TURN, *spelt("4729"), TURN, HangUp(), from_="+14155550005")
    await call.until_status("completed", timeout_s=120)
    record = await house.record_of(call.sid)
    [tool] = [tool for tool in record["tools"] if tool["name"] == "collect_digits"]
    assert tool["output"] == "The caller entered 4 7 2 9."


@scenarios.add
async def keys_that_the_agent_presses_are_heard_as_tones(house):
    call = await house.ring(TURN, *key("6"), TURN, HangUp(), from_="+14155550006")
    await call.until_status("completed", timeout_s=120)
    assert call.heard.digits() == "12#"


@scenarios.add
async def an_approval_is_given_over_the_api_and_the_tool_runs_once(house):
    call = await house.ring(TURN, *key("4"), Pause(60_000), from_="+14155550004")
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
    await tell(house, call, "say", text="This is an announcement of ours.")
    await call.until(lambda: len(call.heard.audible) > spoken, "the announcement")
    await call.until_silent(1.0)
    await tell(house, call, "hold")
    await call.until_heard(2.0, since=call.heard.audible[-1].end)
    await tell(house, call, "resume")
    status, state = await house.api("GET", f"/calls/{call.sid}/live")
    assert (status, state["state"]["agent"]) == (200, "Front desk")
    await tell(house, call, "hang-up", after_goodbye=False)
    await call.until_status("completed")


@scenarios.add
async def a_caller_who_says_nothing_is_asked_twice_and_told_goodbye(house):
    add_number(house, STRICT)
    call = await house.ring(Pause(60_000), from_="+14155550008", to=STRICT)
    await call.until_status("completed", timeout_s=120)
    said_of = [text for _, text in said(await house.record_of(call.sid))]
    assert len(said_of) == 4
    assert said_of[-1].endswith("Goodbye!")


@scenarios.add
async def the_caller_approves_or_refuses_by_a_key(house):
    async def asked(number):
        call = await house.ring(TURN, *key("7"), Pause(60_000), from_=number)
        await house.until_api("GET", f"/approvals?status=waiting&call_sid={call.sid}", lambda a: a["approvals"])
        return call

    agrees, refuses = await asyncio.gather(asked("+14155550011"), asked("+14155550012"))
    await asyncio.gather(agrees.press("1"), refuses.press("*"))
    for call, decision, output in ((agrees, "approved", "Booked Monday."), (refuses, "rejected", None)):
        path = f"/approvals?status={decision}&call_sid={call.sid}"
        [row] = await house.until_api("GET", path, lambda a: a["approvals"])
        assert row["decided_by"] == "caller"
        await house.until_api("GET", f"/calls/{call.sid}/live", lambda live: "So be it" in str(live), seconds=60)
        await house.api("POST", f"/calls/{call.sid}/hang-up", {"after_goodbye": False})
        await call.until_status("completed")
        [tool] = (await house.record_of(call.sid))["tools"]
        assert tool["approved"] == (decision == "approved")
        assert output is None or tool["output"] == output
        _, audit = await house.api("GET", f"/audit?subject={row['approval_id']}")
        assert [(line["who"], line["action"]) for line in audit["audit"]] == [("caller", f"approval.{decision}")]


@scenarios.add
async def who_is_muted_is_not_heard_until_they_are_unmuted(house):
    call = await house.ring(Pause(60_000), from_="+14155550013")
    await call.until_silent(0.5)

    async def steer(verb, **body):
        status, answer = await house.api("POST", f"/calls/{call.sid}/{verb}", body)
        assert status in (200, 202), answer

    await steer("mute", who="agent")
    await call.until_silent(0.5)  # should it have begun to say something
    muted_at = time.monotonic()
    await steer("say", text="This is not heard.")
    await asyncio.sleep(1.5)
    assert not [span for span in call.heard.audible if span.end > muted_at]
    await steer("unmute", who="agent")
    await steer("mute")
    await call.say(SPEECH)
    await steer("say", text="But this is heard.")
    await call.until_heard(0.5, since=muted_at)
    await call.until_silent(0.5)
    await steer("unmute")
    await call.say(SPEECH)
    await house.until_api(
        "GET", f"/calls/{call.sid}/live",
        lambda live: [item for item in live["state"]["history"] if item.get("role") == "user"],
        seconds=60,
    )  # fmt: skip
    await steer("hang-up", after_goodbye=False)
    await call.until_status("completed")
    assert [text for role, text in said(await house.record_of(call.sid)) if role == "user"] == ["Now you hear me."]


@scenarios.add
async def another_number_has_another_agent_which_warns_before_time_is_up(house):
    add_number(house, NIGHT)
    call = await house.ring(TURN, Pause(60_000), from_="+14155550014", to=NIGHT)
    await call.until_status("completed", timeout_s=120)
    record = await house.record_of(call.sid)
    assert record["agent"] == "Night desk"
    assert [text for _, text in said(record)[-2:]] == ["Seven seconds are left.", "Time is up. Goodbye!"]
    assert not any(line["cut"] for line in record["transcript"])
    assert record["duration_ms"] > 16_000
    row = await house.stored(call.sid)
    assert (row.agent, row.disposition, row.to_number) == ("house:night", "the call's time was up", NIGHT)


@scenarios.add_alone
async def hundreds_of_silent_sockets_keep_nobody_out(house):
    """`tests/bench/bench_silent_sockets.py` does it with 10,000."""
    async with SilentSockets(house.url, TOKEN, media=200, mute=100) as silent:
        await house.until(lambda: silent.upgraded >= 200 and silent.opened >= 300, "crowd", 100)
        call = await house.ring(TURN, HangUp(), from_="+14155550016")
        await call.until_status("completed", timeout_s=120)
    assert said(await house.record_of(call.sid)) == [("assistant", "Front desk, how can I help you today?")]


@scenarios.add
async def neither_numbers_nor_secrets_are_in_the_log(house):
    call = await house.ring(TURN, HangUp(), from_="+14155550015")
    await call.until_status("completed")
    await house.stored(call.sid)
    await house.until(lambda: call.sid in house.server.log, "line about the call")
    for hidden in ("4155550015", TOKEN, "sk-offline-0123456789"):
        assert hidden not in house.server.log


# ---- calls that we place ---------------------------------------------------------------------------------------------


async def place(house, to, **more):
    status, placed = await house.api("POST", "/calls", {"to": to, "parameters": {"name": "Ann"}, **more})
    assert status == 201, placed
    return house.twilio.calls[placed["call_sid"]], placed


@scenarios.add
async def a_person_who_is_called_talks_to_the_agent(house):
    house.twilio.person("+14155551001", Human([TURN, HangUp()]))
    call, placed = await place(house, "+1 415 555 1001")
    await call.until_status("completed")
    record = await house.record_of(call.sid)
    assert (record["direction"], record["to_number"]) == ("outbound", "+14155551001")
    row = await house.stored(call.sid, lambda row: row.status == "completed" and row.finished_at is not None)
    assert (row.attempt_id, row.parameters) == (placed["attempt_id"], {"name": "Ann"})


@scenarios.add
async def a_message_is_left_on_a_machine_after_the_beep(house):
    house.twilio.person("+14155551002", AnsweringMachine(greeting="Nobody is home.", silence_s_max=60))
    call, _ = await place(house, "+14155551002", on_machine="Please call the front desk.")
    await call.until_status("completed", timeout_s=120)
    assert len(call.message) > 8000


@scenarios.add
async def who_answers_is_found_out_before_anything_is_said_where_that_is_wanted(house):
    """Synchronous answering-machine detection."""
    house.twilio.person("+14155551011", Human([TURN, HangUp()]))
    house.twilio.person("+14155551012", AnsweringMachine(greeting="Nobody is home.", silence_s_max=60))
    house.twilio.person("+14155551013", Fax())
    message = {"on_machine": "Please call the front desk.", "wait_for_machine": True}
    placed = [await place(house, f"+1415555101{n}", **message) for n in (1, 2, 3)]
    (human, _), (machine, _), (fax, _) = placed
    await asyncio.gather(*(call.until_status("completed", timeout_s=120) for call, _ in placed))
    assert [text for _, text in said(await house.record_of(human.sid))] == ["Front desk, how can I help you today?"]
    assert (machine.verbs, machine.streams) == (["Say", "Hangup"], [])
    assert len(machine.message) > 8000
    assert (fax.verbs, fax.streams) == (["Hangup"], [])
    for (_, attempt), answered_by in zip(placed, ("human", "machine_end_beep", "fax"), strict=True):
        path = f"/attempts/{attempt['attempt_id']}"
        await house.until_api(
            "GET", path, lambda a, want=answered_by: (a["status"], a["answered_by"]) == ("completed", want)
        )


@scenarios.add
async def the_agent_hangs_up_on_a_fax(house):
    house.twilio.person("+14155551014", Fax())
    call, _ = await place(house, "+14155551014", on_machine="hang_up")
    await call.until_status("completed", timeout_s=120)
    row = await house.stored(call.sid)
    assert (len(call.streams), row.disposition) == (1, "a fax machine answered")


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
    house.twilio.person("+14155551006", Human([TURN, HangUp()]))
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
