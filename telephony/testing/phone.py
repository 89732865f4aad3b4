"""What Twilio and the caller's handset do with a media stream, as a pure machine in any clock.

The same phone serves virtual time (simulations, `phone_call`, the fast demo) and, inside `telephony.testing.caller`, real
time on a real socket.

    for frame in phone.start(now): send(frame)          # connected, start
    phone.receive(frame, now)                           # whenever the server sends something
    for frame in phone.advance(now): send(frame)        # at phone.next_event_at() at the latest

Caller audio goes out as 20 ms frames with Twilio's numbering for as long as the call lasts, silence when nothing is said.
Source: https://www.twilio.com/docs/voice/media-streams/websocket-messages
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from random import Random

from realtime_bridge.audio.g711 import MULAW_SILENCE
from realtime_bridge.errors import MisuseError
from telephony.playout import BYTES_PER_S
from telephony.testing.playback import MarkEcho, Playback
from telephony.twilio.media_stream import PhoneSideWriter, decode_command
from telephony.twilio.messages import ClearAudio, Digit, PlayMark, PlayMedia, WrongStreamError

FRAME_MS = 20
FRAME_S = FRAME_MS / 1000
FRAME_BYTES = 160


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong on this phone's line; chances from 0 to 1, drawn per frame or per mark.

    `media_lost`: a frame of caller audio never comes (the timestamps go on). `marks_lost`: an echo never comes; 1.0 is a
    phone that never echoes. `marks_repeated`: an echo comes twice. `marks_stale`: behind an echo, an old one comes again.
    """

    media_lost: float = 0.0
    marks_lost: float = 0.0
    marks_repeated: float = 0.0
    marks_stale: float = 0.0


@dataclass(frozen=True, slots=True)
class Ids:
    """How Twilio names the call; made up, but of the right shape."""

    stream_sid: str = "MZ00000000000000000000000000000001"
    call_sid: str = "CA00000000000000000000000000000001"
    account_sid: str = "AC00000000000000000000000000000001"


class SimulatedPhone:
    """One call. Methods must be called in order of time; every time is in seconds of one monotonic clock."""

    def __init__(
        self,
        ids: Ids | None = None,
        *,
        drift_ppm: float = 0.0,
        faults: Faults | None = None,
        rng: Random | None = None,
    ) -> None:
        """`drift_ppm`: how much faster than ours the phone plays. `rng` decides when faults strike."""
        self.ids = ids or Ids()
        self.playback = Playback(drift_ppm=drift_ppm)
        self.echoes: list[MarkEcho] = []  # every mark, at the time its echo was due; faults come after this
        self.spoken = bytearray()  # mu-law of the caller since the stream began, lost frames included
        self.started_at: float | None = None
        self.ended_at: float | None = None
        self._faults = faults or Faults()
        self._rng = rng or Random(0)  # noqa: S311 - repeatable is what it must be
        self._writer = PhoneSideWriter(
            stream_sid=self.ids.stream_sid, account_sid=self.ids.account_sid, call_sid=self.ids.call_sid
        )
        self._to_say: deque[bytes] = deque()  # whole frames
        self._silent_until = float("-inf")  # no media at all before this time
        self._keys: deque[tuple[float, Digit]] = deque()
        self._hangs_up_at: float | None = None

    # ---- the line ----------------------------------------------------------------------------------------------------

    def start(self, now: float, parameters: dict[str, str] | None = None) -> list[bytes]:
        """The stream begins: its first frames. `parameters`: the TwiML's `<Parameter>` values."""
        if self.started_at is not None:
            raise MisuseError("a SimulatedPhone makes one call; make another one")
        self.started_at = now
        return [self._writer.connected(), self._writer.start(parameters)]

    def receive(self, frame: bytes | str, now: float) -> None:
        """The server sent a frame. Raises MediaStreamError for one that Twilio would not accept."""
        command = decode_command(frame)
        if command.stream_sid != self.ids.stream_sid:
            raise WrongStreamError(f"expected {self.ids.stream_sid}", where="$.streamSid")
        if self.ended_at is not None:
            return
        match command:
            case PlayMedia():
                self.playback.play(command.mulaw, now)
            case PlayMark():
                self.playback.mark(command.name, now)
            case ClearAudio():
                self.playback.clear(now)

    def next_event_at(self) -> float | None:
        """When `advance` is due. None: before the call, and after it."""
        if self.started_at is None or self.ended_at is not None:
            return None
        due = (self._frame_ends_at, self.playback.echo_due_at, self._keys[0][0] if self._keys else None)
        return min(at for at in (*due, self._hangs_up_at) if at is not None)

    def advance(self, now: float) -> list[bytes]:
        """All that happens up to now, as frames to send, in order of time."""
        frames: list[bytes] = []
        while (due_at := self.next_event_at()) is not None and due_at <= now:
            if self._keys and due_at == self._keys[0][0]:
                frames.append(self._writer.dtmf(self._keys.popleft()[1]))
            elif due_at == self._hangs_up_at:
                frames.append(self._end(due_at))
            elif echo := self.playback.take_echo(due_at):
                frames += self._echo(echo)
            else:
                frames += self._hear_caller(due_at)
        return frames

    # ---- the caller --------------------------------------------------------------------------------------------------

    @property
    def speaks_from(self) -> float:
        """When what is said now begins: after what is being said."""
        return self._next_frame_at + len(self._to_say) * FRAME_S

    def speak(self, mulaw: bytes) -> tuple[float, float]:
        """Say this, after what is being said; returns when it begins and ends."""
        begins_at = self.speaks_from
        for at in range(0, len(mulaw), FRAME_BYTES):
            self._to_say.append(mulaw[at : at + FRAME_BYTES].ljust(FRAME_BYTES, MULAW_SILENCE))
        return begins_at, begins_at + len(mulaw) / BYTES_PER_S

    def press(self, digit: Digit, now: float) -> None:
        """Press a key: 0-9, *, #, A-D."""
        self._keys.append((now, digit))

    def send_no_media_until(self, at: float) -> None:
        """The line goes dead for a while: no frames at all, and what is said meanwhile is lost."""
        self._silent_until = at

    def hang_up(self, now: float) -> None:
        """End the call; the `stop` is the last frame of the next `advance`."""
        if self._hangs_up_at is None:
            self._hangs_up_at = now

    def cut_off(self, now: float) -> None:
        """The server closed the socket: the call is over without a `stop`."""
        if self.started_at is not None and self.ended_at is None:
            self._finish(now)

    # ---- inside ------------------------------------------------------------------------------------------------------

    @property
    def _next_frame_at(self) -> float:
        """When the next 20 ms of the caller begin."""
        if self.started_at is None:
            raise MisuseError("the call has not been started: call `start` first")
        return self.started_at + len(self.spoken) // FRAME_BYTES * FRAME_S

    @property
    def _frame_ends_at(self) -> float:
        return self._next_frame_at + FRAME_S

    def _hear_caller(self, now: float) -> list[bytes]:
        timestamp_ms = len(self.spoken) // FRAME_BYTES * FRAME_MS
        frame = self._to_say.popleft() if self._to_say else MULAW_SILENCE * FRAME_BYTES
        self.spoken += frame
        if now <= self._silent_until or self._strikes(self._faults.media_lost):
            return []
        return [self._writer.media(frame, timestamp_ms)]

    def _echo(self, echo: MarkEcho) -> list[bytes]:
        self.echoes.append(echo)
        if self._strikes(self._faults.marks_lost):
            return []
        names = [echo.name]
        if self._strikes(self._faults.marks_repeated):
            names.append(echo.name)
        if self._strikes(self._faults.marks_stale):
            names.append(self._rng.choice(self.echoes).name)
        return [self._writer.mark(name) for name in names]

    def _strikes(self, chance: float) -> bool:
        return chance > 0 and self._rng.random() < chance

    def _end(self, now: float) -> bytes:
        self._finish(now)
        return self._writer.stop()

    def _finish(self, now: float) -> None:
        self.ended_at = now
        self.playback.hang_up(now)
