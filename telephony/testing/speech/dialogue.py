"""The demo's caller: a customer of a telephone company, who rings its front desk about the weasels.

    front desk     (greets)
    opening        Hello. Weasels have eaten our phone system.
    front desk     (asks for the customer number)
    number         The number I have is 4729.                       -> looks the customer up, with this number
    front desk     (gives long advice: keep the weasels inside, …)
    correction     No. They have been carried away by monkeys.      <- talks into the advice
    front desk     (takes that in, asks when the engineer should come)
    time           Tomorrow at ten o'clock.                         -> books the visit, once somebody approves
    front desk     (confirms the day and the time, asks what else)
    representative Waiting to speak with a representative.          -> hands the call over
    customer care  (introduces itself, asks whether that is all)
    farewell       Thank you. Goodbye.
    customer care  (says goodbye)

The pauses inside a line are short enough for an end-point of 300 ms to keep it in one piece. `recognised` is what the
offline recogniser made of it over a telephone line (mu-law, gain -10 to +2 dB, every second time in noise at -48 dBFS or
less), commonest first.
"""

from __future__ import annotations

from dataclasses import dataclass

from telephony.testing.script import HangUp, InterruptAfter, Say, Step, WaitForAgent
from telephony.testing.speech.clips import compose, spell

CUSTOMER_NUMBER = "4729"
INTERRUPTS_AFTER_MS = 2800  # of the advice


@dataclass(frozen=True, slots=True)
class Line:
    """Something the caller says. `parts`: clips and pauses in ms, for `compose`."""

    parts: tuple[str | int, ...]
    transcript: str
    recognised: tuple[str, ...]

    @property
    def mulaw(self) -> bytes:
        return compose(*self.parts)


LINES = {
    "opening": Line(
        parts=("hello", 150, "tt-weasels"),
        transcript="Hello. Weasels have eaten our phone system.",
        recognised=(
            "Hello, weasels have eaten our phone system.",
            "Hello, weasels have eaten our phones system.",
            "Hello, we'll have eaten our phone system.",
        ),
    ),
    "number": Line(
        parts=("vm-num-i-have", 60, *spell(CUSTOMER_NUMBER)),
        transcript="The number I have is four seven two nine.",
        recognised=("The number I have is 4729.", "The number I have is four, seven, two, nine."),
    ),
    "correction": Line(
        parts=("vm-no", 120, "tt-monkeysintro"),
        transcript="No. They have been carried away by monkeys.",
        recognised=(
            "No, they have been carried away by monkeys.",
            "No, they have been carried away by monkey.",
        ),
    ),
    "time": Line(
        parts=("digits/tomorrow", 40, "digits/at", 20, "digits/10", 20, "digits/oclock"),
        transcript="Tomorrow at ten o'clock.",
        recognised=("Tomorrow at ten o'clock.", "Tomorrow at 10 o'clock."),
    ),
    "representative": Line(
        parts=("queue-callswaiting",),
        transcript="Waiting to speak with a representative.",
        recognised=("Waiting to speak with a representative.",),
    ),
    "farewell": Line(
        parts=("auth-thankyou", 120, "goodbye"),
        transcript="Thank you. Goodbye.",
        recognised=("Thank you. Goodbye.", "Thank you, goodbye."),
    ),
}


def demo_steps(*, quiet_ms: float = 600.0) -> list[Step]:
    """The whole call, as the caller goes through it. `quiet_ms`: how long the agent must be silent to have finished."""

    def say(name: str) -> Say:
        return Say(LINES[name].mulaw, name)

    wait = WaitForAgent(quiet_ms=quiet_ms)
    return [
        *(wait, say("opening")),
        *(wait, say("number")),
        *(InterruptAfter(INTERRUPTS_AFTER_MS), say("correction")),
        *(wait, say("time")),
        *(wait, say("representative")),
        *(wait, say("farewell")),
        *(wait, HangUp()),
    ]
