"""Caller to model: every millisecond of the call, once, in order, without waiting.

A model's turn detection counts the audio it is given, not the clock. So audio that the phone did not send must be made
up with silence, or the end of the caller's turn is never found: a gap by the phone's own timestamps is filled when the
next audio comes, a stall (nothing comes at all) while it lasts. Timestamps are believed as far as time has passed.

Until the model is ready the audio is held. A model that takes another's place is also given the last of what that one
heard: the caller may have begun to speak, and nobody noticed yet.

Pure: the time is an argument (seconds, monotonic).
"""

from __future__ import annotations

from collections import deque
from math import inf

import pybase64

from realtime_bridge.audio.g711 import MULAW_SILENCE
from realtime_bridge.audio.transcode import Transcoder
from realtime_bridge.wire import append_frame
from telephony.twilio.messages import Media

BYTES_PER_MS = 8
HELD_MS_MAX = 30_000  # for as long as a lost model is tried again
GAP_MS_MIN = 10  # timestamps may wobble by less than a frame
AHEAD_MS_MAX = 500.0  # so much longer than the time that has passed may a gap be: the network was slow before it
AHEAD_SHARE = 0.1  # of the time that passes is how fast this is granted anew
STALL_S = 0.200  # longer than any jitter worth calling so
STALL_STEP_MS = 100
REPEATED_MS = 400  # a model notices speech that has lasted for less
APPEND_MS_MAX = 1000  # held audio goes out in pieces, so that no single frame is huge


class CallerAudio:
    """One call's caller audio on its way to the model. Methods return `input_audio_buffer.append` frames to send."""

    def __init__(self, transcoder: Transcoder) -> None:
        self.muted = False
        self.stalls_at = inf  # when `stall` should be called, if no media comes before
        self._transcoder = transcoder
        self._passes_through = transcoder.model_format == "pcmu"
        self._ready = False
        self._held: deque[bytes] = deque()
        self._held_ms = 0.0
        self._expected_ms: float | None = None  # timestamp the next media should carry
        self._made_up_ms = 0.0  # silence sent since the last media
        self._came_at = 0.0  # the last media
        self._ahead_ms = AHEAD_MS_MAX  # left of that
        self._latest: deque[bytes] = deque()  # given to the model, and no turn that is over
        self._latest_bytes = 0
        self.lost_ms = 0.0  # held audio that had to make room
        self.unfilled_ms = 0.0  # of gaps that cannot have lasted so long

    def media(self, media: Media, now: float) -> list[bytes]:
        """Audio came from the phone."""
        mulaw = media.mulaw
        frames: list[bytes] = []
        if self._expected_ms is not None:
            gap_ms = media.timestamp_ms - self._expected_ms - self._made_up_ms
            if gap_ms > GAP_MS_MIN:
                passed_ms = (now - self._came_at) * 1000 - self._made_up_ms - len(mulaw) / BYTES_PER_MS
                frames = self._fill(gap_ms, max(0.0, passed_ms))
        self._expected_ms = media.timestamp_ms + len(mulaw) / BYTES_PER_MS
        self._made_up_ms = 0.0
        self._ahead_ms = min(AHEAD_MS_MAX, self._ahead_ms + (now - self._came_at) * 1000 * AHEAD_SHARE)
        self._came_at = now
        self.stalls_at = now + STALL_S
        if self._passes_through and self._ready and not self.muted:
            frames.append(append_frame(media.payload))
            self._remember(mulaw)
        else:
            frames += self._give(MULAW_SILENCE * len(mulaw) if self.muted else mulaw)
        return frames

    def stall(self, now: float) -> list[bytes]:
        """To be called at `stalls_at`: nothing has come for a while, so silence is sent in its place."""
        if now < self.stalls_at:
            return []
        self.stalls_at = now + STALL_STEP_MS / 1000
        step_ms = STALL_STEP_MS if self._made_up_ms else round(STALL_S * 1000)
        self._made_up_ms += step_ms
        return self._give(MULAW_SILENCE * (step_ms * BYTES_PER_MS))

    def model_ready(self) -> list[bytes]:
        """The model listens: what was held goes out."""
        self._ready = True
        held = b"".join(self._held)
        self._held.clear()
        self._held_ms = 0.0
        self._remember(held)
        step = APPEND_MS_MAX * BYTES_PER_MS
        return [self._append(held[i : i + step]) for i in range(0, len(held), step)]

    def model_gone(self) -> None:
        """The model does not listen; audio is held until it does, the newest half minute of it."""
        if self._ready and self._latest:
            self._hold(b"".join(self._latest))
            self.turn_ended()
        self._ready = False

    def turn_ended(self) -> None:
        """What the model has been given so far, it has dealt with."""
        self._latest.clear()
        self._latest_bytes = 0

    def _fill(self, gap_ms: float, passed_ms: float) -> list[bytes]:
        filled_ms = min(gap_ms, passed_ms + self._ahead_ms)
        self._ahead_ms -= max(0.0, filled_ms - passed_ms)
        self.unfilled_ms += gap_ms - filled_ms
        return self._give(MULAW_SILENCE * round(filled_ms * BYTES_PER_MS))

    def _give(self, mulaw: bytes) -> list[bytes]:
        if not mulaw:
            return []
        if self._ready:
            self._remember(mulaw)
            return [self._append(mulaw)]
        self._hold(mulaw)
        return []

    def _remember(self, mulaw: bytes) -> None:
        if not mulaw:
            return
        self._latest.append(mulaw)
        self._latest_bytes += len(mulaw)
        while self._latest_bytes - len(self._latest[0]) >= REPEATED_MS * BYTES_PER_MS:
            self._latest_bytes -= len(self._latest.popleft())

    def _hold(self, mulaw: bytes) -> None:
        self._held.append(mulaw)
        self._held_ms += len(mulaw) / BYTES_PER_MS
        while self._held_ms > HELD_MS_MAX and len(self._held) > 1:
            dropped_ms = len(self._held.popleft()) / BYTES_PER_MS
            self._held_ms -= dropped_ms
            self.lost_ms += dropped_ms

    def _append(self, mulaw: bytes) -> bytes:
        return append_frame(pybase64.b64encode(self._transcoder.to_model(mulaw)))
