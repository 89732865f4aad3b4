"""How a call is ended: when the caller has heard the goodbye, once, and within a time that is known.

A goodbye is what the agent is saying when the hang-up is asked for, or words given along, or, where the agent has said
nothing since the caller spoke, words of its own. It is over when the phone echoes the mark behind it. Then the call is
ended by Twilio's API, or by closing the stream where that cannot be done.

A caller who speaks into the goodbye of an agent is not hung up on: the hang-up is withdrawn, and the agent may ask for
it again. An end that must be (the call's time is up) cannot be withdrawn: the caller is not listened to any more.

Pure: the time is an argument (seconds, monotonic). What it returns is to be done at once, in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TypeAlias

END_S_MAX = 3.0  # from Twilio's word that the call is over to the end of its stream


@dataclass(frozen=True, slots=True, kw_only=True)
class HangUp:
    """A wish to end the call. `words`: the goodbye; None: whatever the agent says of itself. `final`: see above."""

    reason: str
    words: str | None = None
    after_goodbye: bool = True
    final: bool = False


@dataclass(frozen=True, slots=True)
class SayWords:
    """Have the agent say this; answer with `said`."""

    text: str


class Do(Enum):
    STOP_LISTENING = "the model hears the caller no more"
    MARK = "find out when all up to here has been heard; answer with `heard`"
    END_CALL = "end the call by Twilio's API, where there is a way to it; answer with `ended`"
    CLOSE_STREAM = "close the media stream"
    WITHDRAW = "the call goes on, as the caller spoke; tell the agent"


Command: TypeAlias = SayWords | Do


class _Phase(Enum):
    NONE = "nobody has hung up"
    TALKING = "the agent is saying something, to be waited for"
    SAYING = "the agent was told what to say"
    HEARING = "all is said, the caller has yet to hear it"
    ENDING = "Twilio has been asked to end the call"
    OVER = "the stream is being closed, or has been"


class Ending:
    """The end of one call. `request` says why it ends, as soon as that is certain to be wanted."""

    def __init__(self, *, goodbye: str, seconds_max: float, wait_s: float, rest_s_max: float) -> None:
        """`goodbye`: words for an agent that has none. `seconds_max`: for all of it up to its end. `wait_s`: the longest
        silence before the goodbye. `rest_s_max`: for Twilio's API."""
        self.request: HangUp | None = None
        self._goodbye = goodbye
        self._seconds_max = seconds_max
        self._wait_s = wait_s
        self._rest_s_max = rest_s_max
        self._phase = _Phase.NONE
        self._began = 0.0
        self._due_at = inf

    @property
    def in_progress(self) -> bool:
        return self._phase is not _Phase.NONE

    @property
    def before_its_words_are_out(self) -> bool:
        """The agent has yet to come to the end of its goodbye."""
        return self._phase in (_Phase.TALKING, _Phase.SAYING)

    @property
    def certain(self) -> bool:
        """Nothing can withdraw it any more."""
        return self._phase in (_Phase.ENDING, _Phase.OVER) or (self.request is not None and self.request.final)

    def next_deadline(self, silent_since: float) -> float:
        """`silent_since`: since when nothing of the agent's has been heard; now, while it is."""
        if self._phase in (_Phase.TALKING, _Phase.SAYING, _Phase.HEARING):
            return min(self._due_at, max(silent_since, self._began) + self._wait_s)
        return self._due_at

    def begin(self, request: HangUp, now: float, *, talks: bool, has_answered: bool) -> list[Command]:
        """`talks`: the agent is saying something. `has_answered`: it has, since the caller spoke.

        A second wish hastens the first, or makes it final; it is never carried out beside it.
        """
        if self._phase in (_Phase.ENDING, _Phase.OVER):
            return []
        commands: list[Command] = []
        hurried = self.in_progress and not request.after_goodbye
        becomes_final = request.final and not (self.request is not None and self.request.final)
        if becomes_final:
            commands.append(Do.STOP_LISTENING)
        if self.in_progress and not (hurried or becomes_final):
            return []
        self.request = request
        if not request.after_goodbye:
            return [*commands, *self._end(now)]
        if self._phase is _Phase.NONE:
            self._began, self._due_at = now, now + self._seconds_max
        if request.words is not None:
            self._phase = _Phase.SAYING
            return [*commands, SayWords(request.words)]
        if self._phase is _Phase.NONE:
            self._phase = _Phase.TALKING
            if not talks:
                commands += self.fell_silent(has_answered=has_answered)
        return commands

    def fell_silent(self, *, has_answered: bool) -> list[Command]:
        """The agent has come to the end of what it was saying; whether the caller has heard it is another matter."""
        if self._phase is not _Phase.TALKING:
            return []
        if has_answered:
            self._phase = _Phase.HEARING
            return [Do.MARK]
        self._phase = _Phase.SAYING
        return [SayWords(self._goodbye)]

    def said(self) -> list[Command]:
        """What the agent was told to say is said, or will not be."""
        if self._phase is not _Phase.SAYING:
            return []
        self._phase = _Phase.HEARING
        return [Do.MARK]

    def heard(self, now: float) -> list[Command]:
        """The caller has heard all that there was to hear."""
        return self._end(now) if self._phase is _Phase.HEARING else []

    def caller_spoke_into_it(self) -> list[Command]:
        """A barge-in."""
        if self._phase not in (_Phase.TALKING, _Phase.SAYING, _Phase.HEARING) or self.certain:
            return []
        self._phase, self.request, self._due_at = _Phase.NONE, None, inf
        return [Do.WITHDRAW]

    def ended(self, now: float, *, by_twilio: bool) -> list[Command]:
        """Twilio has ended the call, or could not; its stream is about to close in the first case."""
        if self._phase is not _Phase.ENDING:
            return []
        if by_twilio:
            self._due_at = now + END_S_MAX
            return []
        return self._close()

    def line_closed(self) -> None:
        """The stream is over, whoever ended it."""
        self._phase, self._due_at = _Phase.OVER, inf

    def due(self, silent_since: float, now: float) -> list[Command]:
        """To be called at `next_deadline`."""
        if now < self.next_deadline(silent_since):
            return []
        if self._phase in (_Phase.TALKING, _Phase.SAYING, _Phase.HEARING):
            return self._end(now)
        return self._close() if self._phase is _Phase.ENDING else []

    def _end(self, now: float) -> list[Command]:
        self._phase, self._due_at = _Phase.ENDING, now + self._rest_s_max
        return [Do.END_CALL]

    def _close(self) -> list[Command]:
        self._phase, self._due_at = _Phase.OVER, inf
        return [Do.CLOSE_STREAM]
