"""Where things stand in the picture of a call: the time axis, how wide words are, how boxes keep out of each other's way.

SVG neither wraps text nor tells its size, and the viewer's fonts are not known. So widths are estimated, after a wide
font (DejaVu Sans): with any other, words only stand a little looser.
"""

from __future__ import annotations

import unicodedata
from bisect import insort
from dataclasses import dataclass, field
from functools import lru_cache

ROW_MS = 15_000
LEFT, RIGHT = 116.0, 1172.0  # of the time axis; names stand left of it
TIP_CHARS_MAX = 1000  # of what the pointer shows; call.json has it all
MS_WIDE = (RIGHT - LEFT) / ROW_MS

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


def x_at(ms: float, row_ms: float) -> float:
    """Where this moment stands in the row that begins at `row_ms`."""
    return LEFT + (ms - row_ms) * MS_WIDE


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
