"""What a caller does, as people write it down: words, recordings, keys, silence, interruptions. Pure.

    script = ["Where is my order?", InterruptAt("Tuesday"), "Stop, please.", Press("1"), HangUp()]

Text is said when it is the caller's turn, after the agent has finished; behind a step that waits (`InterruptAt`,
`InterruptAfter`, `Pause` and the like) it is said at once. Keys are pressed and the call is hung up in the same way.
`spoken_steps` makes the steps of a `ScriptedCaller` of it, once there is a voice to say the words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from realtime_bridge.errors import MisuseError
from telephony.testing.script import (
    AfterTurn,
    HangUp,
    Patience,
    Press,
    Say,
    StayOnLine,
    Step,
    Until,
)

TURN_GAP_MS = 500.0  # between the agent's last word and the caller's first
LABEL_CHARS_MAX = 60
_PLAIN_STEPS = (HangUp, Press, Say, StayOnLine)  # that wait for nothing themselves


@dataclass(frozen=True, slots=True)
class InterruptAt:
    """Until the agent's answer has come to this word (or these); what follows is said into the rest.

    The script fails when the agent has not said it within `timeout_s`.
    """

    words: str
    timeout_s: float = 20.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """Recorded speech, said like text. `mulaw`: 8 kHz; `text`: what is said in it, for where no speech is recognised."""

    mulaw: bytes
    text: str = ""


CallerStep: TypeAlias = str | InterruptAt | Recorded | Step


class CallerVoice(Protocol):
    """How a scripted caller speaks."""

    def say(self, text: str) -> bytes:
        """Mu-law at 8 kHz."""
        ...

    def play(self, recorded: Recorded) -> bytes:
        """Recorded speech as it goes over the line. Raises MisuseError when nobody could understand it."""
        ...


@dataclass(frozen=True, slots=True)
class AgentEar:
    """What a scripted caller cannot tell by the sound alone. `is_busy`: the agent is still at work on its turn (see
    `Patience`); `has_said`: these words have been heard in its last answer."""

    is_busy: Callable[[], bool] | None
    has_said: Callable[[str], bool]


def spoken_steps(script: Sequence[CallerStep], voice: CallerVoice, ear: AgentEar | None = None) -> list[Step]:
    """Raises MisuseError for what is no step. A caller who does not hang up listens to the last answer, then does."""
    patience = Patience(is_busy=ear.is_busy if ear else None)
    steps: list[Step] = []
    waits = presses = False  # a step has said when the next one comes; keys follow each other
    for number, step in enumerate(script, start=1):
        match step:
            case InterruptAt() if ear is None:
                raise MisuseError(f"step {number}: this caller cannot tell words: use InterruptAfter")
            case InterruptAt(words, timeout_s):
                said = _said(ear, words)
                steps.append(Until(said, f"said {words!r}", timeout_s))
                waits = True
                continue
            case str() if not step.strip():
                raise MisuseError(f"step {number}: there is nothing to say in {step!r}")
            case str():
                spoken: Step = Say(voice.say(step), step[:LABEL_CHARS_MAX])
            case Recorded():
                spoken = Say(voice.play(step), step.text[:LABEL_CHARS_MAX] or f"step {number}")
            case _ if isinstance(step, _PLAIN_STEPS):
                spoken = step
            case _ if isinstance(step, Step):
                steps.append(step)
                waits = True
                continue
            case _:
                raise MisuseError(f"step {number}: {step!r} is nothing that a caller can do")
        if not waits and not (presses and isinstance(step, Press)):
            steps.append(AfterTurn(TURN_GAP_MS, patience=patience))
        steps.append(spoken)
        waits, presses = False, isinstance(step, Press)
    if not any(isinstance(step, HangUp | StayOnLine) for step in script[-1:]):
        steps += [AfterTurn(TURN_GAP_MS, patience=patience), HangUp()]
    return steps


def _said(ear: AgentEar | None, words: str) -> Callable[[], bool]:
    assert ear is not None
    return lambda: ear.has_said(words)
