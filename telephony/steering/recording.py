"""Whether a call is being recorded at this moment: the notice first, then pauses, and perhaps an end before the call's.

Fails closed: until the caller has heard the notice nothing of theirs is recorded, and if it cannot be heard, nothing is
kept. A pause ends by itself, so that a forgotten one does not cost the rest of the call. Pure: the time is an argument.
"""

from __future__ import annotations

from enum import Enum, auto
from math import inf
from typing import Literal, TypeAlias

# asked: by the agent or an operator. digits: the caller is entering something secret.
PauseReason: TypeAlias = Literal["notice", "asked", "digits", "stopped"]
State: TypeAlias = Literal["announcing", "on", "paused", "stopped", "deleted"]


class Do(Enum):
    HIDE_CALLER = auto()  # nothing of theirs is recorded, nor heard by the agent
    SHOW_CALLER = auto()
    PAUSE = auto()
    RESUME = auto()
    DELETE = auto()  # what was recorded so far, and record nothing more


class RecordingSwitch:
    def __init__(self) -> None:
        self.announcing = False  # the notice has not been heard yet
        self._paused_until: dict[PauseReason, float] = {}
        self._deleted = False

    @property
    def state(self) -> State:
        if self._deleted:
            return "deleted"
        if "stopped" in self._paused_until:
            return "stopped"
        if self.announcing:
            return "announcing"
        return "paused" if self._paused_until else "on"

    @property
    def reason(self) -> PauseReason | None:
        """Why not everything is recorded; of several reasons, the one that counts most."""
        reasons = {*self._paused_until, *(("notice",) if self.announcing else ())}
        order: tuple[PauseReason, ...] = ("stopped", "digits", "asked", "notice")
        return next((reason for reason in order if reason in reasons), None)

    def announce(self) -> list[Do]:
        """The notice is to be spoken: nothing of the caller is recorded before `announced`."""
        self.announcing = True
        return [Do.HIDE_CALLER]

    def announced(self, *, heard: bool) -> list[Do]:
        if not self.announcing:
            return []
        self.announcing = False
        return [Do.SHOW_CALLER] if heard else [*self.stop(delete=True), Do.SHOW_CALLER]

    def pause(self, reason: PauseReason, until: float) -> list[Do]:
        """Once more for the same reason: until then instead."""
        was_on = not self._paused_until
        self._paused_until[reason] = until
        return [Do.PAUSE] if was_on and not self._deleted else []

    def resume(self, reason: PauseReason = "asked") -> list[Do]:
        lifted = self._paused_until.pop(reason, None) is not None
        return [Do.RESUME] if lifted and not self._paused_until else []

    def stop(self, *, delete: bool) -> list[Do]:
        """For the rest of the call. `delete`: what was recorded before, too."""
        if not delete:
            return self.pause("stopped", inf)
        if self._deleted:
            return []
        self._deleted = True
        self._paused_until["stopped"] = inf
        return [Do.DELETE]

    def due(self, now: float) -> list[Do]:
        """Pauses whose time is up."""
        over = [reason for reason, until in self._paused_until.items() if now >= until]
        return [do for reason in over for do in self.resume(reason)]

    def next_deadline(self) -> float:
        return min(self._paused_until.values(), default=inf)
