"""What a phone plays, and when: the truth that the bridge's books of playout are measured against.

Audio is buffered and played in order, 8 bytes to the millisecond, from the moment it arrives at an empty buffer. A mark is
echoed when the audio before it has been played, at once when there is none, and when a `clear` throws that audio away.
Source: https://www.twilio.com/docs/voice/media-streams/websocket-messages ("Send a media message", "Send a mark message",
"Send a clear message"); error 31931 for the limit of the buffer.

Pure: times are arguments, in seconds of any monotonic clock. Nothing is forgotten: a call of an hour takes some 30 MB.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from typing import Literal

from realtime_bridge.audio.g711 import MULAW_SILENCE
from telephony.playout import BYTES_PER_S

BUFFER_S_MAX = 600.0  # Twilio buffers ten minutes and throws away what exceeds them

_ROUNDING = 1e-6  # of a byte: times are floats, and the last byte of a span must not be lost to the last bit


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayedSpan:
    """Bytes [wire_start, wire_end) of all audio that ever came were played from `played_at` on."""

    wire_start: int
    wire_end: int
    played_at: float


@dataclass(frozen=True, slots=True)
class MarkEcho:
    """A mark that is due to be sent back. `cause`: its audio was played, or thrown away by a `clear`."""

    name: str
    at: float
    cause: Literal["played", "cleared"]


@dataclass(frozen=True, slots=True)
class Cleared:
    """A `clear`: all bytes from `wire` on that had come by then were thrown away, `thrown_bytes` of them.

    `heard_bytes`: all that had been heard since the stream began, less than `wire` if there was a clear before.
    """

    at: float
    wire: int
    heard_bytes: int
    thrown_bytes: int


@dataclass(slots=True)
class _Span:
    """Bytes [wire_start, wire_end) of the wire, played without a break from `starts_at` on."""

    wire_start: int
    wire_end: int
    starts_at: float
    heard_before: int  # bytes in all spans before this one


@dataclass(slots=True)
class _Mark:
    name: str
    due_at: float
    cause: Literal["played", "cleared"] = "played"


class Playback:
    """The far end of one media stream: a buffer, a loudspeaker and their history.

    Call its methods in order of time. Times handed out (`echo_due_at`, spans) hold until the next call.
    """

    def __init__(self, *, drift_ppm: float = 0.0) -> None:
        """`drift_ppm`: how much faster than ours the phone's clock runs, in parts per million."""
        self.wire = bytearray()  # every byte that ever came, in order
        self.clears: list[Cleared] = []
        self._bytes_per_s = BYTES_PER_S * (1 + drift_ppm * 1e-6)
        self._spans: list[_Span] = []
        self._starts: list[float] = []  # of the spans, for bisection
        self._marks: deque[_Mark] = deque()

    # ---- what the server sends ---------------------------------------------------------------------------------------

    def play(self, mulaw: bytes, now: float) -> None:
        """Audio arrives. What exceeds the buffer is thrown away."""
        wire_start = len(self.wire)
        self.wire += mulaw
        free = int(BUFFER_S_MAX * BYTES_PER_S) - self.buffered_bytes(now)
        kept = min(len(mulaw), max(free, 0))
        if kept == 0:
            return
        last = self._spans[-1] if self._spans else None
        ends_at = self._ends_at(last) if last else now
        if last is not None and now <= ends_at and last.wire_end == wire_start:
            last.wire_end += kept
            return
        starts_at = max(now, ends_at)
        heard_before = last.heard_before + last.wire_end - last.wire_start if last else 0
        self._spans.append(_Span(wire_start, wire_start + kept, starts_at, heard_before))
        self._starts.append(starts_at)

    def mark(self, name: str, now: float) -> None:
        """A mark arrives; it is due when everything before it has been played."""
        due_at = max(now, self._ends_at(self._spans[-1])) if self._spans else now
        self._marks.append(_Mark(name, due_at))

    def clear(self, now: float) -> None:
        """Throw away what has not been played; its marks are due at once, in order."""
        thrown = self._stop(now)
        wire = self._spans[-1].wire_end if thrown and self._spans else len(self.wire) - thrown
        self.clears.append(Cleared(at=now, wire=wire, heard_bytes=self.heard_bytes(now), thrown_bytes=thrown))
        for mark in self._marks:
            if mark.due_at > now:
                mark.due_at, mark.cause = now, "cleared"

    def hang_up(self, now: float) -> None:
        """The call is over: nothing more is heard or echoed."""
        self._stop(now)
        self._marks.clear()

    # ---- marks -------------------------------------------------------------------------------------------------------

    @property
    def echo_due_at(self) -> float | None:
        """When `take_echo` will next have one."""
        return self._marks[0].due_at if self._marks else None

    def take_echo(self, now: float) -> MarkEcho | None:
        """The next echo that is due; call again until there is none."""
        if not self._marks or self._marks[0].due_at > now:
            return None
        mark = self._marks.popleft()
        return MarkEcho(mark.name, mark.due_at, mark.cause)

    # ---- the truth ---------------------------------------------------------------------------------------------------

    def buffered_bytes(self, now: float) -> int:
        """Bytes that have come and wait to be played."""
        if not self._spans:
            return 0
        last = self._spans[-1]
        return last.heard_before + last.wire_end - last.wire_start - self.heard_bytes(now)

    def heard_bytes(self, at: float) -> int:
        """How many bytes had been played by then, of all that ever came."""
        index = bisect_right(self._starts, at) - 1
        if index < 0:
            return 0
        span = self._spans[index]
        return span.heard_before + self._played(span, at)

    def heard_bytes_of(self, wire_start: int, wire_end: int, at: float) -> int:
        """How many of the bytes [wire_start, wire_end) of the wire had been played by then."""
        return sum(
            max(0, min(wire_end, span.wire_end) - max(wire_start, span.wire_start)) for span in self.played_spans(at)
        )

    def played_spans(self, at: float) -> list[PlayedSpan]:
        """All that had been played by then, in order; what lies between two spans on the wire never was."""
        return [
            PlayedSpan(
                wire_start=span.wire_start,
                wire_end=span.wire_start + self._played(span, at),
                played_at=span.starts_at,
            )
            for span in self._spans[: bisect_right(self._starts, at)]
            if self._played(span, at)
        ]

    def heard(self, start: float, samples: int) -> bytes:
        """Mu-law audio as the caller heard it, `samples` long from `start` on; silence where nothing was played.

        Sound up to now is final, later sound may yet be cleared. With a drifting clock, ask for a second at most: inside
        one piece, samples are placed as if there were no drift.
        """
        sound = bytearray(MULAW_SILENCE * samples)
        end = start + samples / BYTES_PER_S
        for span in self._spans[max(0, bisect_right(self._starts, start) - 1) : bisect_right(self._starts, end)]:
            begins = max(start, span.starts_at)
            first = span.wire_start + round((begins - span.starts_at) * self._bytes_per_s)
            place = round((begins - start) * BYTES_PER_S)
            piece = self.wire[first : min(span.wire_end, first + samples - place)]
            sound[place : place + len(piece)] = piece
        return bytes(sound)

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _ends_at(self, span: _Span) -> float:
        return span.starts_at + (span.wire_end - span.wire_start) / self._bytes_per_s

    def _played(self, span: _Span, at: float) -> int:
        played = int((at - span.starts_at) * self._bytes_per_s + _ROUNDING)
        return min(max(played, 0), span.wire_end - span.wire_start)

    def _stop(self, now: float) -> int:
        """Drop what is unplayed; returns how many bytes that was."""
        thrown = self.buffered_bytes(now)
        while self._spans and (played := self._played(self._spans[-1], now)) < (
            self._spans[-1].wire_end - self._spans[-1].wire_start
        ):
            if played:
                self._spans[-1].wire_end = self._spans[-1].wire_start + played
                break
            self._spans.pop()
            self._starts.pop()
        return thrown
