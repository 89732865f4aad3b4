"""A caller who follows a script: what he says and when, told by what he hears. Pure, like the phone he holds.

caller = ScriptedCaller([WaitForAgent(), Say(hello), WaitForAgent(), HangUp()], phone)
caller.advance(now)          # before every `phone.advance`, at least every 20 ms
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias, assert_never

from realtime_bridge.errors import MisuseError
from telephony.testing.ear import Audible, Ear, Loudspeaker
from telephony.testing.utterances import GAP_S, Utterance, Utterances
from telephony.twilio.messages import Digit

HALF_FRAME_S = 0.010


@dataclass(frozen=True, slots=True)
class Say:
    """Say this to its end. `mulaw`: 8 kHz; `label`: what it is called in the result."""

    mulaw: bytes
    label: str = ""


@dataclass(frozen=True, slots=True)
class WaitForAgent:
    """Until the agent has answered: has been heard since the caller's last word, and then been silent for `quiet_ms`."""

    quiet_ms: float = 600.0
    timeout_s: float = 20.0


@dataclass(frozen=True, slots=True)
class InterruptAfter:
    """Until the agent's answer has been heard for this long; a `Say` behind it talks into the rest."""

    heard_ms: float
    timeout_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How a caller tells that it is his turn: the agent has said as many utterances as he expects and the phone has no
    more of them, or it has said fewer and then nothing for `short_ms`.

    Where somebody can tell whether the agent is still at work (`is_busy`), he waits as long as that is so, for `long_ms` of
    silence at most. An agent who says nothing at all for `timeout_s` fails the script.
    """

    short_ms: float = 3000.0
    long_ms: float = 10_000.0
    timeout_s: float = 30.0
    is_busy: Callable[[], bool] | None = None


@dataclass(frozen=True, slots=True)
class AfterTurn:
    """Until the agent's turn of so many utterances is over, and `gap_ms` longer: the next `Say` begins then, to the nearest
    frame of 20 ms. A gap below zero begins in the agent's last syllables.
    """

    gap_ms: float
    utterances: int = 1
    patience: Patience = Patience()


@dataclass(frozen=True, slots=True)
class IntoUtterance:
    """Until so much of this utterance of the agent's has been heard, or it has ended before: the next `Say` begins there, to
    the nearest frame of 20 ms.

    `utterance`: which one since the caller's last word, from 1. If the agent says fewer, until its turn is over.
    """

    heard_ms: float
    utterance: int = 1
    patience: Patience = Patience()


@dataclass(frozen=True, slots=True)
class GoOn:
    """Until `gap_ms` after the caller's own last word or key, or the beginning of the call, in which the agent does not
    speak. If it does, until its turn is over and `answer_gap_ms` longer.
    """

    gap_ms: float
    answer_gap_ms: float = 500.0
    patience: Patience = Patience()


@dataclass(frozen=True, slots=True)
class StayOnLine:
    """Until the agent hangs up, which ends the script in order; the caller hangs up himself after so long."""

    seconds_max: float = 20.0


@dataclass(frozen=True, slots=True)
class Pause:
    ms: float


@dataclass(frozen=True, slots=True)
class Press:
    """Press a key; what the agent says from then on is its answer."""

    digit: Digit


@dataclass(frozen=True, slots=True)
class Until:
    """Until this is so. `what`: what has not happened when it times out, such as "been asked for a key"."""

    condition: Callable[[], bool]
    what: str
    timeout_s: float = 20.0


@dataclass(frozen=True, slots=True)
class HangUp:
    pass


TakesTurn: TypeAlias = AfterTurn | IntoUtterance | GoOn
_LEAVE = (AfterTurn, GoOn, StayOnLine, HangUp)
Step: TypeAlias = Say | WaitForAgent | InterruptAfter | TakesTurn | Pause | Press | Until | StayOnLine | HangUp


class Handset(Protocol):
    """What a caller holds: a `SimulatedPhone`, or a line of a simulated telephone network."""

    @property
    def started_at(self) -> float | None: ...

    @property
    def playback(self) -> Loudspeaker: ...

    @property
    def speaks_from(self) -> float:
        """When what is said now begins."""
        ...

    def speak(self, mulaw: bytes) -> tuple[float, float]:
        """Say this, after what is being said; returns when it begins and ends."""
        ...

    def press(self, digit: Digit, now: float) -> None: ...

    def hang_up(self, now: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Said:
    """The caller spoke. Times of the phone's clock."""

    label: str
    start: float
    end: float


class ScriptedCaller:
    """Goes through the steps and hangs up after the last, or when one of them takes too long (`failure` says which)."""

    def __init__(self, steps: Sequence[Step], phone: Handset) -> None:
        """`phone`: one whose stream has started."""
        if phone.started_at is None:
            raise MisuseError("start the phone before its caller")
        self.ear = Ear(phone.playback, phone.started_at)
        self._utterances = Utterances(phone.playback, self.ear)
        self.said: list[Said] = []
        self.failure: str | None = None
        self._phone = phone
        self._steps = tuple(steps)
        self._index = 0
        self._entered_at = phone.started_at  # when the current step began
        self._answered_from = phone.started_at  # what the agent says from here on answers the caller
        self._saying: Said | None = None

    @property
    def finished(self) -> bool:
        """All steps are done, or one has failed."""
        return self.failure is not None or self._index == len(self._steps)

    @property
    def step(self) -> str:
        """Where the script stands, for messages: `step 2 of 5, WaitForAgent`."""
        if self._index == len(self._steps):
            return "after the last step"
        return f"step {self._index + 1} of {len(self._steps)}, {type(self._steps[self._index]).__name__}"

    def advance(self, now: float) -> None:
        """Do all that the script asks for up to now."""
        self.ear.listen(now)
        self._utterances.listen(now)
        while not self.finished and self._is_done(self._steps[self._index], now):
            self._index += 1
            self._entered_at = now
        if self.finished:
            self._phone.hang_up(now)

    def give_up(self, why: str) -> None:
        """The call ended from outside; a `failure` unless the script was finished or waited for that, or its caller had
        nothing left to do but to take leave."""
        if not self.finished and not all(isinstance(step, _LEAVE) for step in self._steps[self._index :]):
            self._fail(why)

    def _fail(self, why: str) -> None:
        self.failure = f"{self.step}: {why}"

    def _is_done(self, step: Step, now: float) -> bool:
        """True when the next step may begin."""
        match step:
            case Say():
                return self._say(step, now)
            case WaitForAgent():
                sound = self._answer
                done = sound is not None and now - sound.end >= step.quiet_ms / 1000
                return done or self._times_out(step.timeout_s, now, "has not finished an answer")
            case InterruptAfter():
                sound = self._answer
                done = sound is not None and sound.end - sound.start >= step.heard_ms / 1000
                return done or self._times_out(step.timeout_s, now, f"has not been heard for {step.heard_ms:g} ms")
            case AfterTurn() | IntoUtterance() | GoOn():
                return self._takes_turn(step, now)
            case StayOnLine():
                return now - self._entered_at >= step.seconds_max
            case Pause():
                return now - self._entered_at >= step.ms / 1000
            case Press():
                self._phone.press(step.digit, now)
                self._answered_from = now
                return True
            case Until():
                return step.condition() or self._times_out(step.timeout_s, now, f"has not {step.what}")
            case HangUp():
                return True
        assert_never(step)

    def _takes_turn(self, step: TakesTurn, now: float) -> bool:
        begins = self._phone.speaks_from + HALF_FRAME_S  # of what is said now, to the nearest frame
        heard = self._utterances.since(self._answered_from)
        match step:
            case GoOn() if not heard:
                return begins - self._answered_from >= step.gap_ms / 1000
            case GoOn():
                done = self._turn_is_over(heard, 1, step.patience, now)
                done = done and begins - heard[-1].end >= step.answer_gap_ms / 1000
            case AfterTurn():
                done = self._turn_is_over(heard, step.utterances, step.patience, now)
                done = done and begins - heard[-1].end >= step.gap_ms / 1000
            case IntoUtterance() if len(heard) < step.utterance:
                done = self._turn_is_over(heard, step.utterance, step.patience, now)
                done = done and now >= heard[-1].end
            case IntoUtterance():
                utterance = heard[step.utterance - 1]
                done = begins - utterance.start >= step.heard_ms / 1000 or _has_ended(utterance, step.patience, now)
        return done or self._times_out(step.patience.timeout_s, now, "has not had its turn")

    def _turn_is_over(self, heard: Sequence[Utterance], expected: int, patience: Patience, now: float) -> bool:
        """The agent has spoken, and whatever it will say before the caller does is at the phone."""
        if not heard:
            return False
        quiet_ms = (now - heard[-1].end) * 1000
        if quiet_ms >= patience.long_ms:
            return True
        if patience.is_busy is not None and patience.is_busy():
            return False
        return len(heard) >= expected or quiet_ms >= patience.short_ms

    @property
    def _answer(self) -> Audible | None:
        return self.ear.heard_since(self._answered_from)

    def _say(self, step: Say, now: float) -> bool:
        if self._saying is None:
            self._saying = Said(step.label, *self._phone.speak(step.mulaw))
        if now < self._saying.end:
            return False
        self.said.append(self._saying)
        self._answered_from = self._saying.end
        self._saying = None
        return True

    def _times_out(self, timeout_s: float, now: float, what: str) -> bool:
        """Never done; sets `failure` once the time is up."""
        if now - self._entered_at >= timeout_s:
            self._fail(f"the agent {what} within {timeout_s:g} s")
        return False


def _has_ended(utterance: Utterance, patience: Patience, now: float) -> bool:
    """Nothing more of it will come."""
    if patience.is_busy is None:
        return now - utterance.end >= GAP_S
    return now >= utterance.end and not patience.is_busy()
