"""Whole calls that are steered at random moments: they end once, in time, with no dead air and nobody left waiting.

Each call is drawn from a seed, which a failure names.
"""

from random import Random

import pytest
from support.steered_call import SPEECH, SteeredCall

from realtime_bridge.localmodel.parts import CallTool
from realtime_bridge.localmodel.parts import Say as SayThis
from telephony.steering.control_settings import ControlSettings, LengthSettings, SilenceSettings, TransferSettings
from telephony.testing import Link, Pause, Press, Say
from telephony.tools import hang_up, hold_caller, press_keys, resume_caller, transfer_call

SETTINGS = ControlSettings(
    silence=SilenceSettings(after_s=4, goodbye="Nobody there. Goodbye!"),
    length=LengthSettings(seconds_max=75, warning_before_s=15, goodbye="Time is up. Goodbye!"),
    transfer=TransferSettings(consult_s=20),
    hold_s_max=12,
    public_url="https://phone.example.com",
)
# Silence that the settings allow, or a wait for a goodbye, and what a model takes to answer.
DEAD_AIR_S_MAX = max(SETTINGS.silence.after_s, SETTINGS.goodbye_wait_s) + 2.5
PERSON = "+14155550123"
TOOLS = [hang_up, hold_caller, resume_caller, press_keys, transfer_call({"billing": PERSON}, warm=True)]


def reply(rng):
    deeds = [SayThis("word " * rng.randrange(1, 16))] if rng.random() < 0.85 else []
    call = rng.choice([
        None, None, None, None,
        CallTool("hang_up", {"reason": "enough"}),
        CallTool("hold_caller"),
        CallTool("resume_caller"),
        CallTool("press_keys", {"keys": "12#"}),
        CallTool("transfer_call", {"destination": "billing", "summary": "Somebody calls."}),
    ])  # fmt: skip
    return [*deeds, call] if call else deeds or [SayThis("Well.")]


def steps(rng):
    for _ in range(rng.randrange(3, 12)):
        yield Pause(rng.uniform(200, 5_000))
        yield rng.choice([Say(SPEECH), Say(SPEECH[: rng.randrange(2400, 6400)]), Press(rng.choice("0123456789*#"))])
    yield Pause(120_000)


def action(rng):
    """What an operator, or the person who is called, does."""
    words = "word " * rng.randrange(1, 10)
    return rng.choice([
        lambda c: c.control.hang_up("an operator", after_goodbye=rng.random() < 0.7, final=rng.random() < 0.3),
        lambda c: c.control.say(words, interrupt=rng.random() < 0.5),
        lambda c: c.control.hold(),
        lambda c: c.control.resume(),
        lambda c: c.control.press("1w2"),
        lambda c: c.control.collect_digits(timeout_s=2) if not c.control._keys.waited_for else None,
        lambda c: c.control.transfer(PERSON, warm=rng.random() < 0.7, summary="x"),
        *[lambda c: person(c, rng)] * 3,
    ])  # fmt: skip


def person(steered, rng):
    form = rng.choice([{}, {"Digits": "1"}, {"Digits": "2"}, {"CallStatus": "completed"}, {"CallStatus": "no-answer"}])
    for placed in steered.twilio.made("place"):
        transfer_id = placed.url.rpartition("/")[2]
        if "CallStatus" in form:
            steered.transfers.status(transfer_id, form)
        else:
            steered.transfers.answer(transfer_id, form)


def random_call(seed):
    rng = Random(seed)
    fails = rng.choice([(), (), (), ("completed",), ("place",), ("twiml",), ("slow",)])
    steered = SteeredCall(
        [SayThis("Hello, this is the desk.")], *(reply(rng) for _ in range(40)), tools=TOOLS, settings=SETTINGS,
        rest=rng.random() < 0.8, fails=fails,
    )  # fmt: skip
    for _ in range(rng.randrange(1, 7)):
        steered.at(rng.uniform(0.0, 40.0), action(rng))
    far = {"to_server": Link(40, 20, rng), "to_phone": Link(40, 20, rng)} if rng.random() < 0.5 else {}
    return steered, steered.run(list(steps(rng)), **far)


def silences(result):
    """(from, to) of all in which neither side was heard."""
    sounds = sorted(
        [(span.start, span.end) for span in result.audible] + [(said.start, said.end) for said in result.said]
    )
    until = 0.0
    for start, end in [*sounds, (result.seconds, result.seconds)]:
        if start > until:
            yield until, start
        until = max(until, end)


@pytest.mark.parametrize("seed", range(10))
def test_a_call_steered_at_random_ends_once_and_in_time(seed):
    steered, result = random_call(seed)
    own_sid = steered.phone.ids.call_sid
    ends = [about for about in steered.twilio.made("completed") if about == own_sid]
    assert len(ends) <= 1
    assert result.problems == ()
    # Nothing that steers outlives the limits: call, goodbye, Twilio's API.
    assert result.seconds < SETTINGS.length.seconds_max + SETTINGS.goodbye_s_max + SETTINGS.rest_s_max + 5
    assert steered.control.ending is not None
    legs = {f"CA9{n:031d}" for n in range(1, len(steered.twilio.made("place")) + 1)}
    assert all(about in legs for about in steered.twilio.made("completed") if about != own_sid)
    dead = [(a, b) for a, b in silences(result) if b - a > DEAD_AIR_S_MAX]
    limit = SETTINGS.rest_s_max + 4 if "slow" in steered.twilio.fails else DEAD_AIR_S_MAX
    assert all(b - a <= limit for a, b in dead), dead


@pytest.mark.parametrize("seed", range(14, 17))
def test_a_final_goodbye_is_heard_to_its_end(seed):
    rng = Random(seed)
    steered = SteeredCall([SayThis("Hello.")], *(reply(rng) for _ in range(40)), tools=TOOLS, settings=SETTINGS)
    at = rng.uniform(0.5, 30.0)
    steered.at(at, lambda c: c.control.hang_up("must be", words="It is over now. Goodbye to you!", final=True))
    result = steered.run(list(steps(rng)))
    if steered.ending.reason == "must be":
        assert ("assistant", "It is over now. Goodbye to you!", False) in steered.history
        assert result.seconds - at < SETTINGS.goodbye_s_max + 2
