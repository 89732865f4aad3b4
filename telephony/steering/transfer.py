"""One transfer of a caller to a person, step by step: cold (Twilio dials, and we are gone) or warm (the person is asked).

Warm: the caller is put on hold and stays on our stream; a second call goes to the person, who hears a summary and takes
the call with the key 1. Then both are put into one conference. Whatever else happens (nobody answers, an answering
machine, another key, no key, an error, time), the caller comes back to the agent, who is told why.

Cold: Twilio is told to dial, which ends our stream. When nobody answers, Twilio asks our webhook what follows, and the
caller comes back to the agent in a new stream.

Pure: the time is an argument (seconds, monotonic). What it returns is to be done at once, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final, Literal, TypeAlias

Outcome: TypeAlias = Literal[
    "connected", "declined", "no_answer", "busy", "failed", "too_late", "withdrawn", "caller_gone", "not_possible"
]

# Final states of a call; https://www.twilio.com/docs/voice/api/call-resource#call-status-values
_OUTCOME_OF_STATUS: Final[dict[str, Outcome]] = {
    "busy": "busy",
    "no-answer": "no_answer",
    "canceled": "no_answer",
    "failed": "failed",
    "completed": "declined",  # the person, or an answering machine, was there and did not press 1
}
_TOLD: Final[dict[Outcome, str]] = {
    "connected": "The caller is connected.",
    "declined": "The person did not take the call.",
    "no_answer": "Nobody answered.",
    "busy": "The line is busy.",
    "failed": "The call to the person could not be made.",
    "too_late": "The person did not take the call in time.",
    "withdrawn": "The transfer was called off.",
    "caller_gone": "The caller has hung up.",
    "not_possible": "Transfers are not possible at the moment.",
}
ANNOUNCED_S_MAX: Final = 20.0  # for the agent's words about the transfer to be heard
ACCEPT_KEY: Final = "1"
TRANSFERRED: Final = "transferred"  # how a call ends that was moved on


@dataclass(frozen=True, slots=True)
class TransferResult:
    """How a transfer ended. `message`: in a sentence, for the agent."""

    outcome: Outcome
    message: str

    @property
    def connected(self) -> bool:
        return self.outcome == "connected"


@dataclass(frozen=True, slots=True)
class EndLeg:
    """End the call to the person: it is not wanted any more."""

    call_sid: str


@dataclass(frozen=True, slots=True)
class Finish:
    """The transfer is over."""

    result: TransferResult


class Do(Enum):
    MARK = "find out when the caller has heard what the agent says; answer with `announced`"
    HOLD = "the caller waits, and hears so"
    DIAL = "let Twilio dial the person for the caller; answer with `moved`"
    PLACE = "call the person; answer with `placed` or `refused`"
    JOIN = "put the caller into the conference; answer with `moved`"
    TAKE_BACK = "caller and agent hear each other again"
    BRING_BACK = "let Twilio bring the caller to the agent again, in a new stream"


Command: TypeAlias = Do | EndLeg | Finish


class _Phase(Enum):
    ANNOUNCING = "the agent tells the caller"
    PLACING = "Twilio is asked to call the person"
    ASKING = "the person's phone rings, or the person is asked"
    MOVING = "Twilio is told what to do with the caller"
    OVER = "nothing is left to do"


class Transfer:
    """`consult_s`: the longest that a caller waits in a warm transfer. `move_s`: for Twilio's API."""

    def __init__(self, *, warm: bool, consult_s: float, move_s: float, now: float) -> None:
        self._warm = warm
        self._consult_s = consult_s
        self._move_s = move_s
        self._phase = _Phase.ANNOUNCING
        self._due_at = now + ANNOUNCED_S_MAX
        self._leg: str | None = None
        self._on_hold = False

    @property
    def over(self) -> bool:
        return self._phase is _Phase.OVER

    @property
    def accepted(self) -> bool:
        """The person has taken the call."""
        return self._warm and self._phase is _Phase.MOVING

    def next_deadline(self) -> float:
        return self._due_at

    def begin(self) -> list[Command]:
        return [Do.MARK]

    def announced(self, now: float) -> list[Command]:
        """The caller has heard that the transfer comes."""
        if self._phase is not _Phase.ANNOUNCING:
            return []
        if not self._warm:
            self._phase, self._due_at = _Phase.MOVING, now + self._move_s
            return [Do.DIAL]
        self._phase, self._due_at = _Phase.PLACING, now + self._consult_s
        self._on_hold = True
        return [Do.HOLD, Do.PLACE]

    def placed(self, call_sid: str) -> list[Command]:
        """The person's phone is going to ring."""
        if self._phase is _Phase.PLACING:
            self._leg = call_sid
            self._phase = _Phase.ASKING
            return []
        return [EndLeg(call_sid)] if self._phase is _Phase.OVER else []

    def refused(self, why: str) -> list[Command]:
        """The person cannot be called."""
        return self._give_up("failed", why) if self._phase is _Phase.PLACING else []

    def answered(self, key: str, now: float) -> tuple[bool, list[Command]]:
        """The person has pressed this key ("": none). (whether the call is theirs, what to do)"""
        if self._phase is _Phase.MOVING and key == ACCEPT_KEY:
            return self._warm, []  # a repeated webhook
        if self._phase not in (_Phase.PLACING, _Phase.ASKING):
            return False, []
        if key != ACCEPT_KEY:
            self._leg = None  # it ends by itself
            return False, self._give_up("declined")
        self._phase, self._due_at = _Phase.MOVING, now + self._move_s
        return True, [Do.JOIN]

    def leg_status(self, status: str) -> list[Command]:
        """Twilio tells of the call to the person. Repeated and late ones change nothing."""
        outcome = _OUTCOME_OF_STATUS.get(status)
        if outcome is None or self._phase not in (_Phase.PLACING, _Phase.ASKING, _Phase.MOVING) or not self._warm:
            return []
        self._leg = None
        if self._phase is _Phase.MOVING:
            return []  # the caller is on the way already: `moved` tells
        return self._give_up(outcome)

    def moved(self, why_not: str | None = None) -> list[Command]:
        """Twilio has the caller now; or has refused, and the caller is still with us."""
        if self._phase is not _Phase.MOVING:
            # The stream has ended meanwhile, as it does when Twilio moves the caller. Here Twilio did not.
            return self._end_leg() if why_not is not None else []
        if why_not is not None:
            return self._give_up("failed", why_not)
        if self._warm and self._leg is None:
            return [Do.BRING_BACK, *self._finish(TransferResult("declined", _TOLD["declined"]))]
        return self._finish(TransferResult("connected", _TOLD["connected"]))

    def caller_gone(self) -> list[Command]:
        """The caller has hung up, or the call has been ended."""
        if self._phase is _Phase.OVER:
            return []
        if self._phase is _Phase.MOVING:
            return self._finish(
                TransferResult("connected", _TOLD["connected"])
            )  # our stream ends when Twilio moves them
        return self._give_up("caller_gone")

    def withdraw(self) -> list[Command]:
        """The caller is wanted back. Too late once the person has accepted."""
        return [] if self._phase in (_Phase.MOVING, _Phase.OVER) else self._give_up("withdrawn")

    def due(self, now: float) -> list[Command]:
        """To be called at `next_deadline`."""
        if now < self._due_at or self._phase is _Phase.OVER:
            return []
        if self._phase is _Phase.ANNOUNCING:
            return self.announced(now)
        return self._give_up("failed" if self._phase is _Phase.MOVING else "too_late")

    def _give_up(self, outcome: Outcome, why: str = "") -> list[Command]:
        commands = self._end_leg()
        if self._on_hold and outcome != "caller_gone":
            commands.append(Do.TAKE_BACK)
        told = _TOLD[outcome] if not why else f"{_TOLD[outcome]} ({why})"
        return commands + self._finish(TransferResult(outcome, told))

    def _end_leg(self) -> list[Command]:
        leg, self._leg = self._leg, None
        return [] if leg is None else [EndLeg(leg)]

    def _finish(self, result: TransferResult) -> list[Command]:
        self._phase, self._due_at = _Phase.OVER, inf
        return [Finish(result)]


def not_possible(why: str) -> TransferResult:
    return TransferResult("not_possible", f"{_TOLD['not_possible']} {why}")
