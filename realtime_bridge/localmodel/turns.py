"""When the caller's turn begins and ends, told from the audio alone; what `turn_detection` of the Realtime API asks for.

Pure: time is the number of samples fed, so the same audio gives the same events whatever the sizes of its chunks.

    quiet --(evidence of speech)--> SpeechStarted --> speaking --(silence_duration_ms of silence)--> SpeechStopped

`server_vad` ends a turn after a fixed silence. `semantic_vad` waits longer when the words so far seem unfinished: the
detector then reports a `SpeechPaused` early in the silence; the server has the words recognised, asks `patience_ms` how
long to wait for more, and hands that to `TurnDetector.wait_for_more`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.parts import Samples, Vad

SAMPLE_RATE = 8000
_SAMPLES_PER_MS = SAMPLE_RATE // 1000

# A turn starts when, of the last few windows, the newest is speech, another is half as likely to be, and together they
# are worth two at the threshold. One alone (a click, a knock) is not enough. With Silero's 32 ms windows this is 80 ms
# after the first sound (the median of 200 telephone utterances, fed 20 ms at a time): early enough for barge-in.
_START_WINDOWS = 3
# Speech goes on while the probability stays above threshold - 0.15, as in Silero's own VADIterator: the ends of words
# are softer than their beginnings.
_HYSTERESIS = 0.15
_CONTINUE_PROBABILITY_MIN = 0.05
# A telephone left beside a television never falls silent. What follows is the next turn.
TURN_MS_MAX = 120_000


@dataclass(frozen=True, slots=True)
class TurnSettings:
    """`server_vad` of the Realtime API, with its defaults (openai/types/realtime/realtime_audio_input_turn_detection.py).

    `pause_ms`: report `SpeechPaused` after this much silence; None reports none.
    """

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500
    pause_ms: int | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise MisuseError(f"threshold must be from 0.0 to 1.0, got {self.threshold}")
        if self.prefix_padding_ms < 0:
            raise MisuseError(f"prefix_padding_ms must not be negative, got {self.prefix_padding_ms}")
        if self.silence_duration_ms < 0:
            raise MisuseError(f"silence_duration_ms must not be negative, got {self.silence_duration_ms}")
        if self.pause_ms is not None and self.pause_ms < 0:
            raise MisuseError(f"pause_ms must not be negative, got {self.pause_ms}")


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """`audio_start_ms`: where the turn's audio begins, prefix padding included; from the start of all audio fed."""

    audio_start_ms: int


@dataclass(frozen=True, slots=True)
class SpeechPaused:
    """The caller is silent, the turn still open. The audio from `audio_start_ms` to `audio_end_ms` is what was said."""

    audio_start_ms: int
    audio_end_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """`audio_end_ms`: where the turn's audio ends, the silence that ended it included."""

    audio_end_ms: int


TurnEvent: TypeAlias = SpeechStarted | SpeechPaused | SpeechStopped


@dataclass(slots=True)
class _OpenTurn:
    start: int  # all positions in samples from the start of all audio
    speech_end: int
    pause: SpeechPaused | None = None
    patience_ms: int | None = None  # overrides silence_duration_ms for this pause only


class TurnDetector:
    """Finds the turns in one conversation's audio.

    `settings` may be assigned at any time; None detects nothing but goes on counting time (`turn_detection: null`), and
    drops an open turn without an event.
    """

    def __init__(self, vad: Vad, settings: TurnSettings | None) -> None:
        self._vad = vad
        self._settings = settings
        self._rest: Samples = np.empty(0, np.float32)
        self._position = 0  # samples judged so far
        self._free_from = 0  # audio before this belongs to an earlier turn
        self._recent: deque[float] = deque(maxlen=_START_WINDOWS)  # their probabilities
        self._turn: _OpenTurn | None = None

    @property
    def settings(self) -> TurnSettings | None:
        return self._settings

    @settings.setter
    def settings(self, settings: TurnSettings | None) -> None:
        if settings is None:
            self.drop_turn()
        elif self._settings is None:
            self._vad.reset()  # what it remembers is older than the audio it did not hear
        self._settings = settings

    @property
    def speaking(self) -> bool:
        """Whether a turn is open: after its `SpeechStarted`, before its `SpeechStopped`."""
        return self._turn is not None

    @property
    def audio_ms(self) -> int:
        """All audio fed so far."""
        return (self._position + self._rest.size) // _SAMPLES_PER_MS

    def feed(self, audio: Samples) -> list[TurnEvent]:
        """Take more audio (8 kHz, any length) and return what it decided, in order."""
        pending = np.concatenate([self._rest, audio]) if self._rest.size else audio
        size = self._vad.window_samples
        whole = pending.size - pending.size % size
        events: list[TurnEvent] = []
        for start in range(0, whole, size):
            events += self._judge(pending[start : start + size])
        self._rest = pending[whole:].astype(np.float32)  # a copy: the caller may reuse its buffer
        return events

    def wait_for_more(self, pause: SpeechPaused, patience_ms: int) -> list[TurnEvent]:
        """End the turn once the silence of `pause` has lasted `patience_ms`, instead of `silence_duration_ms`.

        Returns the `SpeechStopped` if it has lasted that long already. Does nothing when that pause is over: the answer
        of a recogniser may come after the caller has gone on.
        """
        turn = self._turn
        if turn is None or turn.pause is not pause:
            return []
        turn.patience_ms = patience_ms
        return self._end_if_silent(turn)

    def drop_turn(self) -> None:
        """Forget an open turn without an event: its audio was committed or cleared by the client.

        If the caller is still speaking, a new turn starts at once, with none of the audio fed so far.
        """
        self._turn = None
        self._recent.clear()
        self._free_from = self._position + self._rest.size

    def _judge(self, window: Samples) -> list[TurnEvent]:
        settings = self._settings
        begin = self._position
        self._position += window.size
        if settings is None:
            return []
        probability = self._vad.probability(window)
        turn = self._turn
        if turn is None:
            return self._start_if_speech(settings, probability, begin)
        if probability >= max(settings.threshold - _HYSTERESIS, min(settings.threshold, _CONTINUE_PROBABILITY_MIN)):
            turn.speech_end = self._position
            turn.pause = turn.patience_ms = None
            return self._end_if_too_long(turn)
        return [*self._pause_if_silent(turn, settings), *self._end_if_silent(turn)]

    def _start_if_speech(self, settings: TurnSettings, probability: float, begin: int) -> list[TurnEvent]:
        recent = self._recent
        recent.append(probability)
        fair = [index for index, chance in enumerate(recent) if chance >= settings.threshold / 2]
        if probability < settings.threshold or len(fair) < 2 or sum(recent) < 2 * settings.threshold:
            return []
        onset = begin - (len(recent) - 1 - fair[0]) * self._vad.window_samples
        start = max(onset - settings.prefix_padding_ms * _SAMPLES_PER_MS, self._free_from)
        self._turn = _OpenTurn(start=start, speech_end=self._position)
        recent.clear()
        return [SpeechStarted(start // _SAMPLES_PER_MS)]

    def _pause_if_silent(self, turn: _OpenTurn, settings: TurnSettings) -> list[TurnEvent]:
        if settings.pause_ms is None or turn.pause is not None or self._silence_ms(turn) < settings.pause_ms:
            return []
        turn.pause = SpeechPaused(turn.start // _SAMPLES_PER_MS, self._position // _SAMPLES_PER_MS)
        return [turn.pause]

    def _end_if_silent(self, turn: _OpenTurn) -> list[TurnEvent]:
        assert self._settings is not None
        needed_ms = self._settings.silence_duration_ms if turn.patience_ms is None else turn.patience_ms
        if self._silence_ms(turn) < needed_ms:
            return []
        return self._end(min(turn.speech_end + needed_ms * _SAMPLES_PER_MS, self._position))

    def _end_if_too_long(self, turn: _OpenTurn) -> list[TurnEvent]:
        if self._position - turn.start < TURN_MS_MAX * _SAMPLES_PER_MS:
            return []
        return self._end(self._position)

    def _end(self, position: int) -> list[TurnEvent]:
        self._turn = None
        self._free_from = position
        return [SpeechStopped(position // _SAMPLES_PER_MS)]

    def _silence_ms(self, turn: _OpenTurn) -> int:
        return (self._position - turn.speech_end) // _SAMPLES_PER_MS
