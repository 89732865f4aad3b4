"""Whether a call is being recorded at this moment: the notice first, then pauses, and perhaps an end before the call's.

Fails closed: until the caller has heard the notice nothing is recorded, and if it cannot be heard, nothing is kept. A
pause ends by itself, so that a forgotten one does not cost the rest of the call. Pure: the time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, auto
from math import inf
from typing import Literal, TypeAlias

# asked: by the agent or an operator. digits: the caller is entering something secret.
PauseReason: TypeAlias = Literal["notice", "asked", "digits", "stopped"]
State: TypeAlias = Literal["announcing", "on", "paused", "stopped", "deleted"]


class Do(Enum):
    PAUSE = auto()
    RESUME = auto()
    DELETE = auto()  # what was recorded so far, and record nothing more


class RecordingSwitch:
    def __init__(self) -> None:
        self._paused_until: dict[PauseReason, float] = {}
        self._deleted = False

    @property
    def state(self) -> State:
        if self._deleted:
            return "deleted"
        if "stopped" in self._paused_until:
            return "stopped"
        if "notice" in self._paused_until:
            return "announcing"
        return "paused" if self._paused_until else "on"

    @property
    def reason(self) -> PauseReason | None:
        """Why nothing is recorded; of several, the one that counts most."""
        order: Iterable[PauseReason] = ("stopped", "notice", "digits", "asked")
        return next((reason for reason in order if reason in self._paused_until), None)

    def announce(self) -> list[Do]:
        """The notice is to be spoken: nothing is recorded before `announced`."""
        return self._pause("notice", inf)

    def announced(self, *, heard: bool) -> list[Do]:
        if self.state != "announcing":
            return self._lift("notice")
        return self._lift("notice") if heard else self.stop(delete=True)

    def pause(self, reason: PauseReason, until: float) -> list[Do]:
        """Once more for the same reason: until then instead."""
        return self._pause(reason, until)

    def resume(self, reason: PauseReason = "asked") -> list[Do]:
        return self._lift(reason)

    def stop(self, *, delete: bool) -> list[Do]:
        """For the rest of the call. `delete`: what was recorded before, too."""
        commands = self._pause("stopped", inf)
        if delete and not self._deleted:
            self._deleted = True
            commands.append(Do.DELETE)
        return commands

    def due(self, now: float) -> list[Do]:
        """Pauses whose time is up."""
        return [do for reason in self._over(now) for do in self._lift(reason)]

    def next_deadline(self) -> float:
        return min(self._paused_until.values(), default=inf)

    def _over(self, now: float) -> list[PauseReason]:
        return [reason for reason, until in self._paused_until.items() if now >= until]

    def _pause(self, reason: PauseReason, until: float) -> list[Do]:
        was_on = not self._paused_until
        self._paused_until[reason] = until
        return [Do.PAUSE] if was_on else []

    def _lift(self, reason: PauseReason) -> list[Do]:
        lifted = self._paused_until.pop(reason, None) is not None
        return [Do.RESUME] if lifted and not self._paused_until else []
