"""What both sides of a call heard, as stereo: the caller left, the agent right.

Why it exists: the agent's audio reaches the phone long before it is played, and some of it never is. A recording that
lays it down when it was sent drifts away from the call. This one lays down what is known to have been played, when it
was played, on the same clock as the caller's audio: the phone's.

Pure: it decides which mu-law bytes lie at which sample; `recording_file` decodes and writes them. What has no audio is
silence. Memory is bounded by what has not been taken (`take`) and by what the phone may hold unplayed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from realtime_bridge.audio.g711 import MULAW_SILENCE
from realtime_bridge.errors import MisuseError

SAMPLES_PER_MS = 8
Channel: TypeAlias = Literal[0, 1]
CALLER: Channel = 0
AGENT: Channel = 1

LENGTH_MS_MAX = 4 * 3600 * 1000  # Twilio, "Call resource", TimeLimit: four hours unless asked for more
UNPLAYED_BYTES_MAX = 10 * 60 * 1000 * SAMPLES_PER_MS  # Twilio, error 31931: more than ten minutes are thrown away
# Times come in milliseconds and fractions of them. Audio that begins this close to the end of the audio before it on
# its channel follows it without a seam, for a seam would click. The error stays below this, as every piece is compared
# with its own time, not with that of the one before.
SEAM_SAMPLES = 2 * SAMPLES_PER_MS


@dataclass(slots=True)
class Placement:
    """These samples of this channel begin at `start`, counted from the phone's time 0."""

    channel: Channel
    start: int
    mulaw: bytearray

    @property
    def end(self) -> int:
        return self.start + len(self.mulaw)


class CallRecording:
    """Lays both sides of one call onto one time axis."""

    def __init__(self, *, length_ms_max: int = LENGTH_MS_MAX) -> None:
        """Audio beyond `length_ms_max` is left out: a phone that sends a wild timestamp must not fill the disk."""
        self._samples_max = length_ms_max * SAMPLES_PER_MS
        self._ends = [0, 0]  # of what is laid down, per channel
        self._placements: list[Placement] = []
        self._newest: list[Placement | None] = [None, None]  # of `_placements`, per channel
        self._pending_bytes = 0
        self._unplayed = bytearray()  # sent, and not yet known to be played
        self._unplayed_start = 0  # its place on the wire
        self._played_wire = 0  # where the last span ended
        self._lost_bytes = 0
        self._silences: list[tuple[int, int | None]] = []  # samples, from and to; the last one may be open

    @property
    def pending_bytes(self) -> int:
        """Audio that `take` would return."""
        return self._pending_bytes

    @property
    def lost_bytes(self) -> int:
        """Audio left out for a limit: the recording's length, or how much a phone can hold unplayed."""
        return self._lost_bytes

    @property
    def length_samples(self) -> int:
        return max(self._ends)

    def caller_audio(self, timestamp_ms: int, mulaw: bytes) -> None:
        """The phone sent this audio of the caller, which began at `timestamp_ms` of its clock."""
        self._place(CALLER, timestamp_ms * SAMPLES_PER_MS, mulaw)

    def agent_audio(self, mulaw: bytes) -> None:
        """This audio was sent to the phone, behind all before it."""
        self._unplayed += mulaw
        excess = len(self._unplayed) - UNPLAYED_BYTES_MAX
        if excess > 0:
            self._lost_bytes += excess
            self._forget_wire_before(self._unplayed_start + excess)

    def agent_played(self, wire_start: int, wire_end: int, at_ms: float) -> None:
        """Bytes [wire_start, wire_end) of all audio sent were played, the first one at `at_ms` of the phone's clock.

        Spans come in the order of the wire; what lies between two of them was never played. Raises MisuseError for one
        that is out of order or was not sent.
        """
        sent = self._unplayed_start + len(self._unplayed)
        if not self._played_wire <= wire_start <= wire_end <= sent:
            raise MisuseError(
                f"bytes {wire_start} to {wire_end} cannot have been played: "
                f"spans up to {self._played_wire} are known, {sent} bytes were sent"
            )
        if not math.isfinite(at_ms):
            raise MisuseError(f"audio cannot have been played at {at_ms} ms")
        self._played_wire = wire_end
        first = max(wire_start, self._unplayed_start)  # what lies before it was lost to the limit
        if first >= wire_end:
            return
        audio = self._unplayed[first - self._unplayed_start : wire_end - self._unplayed_start]
        self._forget_wire_before(wire_end)
        self._place(AGENT, round(at_ms * SAMPLES_PER_MS) + first - wire_start, audio)

    def silence_from(self, at_ms: float) -> None:
        """Both sides are silent from this time of the phone's clock, until `sound_from`."""
        self._silences.append((max(0, math.floor(at_ms * SAMPLES_PER_MS)), None))

    def sound_from(self, at_ms: float) -> None:
        """The end of that; without a beginning, nothing."""
        if self._silences and self._silences[-1][1] is None:
            self._silences[-1] = (self._silences[-1][0], math.ceil(at_ms * SAMPLES_PER_MS))

    def take(self) -> list[Placement]:
        """What has been laid down since the last call; of one channel, later ones go over earlier ones."""
        taken, self._placements = self._placements, []
        self._newest = [None, None]
        self._pending_bytes = 0
        return taken

    def _forget_wire_before(self, wire: int) -> None:
        del self._unplayed[: wire - self._unplayed_start]
        self._unplayed_start = wire

    def _place(self, channel: Channel, start: int, audio: bytes | bytearray) -> None:
        end = self._ends[channel]
        if abs(start - end) <= SEAM_SAMPLES:
            start = end
        kept = audio[max(0, -start) : max(0, self._samples_max - start)]
        self._lost_bytes += len(audio) - len(kept)
        if not kept:
            return
        start = max(0, start)
        kept = self._silenced(start, kept)
        self._ends[channel] = max(end, start + len(kept))
        self._pending_bytes += len(kept)
        newest = self._newest[channel]
        if newest is not None and newest.end == start:
            newest.mulaw += kept
        else:
            newest = Placement(channel, start, bytearray(kept))
            self._newest[channel] = newest
            self._placements.append(newest)

    def _silenced(self, start: int, audio: bytes | bytearray) -> bytes | bytearray:
        end = start + len(audio)
        for silence_start, silence_end in self._silences:
            first, last = max(start, silence_start), end if silence_end is None else min(end, silence_end)
            if first < last:
                audio = bytearray(audio)
                audio[first - start : last - start] = MULAW_SILENCE * (last - first)
        return audio
