"""Which words a caller heard of an item that was cut short.

The model sends words and audio interleaved, and the words usually run some way ahead. So each piece of transcript is
remembered with the audio that had arrived before it: its words cannot begin earlier. How far ahead the words run (the
lead) is learned from items that are complete: it is the audio that came after the last piece, less the time that piece
takes to say. Between two remembered points speech is taken to be even. A model may send all its words at once: where
their audio has not all come, they are taken to be said as fast as those of complete items were. A ceiling on the rate of
speech catches what is left.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_CHARS_PER_S_MAX = 30.0  # fast English speech is about 20 characters a second
_RATE_SLACK = 1.25  # speech is not even
_LEAD_MS_MAX = 10_000.0
_WORD = re.compile(r"\s*\S+")
_WHOLE_WORD_CHARS_MAX = 24  # longer runs have no spaces (Chinese, Thai): they are cut inside


@dataclass(slots=True)
class Spoken:
    """One spoken part of an assistant's item: its words, and how much audio had come before each piece of them."""

    pieces: list[tuple[int, str]] = field(default_factory=list)  # (audio_ms before it, words)
    text: str = ""  # all pieces
    audio_ms: int = 0
    complete: bool = False  # all its audio has come
    stopped: bool = False  # interrupted while it grew: audio that still comes is not heard

    def add(self, words: str) -> None:
        self.pieces.append((self.audio_ms, words))
        self.text += words

    def settle(self, transcript: str) -> None:
        """The whole transcript is known: add what is missing of it; replace what differs."""
        known = self.text
        if transcript.startswith(known):
            if len(transcript) > len(known):
                self.add(transcript[len(known) :])
        else:
            self.pieces, self.text = [(0, transcript)], transcript

    def sure_ms(self, chars: int) -> int | None:
        """Audio that cannot hold more than the first `chars` characters; None when that is all of it so far."""
        seen = 0
        for before_ms, words in self.pieces:
            seen += len(words)
            if seen > chars:
                return before_ms
        return None


class Lead:
    """How far a model's words run ahead of its audio, in ms, and how fast it speaks; learned from complete items."""

    def __init__(self) -> None:
        self.ms = 0.0
        self._chars = 0
        self._audio_ms = 0

    @property
    def chars_per_s(self) -> float:
        """What it speaks, at most."""
        if not self._audio_ms:
            return _CHARS_PER_S_MAX
        return min(_CHARS_PER_S_MAX, _RATE_SLACK * self._chars / self._audio_ms * 1000)

    def learn(self, spoken: Spoken) -> None:
        text = spoken.text
        if not spoken.pieces or not text or spoken.audio_ms <= 0:
            return
        self._chars += len(text)
        self._audio_ms += spoken.audio_ms
        last_ms = max(before for before, _ in spoken.pieces)
        last_chars = sum(len(words) for before, words in spoken.pieces if before == last_ms)
        said_in = spoken.audio_ms * last_chars / len(text)
        self.ms = min(max(0.0, spoken.audio_ms - last_ms - said_in), _LEAD_MS_MAX)


def heard_text(spoken: Spoken, heard_ms: int, lead_ms: float, chars_per_s: float = _CHARS_PER_S_MAX) -> str:
    """The words of the first `heard_ms` of an item; "" when nothing was heard. Whole words, without trailing space."""
    text = spoken.text
    if heard_ms <= 0 or not text:
        return ""
    if spoken.complete and heard_ms >= spoken.audio_ms:
        return text
    chars = min(_chars_at(spoken, heard_ms, lead_ms, chars_per_s), heard_ms / 1000 * _CHARS_PER_S_MAX, float(len(text)))
    return _whole_words(text, chars)


def _chars_at(spoken: Spoken, at_ms: int, lead_ms: float, chars_per_s: float) -> float:
    """How many characters have been said at `at_ms`, by straight lines between the known points."""
    points = [(0.0, 0.0)]
    chars: float = 0
    for before_ms, words in spoken.pieces:
        # The first words start with the audio, however early they came.
        start = before_ms + lead_ms if before_ms > 0 else 0.0
        if start > points[-1][0]:
            points.append((start, float(chars)))
        chars += len(words)
    if spoken.complete:
        end_ms = float(spoken.audio_ms)
    else:
        # More was to come: the words before the last audio are said by its end, and by the lead after it.
        end_ms = spoken.audio_ms + lead_ms
        chars = sum(len(words) for before_ms, words in spoken.pieces if before_ms < spoken.audio_ms)
    points = [point for point in points if point[0] < end_ms]
    if not spoken.complete and points:
        begin_ms, begin_chars = points[-1]
        chars = min(chars, begin_chars + (end_ms - begin_ms) / 1000 * chars_per_s)
    points.append((end_ms, float(chars)))
    t0, c0 = points[0]
    for t1, c1 in points[1:]:
        if at_ms <= t1:
            return c0 + (c1 - c0) * (at_ms - t0) / (t1 - t0)
        t0, c0 = t1, c1
    return c0


def _whole_words(text: str, chars: float) -> str:
    """The words of which at least half lies within the first `chars` characters."""
    end = 0
    for word in _WORD.finditer(text):
        length = len(word.group().lstrip())
        if length > _WHOLE_WORD_CHARS_MAX:
            end = max(end, min(word.end(), int(chars)))
        elif word.end() - length / 2 <= chars:
            end = word.end()
        if word.end() > chars:
            break
    return text[:end]
