"""The sound of one leg of a call: what its person says and hears, 20 ms at a time, from the moment it is answered.

Pure: `advance(now)` goes through all frames that are due; `next_frame_at` says when to come again. A line takes what its
person hears from its sources (Twilio's announcements, a media stream, other lines) and gives what he says to its
listeners. All of it is kept: half a megabyte a minute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol, TypeAlias

from realtime_bridge.audio.g711 import MULAW_SILENCE
from telephony.testing.ear import Audible, Ear
from telephony.testing.playback import Playback
from telephony.testing.twilio.records import Said
from telephony.testing.twilio.sound import FRAME_BYTES, FRAME_S, RATE, SILENT_FRAME, digits_in, keys, mix
from telephony.twilio.messages import Digit

FEED_FRAMES_MAX = 4  # of another line, waiting to be heard: what is older is too late


class Source(Protocol):
    """Something a person may hear."""

    def frame(self, start: float) -> bytes | None:
        """The 20 ms from `start` on, all in the past; None: nothing. Asked once for each frame."""
        ...


FrameListener: TypeAlias = Callable[[bytes, float], None]  # (20 ms of what the person says, when they began)
KeyListener: TypeAlias = Callable[[Digit, float], None]


class Heard:
    """All that a person has heard. Indices are time: byte n of `mulaw` was heard at `started_at + n / 8000`."""

    def __init__(self, started_at: float) -> None:
        self.started_at = started_at
        self.mulaw = bytearray()
        self.said: list[Said] = []  # what Twilio said and played, as text
        self.ear = Ear(self, started_at)

    def heard(self, start: float, samples: int) -> bytes:
        """Mu-law audio, `samples` long from `start` on; silence where nothing was heard (yet)."""
        first = round((start - self.started_at) * RATE)
        piece = bytes(self.mulaw[max(first, 0) : max(first + samples, 0)])
        return (MULAW_SILENCE * min(max(-first, 0), samples) + piece).ljust(samples, MULAW_SILENCE)

    def buffered_bytes(self, now: float) -> int:
        """0 when the frame at this time is silent."""
        first = round((now - self.started_at) * RATE)
        return 0 if self.mulaw[first : first + FRAME_BYTES] in (SILENT_FRAME, b"") else FRAME_BYTES

    @property
    def audible(self) -> list[Audible]:
        """When something could be heard: sounds with less than 200 ms of silence between them count as one."""
        return self.ear.audible

    def says(self, text: str, since: float = float("-inf")) -> bool:
        """Whether Twilio has begun to say this, case aside; what a media stream says is sound only."""
        return any(text.casefold() in said.text.casefold() for said in self.said if said.start >= since)

    def digits(self) -> str:
        """The keys whose tones were heard."""
        return digits_in(bytes(self.mulaw))


class Announcer:
    """Twilio's own voice on one line: texts, sounds, tones. One after the other."""

    def __init__(self, said: list[Said]) -> None:
        self._playback = Playback()
        self._said = said
        self._current: list[Said] = []

    def play(self, mulaw: bytes, text: str, now: float) -> float:
        """Say this behind what is being said; returns when it will end. Without text, nothing is written down."""
        self._playback.play(mulaw, now)
        end = now + self._playback.buffered_bytes(now) / RATE
        if text:
            said = Said(text, end - len(mulaw) / RATE, end)
            self._said.append(said)
            self._current.append(said)
        return end

    def stop(self, now: float) -> None:
        """Fall silent at once."""
        self._playback.clear(now)
        for said in self._current:
            if said.end > now:
                said.end, said.cut = max(now, said.start), True
        self._current.clear()

    def frame(self, start: float) -> bytes | None:
        return self._playback.heard(start, FRAME_BYTES) if self._playback.buffered_bytes(start) else None


class Feed:
    """What one line says, as another hears it: 20 ms later, so that a frame may be late."""

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque([SILENT_FRAME], maxlen=FEED_FRAMES_MAX)

    def push(self, frame: bytes, _start: float) -> None:
        self._frames.append(frame)

    def frame(self, _start: float) -> bytes | None:
        return self._frames.popleft() if self._frames else None


class Line:
    """One person's telephone, answered at `started_at`. A `Handset` for scripts."""

    def __init__(self, started_at: float, *, on_hang_up: Callable[[], None]) -> None:
        self.started_at = started_at
        self.heard = Heard(started_at)
        self.spoken = bytearray()  # all that the person said, silence included
        self.keys: list[tuple[float, Digit]] = []  # that he pressed
        self.announcer = Announcer(self.heard.said)
        self.behaviour: Callable[[float], None] | None = None  # called after each frame
        self.sources: list[Source] = [self.announcer]
        self.listeners: list[FrameListener] = []
        self.key_listeners: list[KeyListener] = []
        self.muted = False
        self._frames = 0
        self._to_say: deque[bytes] = deque()
        self._on_hang_up = on_hang_up

    @property
    def next_frame_at(self) -> float:
        return self.started_at + (self._frames + 1) * FRAME_S

    @property
    def playback(self) -> Heard:
        """What a script listens to."""
        return self.heard

    def advance(self, now: float) -> None:
        """All frames that have ended by now."""
        while self.next_frame_at <= now:
            self._frame(self.started_at + self._frames * FRAME_S)

    @property
    def speaks_from(self) -> float:
        return self.started_at + (self._frames + len(self._to_say)) * FRAME_S

    def speak(self, mulaw: bytes) -> tuple[float, float]:
        """The person says this, after what he is saying; returns when it begins and ends."""
        begins_at = self.speaks_from
        for at in range(0, len(mulaw), FRAME_BYTES):
            self._to_say.append(mulaw[at : at + FRAME_BYTES].ljust(FRAME_BYTES, MULAW_SILENCE))
        return begins_at, begins_at + len(mulaw) / RATE

    def press(self, digit: Digit, now: float) -> None:
        """The person presses a key: 0-9, *, #, A-D."""
        self.keys.append((now, digit))
        for listener in tuple(self.key_listeners):
            listener(digit, now)

    def hang_up(self, _now: float) -> None:
        """The person hangs up."""
        self._on_hang_up()

    def send_digits(self, digits: str, now: float) -> float:
        """Twilio presses keys into this line; returns when they are through. Raises MisuseError for what is no key."""
        return self.announcer.play(keys(digits), "", now)

    def _frame(self, start: float) -> None:
        self._frames += 1
        said = self._to_say.popleft() if self._to_say else SILENT_FRAME
        self.spoken += said
        for listener in tuple(self.listeners):
            listener(SILENT_FRAME if self.muted else said, start)
        parts = [part for source in tuple(self.sources) if (part := source.frame(start)) is not None]
        self.heard.mulaw += mix(parts) if parts else SILENT_FRAME
        if self.behaviour is not None:
            self.behaviour(start + FRAME_S)
        else:
            self.heard.ear.listen(start + FRAME_S)


def join(one: Line, other: Line) -> Callable[[], None]:
    """Let two people hear each other; returns what parts them again."""
    feeds = ((one, other, Feed()), (other, one, Feed()))
    for speaker, listener, feed in feeds:
        speaker.listeners.append(feed.push)
        listener.sources.append(feed)

    def part() -> None:
        for speaker, listener, feed in feeds:
            if feed in listener.sources:
                speaker.listeners.remove(feed.push)
                listener.sources.remove(feed)

    return part
