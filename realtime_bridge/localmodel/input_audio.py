"""The input audio buffer: what the caller said and the server has not yet made an item of.

Positions are milliseconds from the start of all audio of the session, as the API's offsets are. With turn detection the
buffer keeps a turn from its beginning, and between turns only as much as the next one may reach back for.
"""

from __future__ import annotations

from realtime_bridge.localmodel.formats import DetectorFeed, FormatName, bytes_per_ms
from realtime_bridge.localmodel.parts import Vad
from realtime_bridge.localmodel.turns import SpeechPaused, TurnDetector, TurnEvent, TurnSettings

# Kept between turns: the longest prefix padding, and the time a turn takes to be noticed.
_BETWEEN_TURNS_MS = 11_000


class InputAudio:
    def __init__(self, vad: Vad, audio_format: FormatName, settings: TurnSettings | None) -> None:
        self._format = audio_format
        self._feed = DetectorFeed(audio_format)
        self._detector = TurnDetector(vad, settings)
        self._audio = bytearray()
        self._begin = 0  # position of the first byte in `_audio`, as if all had come in this format

    @property
    def format(self) -> FormatName:
        return self._format

    @property
    def ms(self) -> float:
        """Length of what is in the buffer."""
        return len(self._audio) / bytes_per_ms(self._format)

    @property
    def end_ms(self) -> int:
        """Where the audio appended so far ends."""
        return (self._begin + len(self._audio)) // bytes_per_ms(self._format)

    @property
    def speaking(self) -> bool:
        return self._detector.speaking

    def configure(self, audio_format: FormatName, settings: TurnSettings | None) -> None:
        """Take over changed settings. Another format empties the buffer: its bytes would be read wrongly."""
        if audio_format != self._format:
            self.take_all()
            self._begin = self.end_ms * bytes_per_ms(audio_format)
            self._format = audio_format
            self._feed = DetectorFeed(audio_format)
        if settings != self._detector.settings:
            self._detector.settings = settings

    def append(self, audio: bytes) -> list[TurnEvent]:
        """`audio`: whole samples in the input format."""
        self._audio += audio
        events = self._detector.feed(self._feed.samples(audio))
        if self._detector.settings is not None and not events and not self._detector.speaking:
            self._let_go(self.end_ms - _BETWEEN_TURNS_MS)
        return events

    def wait_for_more(self, pause: SpeechPaused, patience_ms: int) -> list[TurnEvent]:
        return self._detector.wait_for_more(pause, patience_ms)

    def take_all(self) -> bytes:
        """Empty the buffer, and forget an open turn."""
        self._detector.drop_turn()
        audio = bytes(self._audio)
        self._begin += len(audio)
        self._audio.clear()
        return audio

    def take(self, start_ms: int, end_ms: int) -> bytes:
        """One turn's audio; all that lies before `end_ms` leaves the buffer."""
        turn = self.peek(start_ms, end_ms)
        self._let_go(end_ms)
        return turn

    def peek(self, start_ms: int, end_ms: int) -> bytes:
        return bytes(self._audio[self._index(start_ms) : self._index(end_ms)])

    def _let_go(self, before_ms: int) -> None:
        size = min(self._index(before_ms), len(self._audio))
        del self._audio[:size]
        self._begin += size

    def _index(self, position_ms: int) -> int:
        return max(position_ms * bytes_per_ms(self._format) - self._begin, 0)
