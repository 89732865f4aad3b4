"""The agent's utterances, as a caller takes turns by them: each from its first to its last sound, with short gaps in it.

Other than the ear, which hears, this also knows how much is still to come: the phone has it already. So it tells a pause
between two sentences from the end of both, as people do by the words.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from telephony.playout import BYTES_PER_S
from telephony.testing.ear import WINDOW_S, Ear, Loudspeaker

GAP_S = 0.3  # a shorter one, when a network falters or the model is slow, does not end an utterance


@dataclass(slots=True)
class Utterance:
    """`end`: when all that has come of it will have been played; a barge-in or more audio may move it."""

    start: float
    end: float


class Utterances:
    """What one loudspeaker plays. Call `listen` often, right when audio comes above all; behind the ear's own."""

    def __init__(self, loudspeaker: Loudspeaker, ear: Ear) -> None:
        self._loudspeaker = loudspeaker
        self._ear = ear
        self._all: list[Utterance] = []

    def listen(self, now: float) -> None:
        buffered = self._loudspeaker.buffered_bytes(now)
        last_end = self._all[-1].end if self._all else -inf
        if buffered:
            self._note(now, now + buffered / BYTES_PER_S)
        elif last_end > now:
            self._all[-1].end = now  # what was still to come was thrown away
        elif self._ear.audible and (heard := self._ear.audible[-1]).end > last_end + WINDOW_S:
            self._note(heard.start, heard.end)  # on a line that does not tell what it has yet to play

    def since(self, at: float) -> list[Utterance]:
        """Those that ended later, in order."""
        return [utterance for utterance in self._all if utterance.end > at]

    def _note(self, start: float, end: float) -> None:
        last = self._all[-1] if self._all else None
        if last is not None and start - last.end < GAP_S:
            last.end = end
        else:
            self._all.append(Utterance(start, end))
