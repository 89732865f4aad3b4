"""The people on the simulated telephone network, and what they do when their telephone rings.

Person("+15550100", Human(["Hello?", WaitForAgent(), "Goodbye.", HangUp()]), answers_after_s=2)
Person("+15550101", AnsweringMachine("Please leave a message."), answers_after_s=4)
Person("+15550102", Busy())
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from realtime_bridge.errors import MisuseError
from telephony.testing.script import Pause, Press, Say, ScriptedCaller, Step, Until
from telephony.testing.twilio.line import Line
from telephony.testing.twilio.sound import RATE, Voice, beep, fax, silence
from telephony.twilio.messages import Digit

AnsweredBy = Literal[
    "human", "fax", "machine_start", "machine_end_beep", "machine_end_silence", "machine_end_other", "unknown"
]

STAY: Final = Pause(math.inf)  # on the line until the other side hangs up


@dataclass(frozen=True, slots=True)
class HearText:
    """Until Twilio has begun to say this (`<Say>`, or the name of what it plays), case aside."""

    text: str
    timeout_s: float = 20.0


ScriptStep: TypeAlias = Step | HearText | str | bytes  # a text is said aloud, mu-law as it is


@dataclass(frozen=True, slots=True)
class Human:
    """Follows a script and hangs up at its end; without steps, stays and says nothing.

    `steps` as in `telephony.testing.script`; a plain text is said, mu-law `bytes` are sounded, `HearText` waits for Twilio's voice. `spelt("42#")`
    gives the steps that press keys.
    """

    steps: Sequence[ScriptStep] = (STAY,)


@dataclass(frozen=True, slots=True)
class AnsweringMachine:
    """Says its greeting, beeps, records what it hears, and hangs up after a silence or when the tape is full."""

    greeting: str = "Hello. Nobody is at home. Please leave a message after the tone."
    beeps: bool = True
    pause_s: float = 0.4  # between greeting and beep
    message_s_max: float = 60.0
    silence_s_max: float = 5.0


@dataclass(frozen=True, slots=True)
class Fax:
    pass


@dataclass(frozen=True, slots=True)
class Busy:
    pass


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Rings for as long as it is let ring."""


@dataclass(frozen=True, slots=True)
class Rejects:
    """Sees who calls and refuses, `Person.answers_after_s` after the first ring: busy, to who calls."""


@dataclass(frozen=True, slots=True)
class OutOfService:
    """No such number: the call fails before it rings."""

    sip_code: int = 404


Behaviour: TypeAlias = Human | AnsweringMachine | Fax | Busy | NoAnswer | Rejects | OutOfService


@dataclass(frozen=True, slots=True)
class Person:
    """Who has this number. `answers_after_s` counts from the first ring.

    `hangs_up_after_s`: of being on the line, whatever the script says. `detected_as`: what answering-machine detection
    takes them for, right or wrong; by default, what they are. `detected_after_s`: how long that takes, from the answer.
    `carrier`: further fields of webhooks about their calls, such as FromCity or CallerName.
    """

    number: str
    behaviour: Behaviour = field(default_factory=Human)
    answers_after_s: float = 1.0
    hangs_up_after_s: float = math.inf
    detected_as: AnsweredBy | None = None
    detected_after_s: float | None = None
    carrier: Mapping[str, str] = field(default_factory=dict)


def spelt(digits: str, pause_ms: float = 150) -> list[Step]:
    """Steps that press these keys, one after the other."""
    return [step for digit in digits_of(digits) for step in (Press(digit), Pause(pause_ms))]


def digits_of(text: str) -> list[Digit]:
    """The keys, one by one. Raises MisuseError for what is none."""
    known = {digit: digit for digit in _DIGITS}
    if not set(text) <= set(known):
        raise MisuseError(f"{text!r} has what is no key of a telephone: 0-9, *, #, A-D")
    return [known[one] for one in text]  # type: ignore[index]  # the check above


_DIGITS: Final[tuple[Digit, ...]] = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "*", "#", "A", "B", "C", "D")


def lines_of(person: Person) -> list[str]:
    """The texts that they will say."""
    match person.behaviour:
        case Human(steps=steps):
            return [step for step in steps if isinstance(step, str)]
        case AnsweringMachine(greeting=greeting):
            return [greeting]
        case _:
            return []


# ---- on the line ---------------------------------------------------------------------------------------------------


class MachineRun:
    """An answering machine at work. `message`: what it has recorded, from the end of the beep on."""

    def __init__(self, machine: AnsweringMachine, line: Line, voice: Voice) -> None:
        self._machine = machine
        self._line = line
        greeting = voice(machine.greeting) + silence(machine.pause_s * 1000) + (beep() if machine.beeps else b"")
        _, self.records_from = line.speak(greeting)

    @property
    def message(self) -> bytes:
        """Mu-law."""
        first = round((self.records_from - self._line.started_at) * RATE)
        return bytes(self._line.heard.mulaw[first:])

    def advance(self, now: float) -> None:
        self._line.heard.ear.listen(now)
        if now < self.records_from:
            return
        heard = self._line.heard.ear.heard_since(self.records_from)
        quiet_since = heard.end if heard else self.records_from
        full = now - self.records_from >= self._machine.message_s_max
        if full or now - quiet_since >= self._machine.silence_s_max:
            self._line.hang_up(now)


def begin(person: Person, line: Line, voice: Voice) -> ScriptedCaller | MachineRun | None:
    """They have answered: their script, or machine, from now on. Sets the line's `behaviour`."""
    run: ScriptedCaller | MachineRun | None = None
    match person.behaviour:
        case Human(steps=steps):
            run = ScriptedCaller(list(_steps(steps, line, voice)), line)
            line.heard.ear = run.ear
        case AnsweringMachine() as machine:
            run = MachineRun(machine, line, voice)
        case Fax():
            line.speak(fax())
        case _:
            pass  # they never answer
    leaves_at = line.started_at + person.hangs_up_after_s
    advance: Callable[[float], None] = run.advance if run is not None else line.heard.ear.listen

    def behave(now: float) -> None:
        advance(now)
        if now >= leaves_at:
            line.hang_up(now)

    line.behaviour = behave
    return run


def _steps(steps: Sequence[ScriptStep], line: Line, voice: Voice) -> Iterator[Step]:
    for step in steps:
        if isinstance(step, str):
            yield Say(voice(step), step)
        elif isinstance(step, bytes):
            yield Say(step)
        elif isinstance(step, HearText):
            yield Until(_hears(line, step.text), f"heard {step.text!r}", step.timeout_s)
        else:
            yield step


def _hears(line: Line, text: str) -> Callable[[], bool]:
    return lambda: line.heard.says(text)


# ---- answering-machine detection ---------------------------------------------------------------------------------------


def detection(person: Person, mode: str, voice: Voice) -> tuple[AnsweredBy, float]:
    """What detection says of who has answered, and how many seconds after the answer.

    `mode`: Enable or DetectMessageEnd. Source: https://www.twilio.com/docs/voice/answering-machine-detection
    """
    answered_by, after_s = _truth(person.behaviour, mode, voice)
    if person.detected_as is not None:
        answered_by = person.detected_as
    return answered_by, after_s if person.detected_after_s is None else person.detected_after_s


def _truth(behaviour: Behaviour, mode: str, voice: Voice) -> tuple[AnsweredBy, float]:
    match behaviour:
        case AnsweringMachine() as machine:
            greeting_s = len(voice(machine.greeting)) / RATE
            if mode == "Enable":
                return "machine_start", min(2.4, greeting_s)
            if machine.beeps:
                return "machine_end_beep", greeting_s + machine.pause_s + 0.6
            return "machine_end_silence", greeting_s + 2.0
        case Fax():
            return "fax", 2.0
        case _:
            return "human", 1.5
