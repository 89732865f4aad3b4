"""What was said, at the time it was said: the caller's words above their sound, the agent's below theirs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, TypeAlias

from telephony.records.record import Line
from telephony.records.timeline.layout import RIGHT, TIP_CHARS_MAX, Row, Shelf, shorten, text_width
from telephony.records.timeline.svg import clock, element, group, rich_text

SIZE = 12.5
LINE_HEIGHT = 16.0
NEAR = 7.0  # between sound and words
GAP = 14.0  # between blocks side by side
LINES_MAX = 12  # in one row; the pointer shows more
LINES_LIKED = 4  # rather than more lines than this, words stand wider than their sound
BLOCK_WIDTH_MIN = 120.0
BLOCK_WIDTH_MAX = 700.0
_SPACE = text_width(" ", SIZE)
UNHEARD_MAX = 16  # words; the pointer shows all

Role: TypeAlias = Literal["user", "assistant"]


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    at_ms: float
    cut: bool = False  # the caller never heard it


@dataclass(frozen=True, slots=True)
class SpokenLine:
    """A line of the transcript that was sound, with its words in time."""

    line: Line
    start_ms: int
    end_ms: int
    words: tuple[Word, ...]


def spoken_lines(transcript: Iterable[Line]) -> list[SpokenLine]:
    """The lines that were sound, by their start; others have no place in the picture."""
    spoken = [
        SpokenLine(line, line.start_ms, line.end_ms, tuple(_words(line, line.start_ms, line.end_ms)))
        for line in transcript
        if line.start_ms is not None and line.end_ms is not None
    ]
    return sorted(spoken, key=lambda line: line.start_ms)


def draw_words(lines: Iterable[SpokenLine], role: Role, row: Row) -> tuple[str, float]:
    """`role`'s words of this row, and their height. Drawn at the edge of the sound: the caller's upwards from 0, the
    agent's downwards."""
    shelf = Shelf(gap=GAP)
    blocks: list[str] = []
    stems: list[str] = []  # behind the words
    for spoken in lines:
        if spoken.line.role != role or not row.meets(spoken.start_ms, spoken.end_ms):
            continue
        words = [word for word in spoken.words if row.holds(word.at_ms)]
        if words:
            blocks.append(_block(spoken, words, row, shelf, stems))
    return "".join(stems + blocks), shelf.height + NEAR if blocks else 0.0


def _block(spoken: SpokenLine, words: list[Word], row: Row, shelf: Shelf, stems: list[str]) -> str:
    starts_here = spoken.start_ms >= row.start_ms
    start_ms = max(spoken.start_ms, row.start_ms)
    wrapped = _wrap_nicely(words, (min(spoken.end_ms, row.end_ms) - start_ms) * row.ms_wide)
    width = max(_width(line) for line in wrapped)
    x = row.x(start_ms)
    left = min(x, RIGHT - width)
    height = len(wrapped) * LINE_HEIGHT
    offset = shelf.place(left, left + width, height) + NEAR
    upwards = spoken.line.role == "user"
    top = -offset - height if upwards else offset
    parts = []
    if starts_here:
        css = "stem caller-line" if upwards else "stem agent-line"
        stems.append(element("line", css, x1=x, x2=x, y1=0, y2=-offset if upwards else offset))
    for i, line in enumerate(wrapped):
        parts.append(rich_text(left, top + i * LINE_HEIGHT + SIZE, _spans(line)))
    return group("".join(parts), tip=_tip(spoken))


def _words(line: Line, start_ms: int, end_ms: int) -> Iterable[Word]:
    """Heard words each at their share of the time, by letters; unheard ones where the sound stopped."""
    words = line.text.split()
    letters = sum(len(word) + 1 for word in words)
    before = 0
    for word in words:
        yield Word(word, start_ms + (end_ms - start_ms) * before / letters)
        before += len(word) + 1
    unheard = line.unheard.split()
    if len(unheard) > UNHEARD_MAX:
        unheard = [*unheard[:UNHEARD_MAX], "…"]
    for word in unheard:
        yield Word(word, max(start_ms, end_ms - 1), cut=True)


def _wrap_nicely(words: list[Word], width: float) -> list[list[Word]]:
    """In few lines, and hardly wider than the sound."""
    width = max(width, BLOCK_WIDTH_MIN)
    wrapped = _wrap(words, width)
    while len(wrapped) > LINES_LIKED and width < BLOCK_WIDTH_MAX:
        width *= 1.15
        wrapped = _wrap(words, width)
    return wrapped


def _wrap(words: list[Word], width: float) -> list[list[Word]]:
    """Lines of at most `width`, `LINES_MAX` of them; a word that is longer is shortened."""
    lines: list[list[Word]] = []
    used = 0.0  # of the last line
    for word in words:
        shown = Word(shorten(word.text, width, SIZE), word.at_ms, word.cut)
        takes = text_width(shown.text, SIZE)
        if lines and used + _SPACE + takes <= width:
            lines[-1].append(shown)
            used += _SPACE + takes
        elif len(lines) == LINES_MAX:
            lines[-1][-1] = Word("…", word.at_ms, word.cut)
            break
        else:
            lines.append([shown])
            used = takes
    return lines


def _width(words: list[Word]) -> float:
    return text_width(" ".join(word.text for word in words), SIZE)


def _spans(words: list[Word]) -> Iterable[tuple[str, str]]:
    """Pieces of (words, css): heard ones, then those that were cut."""
    pieces = [
        (" ".join(word.text for word in run), "cut" if cut else "") for cut, run in groupby(words, lambda w: w.cut)
    ]
    for i, (content, css) in enumerate(pieces):
        if i:
            yield " ", ""
        yield content, css


def _tip(spoken: SpokenLine) -> str:
    line = spoken.line
    who = "Caller" if line.role == "user" else line.agent or "Agent"
    cut = f"\nNever heard: {line.unheard}" if line.unheard else ""
    return f"{clock(spoken.start_ms)}  {who}: {line.text[:TIP_CHARS_MAX]}{cut[:TIP_CHARS_MAX]}"
