"""The caller's ear: when the agent is audible, judged by the energy of what the phone really plays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from realtime_bridge.audio.g711 import mulaw_to_pcm16

WINDOW_S = 0.020
WINDOW_SAMPLES = 160
AUDIBLE_RMS_MIN = 180.0  # of 32768, -45 dBFS: above a synthesizer's breath and mu-law noise, below soft speech
PAUSE_S = 0.200  # shorter silence lies between syllables and does not end a span


class Loudspeaker(Protocol):
    """What an ear is held to: a `Playback`, or the whole sound of a telephone line."""

    def buffered_bytes(self, now: float) -> int:
        """0 when nothing can be audible at this time."""
        ...

    def heard(self, start: float, samples: int) -> bytes:
        """Mu-law audio, `samples` long from `start` on."""
        ...


@dataclass(frozen=True, slots=True)
class Audible:
    """The agent could be heard from `start` to `end`, without a pause of PAUSE_S or more."""

    start: float
    end: float


class Ear:
    """Listens to one loudspeaker. Call `listen` often; times are those of the loudspeaker's clock."""

    def __init__(self, playback: Loudspeaker, starts_at: float) -> None:
        self._playback = playback
        self._listened_until = starts_at
        self.audible: list[Audible] = []

    def listen(self, now: float) -> None:
        """Hear all whole windows of 20 ms up to now."""
        while self._listened_until + WINDOW_S <= now:
            start = self._listened_until
            self._listened_until = start + WINDOW_S
            if self._is_loud(start):
                self._note(start, self._listened_until)

    def heard_since(self, since: float) -> Audible | None:
        """First to last sound that ended after `since`: what the agent has said from then on; None: nothing yet."""
        later = [span for span in self.audible if span.end > since]
        return Audible(max(later[0].start, since), later[-1].end) if later else None

    def _is_loud(self, start: float) -> bool:
        if self._playback.buffered_bytes(start) == 0:
            return False
        sound = np.frombuffer(mulaw_to_pcm16(self._playback.heard(start, WINDOW_SAMPLES)), np.int16)
        return float(np.sqrt(np.square(sound.astype(np.float64)).mean())) >= AUDIBLE_RMS_MIN

    def _note(self, start: float, end: float) -> None:
        if self.audible and start - self.audible[-1].end < PAUSE_S:
            start = self.audible.pop().start
        self.audible.append(Audible(start, end))
