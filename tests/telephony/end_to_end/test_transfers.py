"""Transfers and the time limit of calls through the whole house: two telephones, Twilio (simulated), the server, a model."""

from support.phone_house import Scenarios

from telephony.testing import HangUp, Pause, Press, WaitForAgent
from telephony.testing.twilio import AnsweringMachine, Busy, HearText, Human

BILLING = "+14155550111"


def on_key(key, **deeds):
    return {"heard": [f"the caller pressed {key} on the keypad"], **deeds}


def ask_for(who):
    return {"call": "ask_for", "with": {"destination": who, "summary": "Ann wants a raise."}}


AGENT = """
from realtime_bridge import Agent
from telephony.tools import transfer_call

PEOPLE = {who: f"+1415555012{n}" for n, who in enumerate(("kind", "deaf", "taken", "slow", "gone"))}
agent = Agent(
    name="Front desk",
    instructions="Be kind.",
    tools=[transfer_call({"billing": "+14155550111"}), transfer_call(PEOPLE, warm=True, name="ask_for")],
)
"""
KIND, DEAF, TAKEN, SLOW, GONE = (f"+1415555012{n}" for n in range(5))
SCRIPT = {
    "greeting": "Front desk, how can I help you today?",
    "rules": [
        on_key(1, say="I ask.", **ask_for("kind")),
        on_key(2, say="I ask.", **ask_for("deaf")),
        on_key(3, say="I ask.", **ask_for("taken")),
        on_key(4, say="I ask.", **ask_for("slow")),
        on_key(5, say="I ask.", **ask_for("gone")),
        on_key(9, say="I connect you.", call="transfer_call", **{"with": {"destination": "billing", "summary": "A bill."}}),
        {"after": "ask_for", "say": "I am sorry. {result}"},
    ],
}  # fmt: skip
scenarios = Scenarios({"one process": {}}, script=SCRIPT, agent=AGENT, SILENCE_SECONDS="30", CALL_SECONDS_MAX="25")


def key(digit):
    """Press it, and have it taken at once."""
    return [Press(digit), Pause(100), Press("#")]


def said(record):
    return [(line["role"], line["text"]) for line in record["transcript"]]


@scenarios.add
async def a_person_hears_the_summary_takes_the_call_and_both_talk(house):
    house.twilio.person(
        KIND,
        Human(
            [HearText("Ann wants a raise."), Pause(800), Press("1"), Pause(2_500), "Hello Ann.", Pause(1_500), HangUp()]
        ),
        answers_after_s=0.5,
    )
    call = await house.ring(WaitForAgent(), *key("1"), Pause(60_000), from_="+14155550001")
    await call.until_status("completed", timeout_s=120)
    [leg] = house.twilio.calls_to(KIND)
    assert [verb for verb in leg.verbs if verb in ("Gather", "Dial")] == ["Gather", "Dial"]
    assert call.verbs[-1] in ("Dial", "Hangup")
    assert leg.ended_at - call.ended_at < 10
    row = await house.stored(call.sid)
    assert row.disposition == "transferred"
    # Music while they were asked, the person at the end.
    assert call.heard.audible[-1].end > leg.answered_at + 3


@scenarios.add
async def an_answering_machine_does_not_get_the_caller(house):
    house.twilio.person(DEAF, AnsweringMachine(greeting="Leave a message."), answers_after_s=0.3)
    call = await house.ring(WaitForAgent(), *key("2"), Pause(600_000), from_="+14155550002")
    await house.until_agent_said(call, "The person did not take the call.")
    await call.until_status("completed", timeout_s=120)
    record = await house.record_of(call.sid)
    told = [text for role, text in said(record) if role == "assistant" and text.startswith("I am sorry.")]
    assert told, said(record)
    assert "The person did not take the call." in told[0]


@scenarios.add
async def a_busy_phone_gives_the_caller_back(house):
    house.twilio.person(TAKEN, Busy())
    call = await house.ring(WaitForAgent(), *key("3"), Pause(600_000), from_="+14155550003")
    await house.until_agent_said(call, "The line is busy.")
    await call.until_status("completed", timeout_s=120)
    assert said(await house.record_of(call.sid))[-1][1].startswith("I am sorry. The line is busy.")


@scenarios.add
async def a_caller_who_hangs_up_meanwhile_takes_the_other_call_along(house):
    house.twilio.person(SLOW, Human([Pause(60_000)]), answers_after_s=0.5)
    call = await house.ring(WaitForAgent(), *key("4"), Pause(600_000), from_="+14155550004")
    await call.until(lambda: house.twilio.calls_to(SLOW), "second call", timeout_s=120)
    [leg] = house.twilio.calls_to(SLOW)
    await leg.until_said("Ann wants a raise.", timeout_s=60)
    call.hang_up()
    await leg.until_status("completed", timeout_s=60)


@scenarios.add
async def a_person_who_hangs_up_on_the_question_gives_the_caller_back(house):
    house.twilio.person(GONE, Human([Pause(1_000), HangUp()]), answers_after_s=0.5)
    call = await house.ring(WaitForAgent(), *key("5"), Pause(600_000), from_="+14155550005")
    await house.until_agent_said(call, "The person did not take the call.")
    await call.until_status("completed", timeout_s=120)
    assert said(await house.record_of(call.sid))[-1][1].startswith("I am sorry. The person did not take the call.")


@scenarios.add
async def a_caller_whom_a_cold_transfer_could_not_connect_is_with_the_agent_again(house):
    house.twilio.person(BILLING, Busy())
    call = await house.ring(WaitForAgent(), *key("9"), Pause(45_000), from_="+14155550009")
    await call.until(lambda: len(call.streams) == 2, "second stream", timeout_s=120)
    again = call.streams[0].ended_at
    await call.until(lambda: call.heard.audible[-1].end > again + 1.5, "word of the agent", timeout_s=60)
    assert house.twilio.calls_to(BILLING)[0].status == "busy"
    between = await house.stored(call.sid, lambda row: len(row.streams) == 1 and row.finished_at is None, 60)
    assert (between.disposition, between.status) == (None, "in-progress")
    call.hang_up()
    await house.stored(call.sid, lambda row: len(row.streams) == 2 and row.status == "completed", 60)
    _, stored = await house.api("GET", f"/calls/{call.sid}")
    assert [(stream["stream"], stream["recorded"]) for stream in stored["streams"]] == [(1, True), (2, True)]
    assert stored["streams"][0]["disposition"].startswith("transferred")
    spoken = [(turn["stream"], turn["text"]) for turn in stored["transcript"] if turn["role"] == "assistant"]
    assert {stream for stream, _ in spoken} == {1, 2}
    for stream in (1, 2):
        status, record = await house.api("GET", f"/calls/{call.sid}/call.json?stream={stream}")
        assert (status, record["duration_ms"]) == (200, stored["streams"][stream - 1]["duration_ms"])


@scenarios.add
async def a_call_s_time_is_up_and_the_caller_is_told(house):
    call = await house.ring(WaitForAgent(), Pause(60_000), from_="+14155550008")
    await call.until_status("completed", timeout_s=120)
    record = await house.record_of(call.sid)
    assert said(record)[-1][1] == "I am sorry, but our time is up and I have to end the call now. Goodbye!"
    assert 25 < record["duration_ms"] / 1000 < 60


test_in_the_house = scenarios.tests()
