"""Where things stand in the picture of a call: the time axis, how wide words are, how boxes keep out of each other's way.

SVG neither wraps text nor tells its size, and the viewer's fonts are not known. So widths are estimated, after a wide
font (DejaVu Sans): with any other, words only stand a little looser.
"""

from __future__ import annotations

import math
import unicodedata
from bisect import insort
from dataclasses import dataclass, field
from functools import lru_cache

LEFT, RIGHT = 116.0, 1172.0  # of the time axis; names stand left of it
TIP_CHARS_MAX = 1000  # of what the pointer shows; call.json has it all
ROW_MS_MIN = 15_000
ROWS_LONG = ((120_000, 15_000), (360_000, 20_000))  # a call of up to this has rows of about that
ROW_MS_OF_LONGEST = 30_000

_WIDTHS_EM = (
    ("iljI|.,:;'!` ", 0.33),
    ('frt()[]{}/\\-"*', 0.43),
    ("mwMW@%&—", 0.98),
)
_WIDTH_EM = {character: width for characters, width in _WIDTHS_EM for character in characters}
_CAPITAL_EM = 0.72
_WIDE_EM = 1.05  # Chinese, Japanese, Korean, most emoji, and the sign for what cannot be shown
_OTHER_EM = 0.635
BOLD = 1.13  # how much wider bold letters are


@dataclass(frozen=True, slots=True)
class Row:
    """A stretch of the call that is drawn from left to right."""

    start_ms: int
    length_ms: int

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.length_ms

    @property
    def ms_wide(self) -> float:
        """Of one millisecond."""
        return (RIGHT - LEFT) / self.length_ms

    def x(self, ms: float) -> float:
        """Where this moment stands."""
        return LEFT + (ms - self.start_ms) * self.ms_wide

    def holds(self, ms: float) -> bool:
        return self.start_ms <= ms < self.end_ms

    def meets(self, start_ms: float, end_ms: float) -> bool:
        """Whether something that lasted from here to there is seen in this row."""
        return start_ms < self.end_ms and end_ms >= self.start_ms


def rows_of(duration_ms: int) -> list[Row]:
    """The call in rows of one length, the last one filled as well as can be in whole seconds."""
    about_ms = next((row_ms for longest_ms, row_ms in ROWS_LONG if duration_ms <= longest_ms), ROW_MS_OF_LONGEST)
    count = max(1, math.ceil(duration_ms / about_ms - 0.25))  # a quarter of a row more is no reason for another
    length_ms = max(ROW_MS_MIN, math.ceil(duration_ms / count / 1000) * 1000)
    return [Row(start_ms, length_ms) for start_ms in range(0, max(1, duration_ms), length_ms)]


def text_width(text: str, size: float) -> float:
    """How wide `text` is, at most, in a font of `size` pixels."""
    return size * sum(map(_character_em, text))


@lru_cache(maxsize=4096)
def _character_em(character: str) -> float:
    known = _WIDTH_EM.get(character)
    if known is not None:
        return known
    if character.isupper():
        return _CAPITAL_EM
    wide = unicodedata.east_asian_width(character) in "WF" or not character.isprintable()
    return _WIDE_EM if wide else _OTHER_EM


def shorten(text: str, width: float, size: float) -> str:
    """`text`, or as much of its beginning as fits into `width` with an ellipsis."""
    room = width - text_width("…", size)
    used, fits = 0.0, 0  # characters that fit before an ellipsis
    for count, character in enumerate(text, 1):
        used += size * _character_em(character)
        if used <= room:
            fits = count
        if used > width:  # the rest is not looked at: a tool's arguments may be megabytes
            return text[:fits].rstrip() + "…"
    return text


@dataclass(slots=True)
class Shelf:
    """Boxes side by side where they fit, further out where they do not."""

    gap: float
    height: float = 0.0  # of all that has been placed
    _boxes: list[tuple[float, float, float, float]] = field(default_factory=list)  # (low, high, left, right), sorted

    def place(self, left: float, right: float, height: float) -> float:
        """How far out a box of this size has to stand so that it touches none of those before."""
        offset = 0.0
        for low, high, x0, x1 in self._boxes:
            if offset + height <= low:
                break
            if left < x1 + self.gap and x0 < right + self.gap:
                offset = max(offset, high)
        insort(self._boxes, (offset, offset + height, left, right))
        self.height = max(self.height, offset + height)
        return offset
