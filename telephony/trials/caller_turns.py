"""Finds the caller's turns in the sound of a recorded call, and how each began.

A turn is speech, and a little quiet around it. Where it begins is told by the agent: after its turn, inside one of its
utterances, or neither. Which speech is cut where does not matter for that: the piece of sound is laid at the same place of
the agent's speech again, with all that is in it.

All times are milliseconds of the phone's clock, whose 0 is the first sample of the caller.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import numpy as np

from realtime_bridge.audio.g711 import mulaw_to_pcm16
from realtime_bridge.localmodel.parts import Samples, Vad
from realtime_bridge.localmodel.silero import SileroVad
from realtime_bridge.localmodel.turns import SpeechStarted, SpeechStopped, TurnDetector, TurnSettings
from telephony.playout import BYTES_PER_MS
from telephony.testing.script import AfterTurn, GoOn, IntoUtterance, Patience, TakesTurn
from telephony.testing.utterances import GAP_S
from telephony.twilio.messages import Digit

FRAME_MS: Final = 20
LEAD_MS: Final = 200  # of quiet before what is taken for speech
TAIL_MS: Final = 300  # and behind it: shorter pauses lie inside a turn
OWN_PAUSE_MS: Final = 1000  # between two pieces of speech of one turn, if the agent is silent meanwhile
LAST_SYLLABLE_MS: Final = 300  # who begins that shortly before the agent's end lets it finish
ONSET_MS: Final = 600  # from a caller's first sound until the model has said that she speaks, at most
PIECE_BYTES: Final = 80_000  # ten seconds, as samples: a call of hours must not be in memory as such
LOUD_MIN: Final = 500  # of 32768
PATIENCE: Final = Patience()


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` to `end`."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Spoken:
    """Something that the model heard the caller say: about when, and what."""

    span: Span
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSound:
    """Both sides of a call, as the phone had them.

    `caller`: mu-law from time 0 on. `agent`: when the phone played something of the agent's, in order. `planned`: at some
    moments, in order, until when it would play what it had. `hung_up`: when the caller did; None: the other side did.
    """

    caller: bytes
    agent: Sequence[Span]
    planned: Sequence[tuple[float, float]] = ()
    keys: Sequence[tuple[float, Digit]] = ()
    spoken: Sequence[Spoken] = ()
    hung_up: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerTurn:
    """Something said (`mulaw`, and its `text` where it is known) or a `key` pressed. `at_ms`: when, in the recorded call."""

    begins: TakesTurn
    at_ms: float
    mulaw: bytes = field(default=b"", repr=False)
    text: str = ""
    key: Digit | None = None


def turns_of(
    sound: CallSound, vad_factory: Callable[[], Vad] = SileroVad
) -> tuple[tuple[CallerTurn, ...], TakesTurn | None]:
    """The caller's turns in order, and when she hangs up."""
    reckoning = _Reckoning(sound)
    pieces = _pieces(sound, reckoning, vad_factory)
    events: list[tuple[float, Span | Digit]] = [(piece.start, piece) for piece in pieces]
    events += list(sound.keys)
    texts = _texts(pieces, sound.spoken)
    turns = []
    for at_ms, what in sorted(events, key=lambda event: event[0]):
        if isinstance(what, Span):
            begins = reckoning.begins(at_ms, at_ms + LEAD_MS)
            reckoning.answered_from = what.end
            mulaw = sound.caller[round(what.start * BYTES_PER_MS) : round(what.end * BYTES_PER_MS)]
            turns.append(CallerTurn(begins=begins, at_ms=at_ms, mulaw=mulaw, text=texts.get(what.start, "")))
        else:
            begins = reckoning.begins(at_ms, at_ms)
            reckoning.answered_from = max(reckoning.answered_from, at_ms)
            turns.append(CallerTurn(begins=begins, at_ms=at_ms, key=what))
    hangs_up = None if sound.hung_up is None else reckoning.begins(sound.hung_up, sound.hung_up)
    return tuple(turns), hangs_up


def utterances_of(spans: Iterable[Span]) -> list[Span]:
    """The agent's utterances, by the gaps that `telephony.testing.utterances` goes by."""
    joined: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start):
        if joined and span.start - joined[-1].end < GAP_S * 1000:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        else:
            joined.append(span)
    return joined


class _Reckoning:
    """Tells how something of the caller's began. To be asked in order of time."""

    def __init__(self, sound: CallSound) -> None:
        self.utterances = utterances_of(sound.agent)
        self.answered_from = 0.0  # the end of the caller's last word
        self._planned = sound.planned

    def begins(self, at_ms: float, first_sound_ms: float) -> TakesTurn:
        heard = [u for u in self.utterances if u.end > self.answered_from and u.start < at_ms]
        if not heard:
            return GoOn(max(0.0, at_ms - self.answered_from))
        patience, last = self._patience(heard, at_ms), heard[-1]
        end = max(last.end, self._planned_end(at_ms)) if last.end >= at_ms else last.end
        if end - first_sound_ms > LAST_SYLLABLE_MS:
            return IntoUtterance(at_ms - last.start, len(heard), patience)
        return AfterTurn(at_ms - end, len(heard), patience)

    def is_silent(self, span: Span) -> bool:
        """The agent was, all the time."""
        return not any(u.start < span.end and u.end > span.start for u in self.utterances)

    def _planned_end(self, at_ms: float) -> float:
        index = bisect_right(self._planned, at_ms, key=lambda moment: moment[0]) - 1
        return self._planned[index][1] if index >= 0 else 0.0

    def _patience(self, heard: Sequence[Span], at_ms: float) -> Patience:
        """At least half as much again as in the recorded call."""
        pauses = [later.start - earlier.end for earlier, later in pairwise(heard)]
        longest = 1.5 * max([*pauses, at_ms - heard[-1].end])
        waited_s = (heard[0].start - self.answered_from) / 1000
        return Patience(
            short_ms=max(PATIENCE.short_ms, 1.5 * max(pauses, default=0.0)),
            long_ms=max(PATIENCE.long_ms, longest),
            timeout_s=max(PATIENCE.timeout_s, 1.5 * waited_s, (at_ms - self.answered_from) / 1000 + PATIENCE.timeout_s),
        )


def _pieces(sound: CallSound, reckoning: _Reckoning, vad_factory: Callable[[], Vad]) -> list[Span]:
    """What the caller said, piece by piece, to whole frames."""
    found = _found(sound, _speech(sound.caller, vad_factory()))
    end = len(sound.caller) / BYTES_PER_MS
    pieces: list[Span] = []
    for piece in sorted(found, key=lambda piece: piece.start):
        start = piece.start // FRAME_MS * FRAME_MS
        whole = Span(start, min(end, -(-piece.end // FRAME_MS) * FRAME_MS))
        if pieces and (whole.start <= pieces[-1].end or _goes_on(pieces[-1], whole, reckoning)):
            pieces[-1] = Span(pieces[-1].start, max(pieces[-1].end, whole.end))
        else:
            pieces.append(whole)
    return pieces


def _found(sound: CallSound, speech: Iterable[Span]) -> list[Span]:
    """The model's word on what was one utterance goes before our own, which knows better where it began."""
    spoken = (_loud(sound.caller, Span(max(0.0, s.span.start - ONSET_MS), s.span.end)) for s in sound.spoken)
    found = [piece for piece in spoken if piece is not None]
    for piece in speech:
        same = [number for number, other in enumerate(found) if piece.start < other.end and other.start < piece.end]
        if not same:
            found.append(piece)
        elif len(same) == 1:
            other = found[same[0]]
            found[same[0]] = Span(min(piece.start, other.start), max(piece.end, other.end))
    return found


def _goes_on(earlier: Span, later: Span, reckoning: _Reckoning) -> bool:
    return later.start - earlier.end < OWN_PAUSE_MS and reckoning.is_silent(Span(earlier.end, later.start))


def _loud(caller: bytes, about: Span) -> Span | None:
    """What can be heard there, and a little quiet around it. None: nothing, as where the recording was paused."""
    start, end = round(about.start * BYTES_PER_MS), round(about.end * BYTES_PER_MS)
    samples = np.frombuffer(mulaw_to_pcm16(caller[start:end]), np.int16)
    loud = np.flatnonzero(np.abs(samples.astype(np.int32)) >= LOUD_MIN)
    if not loud.size:
        return None
    first, last = (about.start + int(place) / BYTES_PER_MS for place in (loud[0], loud[-1]))
    return Span(max(0.0, first - LEAD_MS), last + TAIL_MS)


def _speech(caller: bytes, vad: Vad) -> list[Span]:
    detector = TurnDetector(vad, TurnSettings(prefix_padding_ms=LEAD_MS, silence_duration_ms=TAIL_MS))
    found: list[Span] = []
    start: int | None = None
    for event in (event for piece in _in_pieces(caller) for event in detector.feed(piece)):
        match event:
            case SpeechStarted(audio_start_ms):
                start = audio_start_ms
            case SpeechStopped(audio_end_ms) if start is not None:
                found.append(Span(start, audio_end_ms))
                start = None
            case _:
                pass
    if start is not None:
        found.append(Span(start, len(caller) / BYTES_PER_MS))
    return found


def _in_pieces(mulaw: bytes) -> Iterator[Samples]:
    for at in range(0, len(mulaw), PIECE_BYTES):
        pcm16 = np.frombuffer(mulaw_to_pcm16(mulaw[at : at + PIECE_BYTES]), np.int16)
        yield pcm16.astype(np.float32) / np.float32(32768)


def _texts(pieces: Sequence[Span], spoken: Iterable[Spoken]) -> dict[float, str]:
    """What was said in each piece, by the piece's start."""
    texts: dict[float, str] = {}
    for heard in spoken:
        before = [piece for piece in pieces if piece.start <= heard.span.start <= piece.end + ONSET_MS]
        if heard.text and before:
            start = before[-1].start
            texts[start] = f"{texts[start]} {heard.text}" if start in texts else heard.text
    return texts
