"""When nobody speaks: ask, ask once more, say goodbye. Pure: the time is an argument (seconds, monotonic)."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TypeAlias

from telephony.steering.control_settings import SilenceSettings


@dataclass(frozen=True, slots=True)
class Prompt:
    """Say this to a silent caller."""

    text: str


@dataclass(frozen=True, slots=True)
class SayGoodbye:
    """The caller does not answer: say this, and end the call."""

    text: str


Step: TypeAlias = Prompt | SayGoodbye


class SilencePolicy:
    """Each step comes after `after_s` of silence; what the agent says in between takes its time and does not count.

    A caller who is heard begins it anew. Where a prompt never becomes audible the next step comes all the same.
    """

    def __init__(self, settings: SilenceSettings) -> None:
        self._settings = settings
        self._prompts = 0
        self._stepped_at = -inf
        self._over = settings.after_s is None

    def caller_was_heard(self) -> None:
        self._prompts = 0

    def switch_off(self) -> None:
        self._over = True

    def due_at(self, still_since: float | None) -> float:
        """When to call `due`. `still_since`: since when nothing has gone on in the call; None: something does."""
        if self._over or still_since is None:
            return inf
        return max(still_since, self._stepped_at) + (self._settings.after_s or inf)

    def due(self, still_since: float | None, now: float) -> Step | None:
        """The step that is due now, once."""
        if now < self.due_at(still_since):
            return None
        self._stepped_at = now
        if self._prompts < len(self._settings.prompts):
            self._prompts += 1
            return Prompt(self._settings.prompts[self._prompts - 1])
        self._over = True
        return SayGoodbye(self._settings.goodbye)

    def go_on(self) -> None:
        """The goodbye was withdrawn, as the caller spoke after all."""
        self._over = self._settings.after_s is None
        self._prompts = 0
