"""The caller of a recorded call, who can call again: what she said and when, told by what the agent said.

    caller = RecordedCaller.from_tape(path)
    result = run_virtual(place_virtual_call(switchboard.answer, caller.steps()))

When she spoke is kept as people take turns: so long after the agent's turn, so far into one of its utterances, or after a
pause of her own. So she meets an agent of other words, too: she lets it finish, and interrupts it at the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Self

from realtime_bridge.tape import TapeKeys
from telephony.testing.script import HangUp, Press, Say, StayOnLine, Step, TakesTurn
from telephony.trials.caller_turns import CallerTurn, turns_of
from telephony.trials.taped_call import NOTHING_TAPED, CallSetting, TapedDeeds, read_taped_call

LABEL_CHARS_MAX: Final = 60
SCRIPT_S_MAX: Final = 600.0  # what a scripted call is taken to last


@dataclass(frozen=True, slots=True)
class RecordedCaller:
    """`turns`: what she said and which keys she pressed, in order. `hangs_up`: when; None: she stays on the line until the
    other side hangs up. `deeds`: what the agent of the recorded call did, where that is known; `setting`: how that call was
    made; `seconds`: how long it was, or may be. `name`: whence she is. `paused_ms`: when the
    recording was paused, so that what she said and did then is not known. `script`: what a caller does who was never recorded.
    """

    turns: tuple[CallerTurn, ...]
    hangs_up: TakesTurn | None
    deeds: TapedDeeds = NOTHING_TAPED
    setting: CallSetting = field(default_factory=CallSetting)
    seconds: float = SCRIPT_S_MAX
    name: str = ""
    paused_ms: tuple[float, ...] = ()
    script: Sequence[Step] | None = None

    @classmethod
    def from_tape(cls, path: Path, keys: TapeKeys | None = None) -> Self:
        """Reads the whole tape. Raises OSError, TapeError and ProtocolError, as `verify_tape` does."""
        call = read_taped_call(path, keys)
        turns, hangs_up = turns_of(call.sound)
        return cls(
            turns=turns,
            hangs_up=hangs_up,
            deeds=call.deeds,
            setting=call.setting,
            seconds=call.seconds,
            name=str(path),
            paused_ms=call.paused_ms,
        )

    @classmethod
    def of_script(cls, script: Sequence[Step]) -> Self:
        """A caller who was never recorded."""
        return cls(turns=(), hangs_up=None, script=script)

    @property
    def presses_keys(self) -> bool:
        return any(turn.key is not None for turn in self.turns) or any(
            isinstance(step, Press) for step in self.script or ()
        )

    def steps(self, is_busy: Callable[[], bool] | None = None) -> list[Step]:
        """Her script. `is_busy` tells whether the agent is still at work: see `Patience`."""
        if self.script is not None:
            return list(self.script)
        steps: list[Step] = []
        for number, turn in enumerate(self.turns, start=1):
            steps.append(_told(turn.begins, is_busy))
            if turn.key is not None:
                steps.append(Press(turn.key))
            else:
                steps.append(Say(turn.mulaw, turn.text[:LABEL_CHARS_MAX] or f"turn {number}"))
        if self.hangs_up is None:
            return [*steps, StayOnLine()]
        return [*steps, _told(self.hangs_up, is_busy), HangUp()]


def _told(begins: TakesTurn, is_busy: Callable[[], bool] | None) -> TakesTurn:
    return replace(begins, patience=replace(begins.patience, is_busy=is_busy))
