"""The whole call on one line, above the rows of a long one: who spoke, what happened, and how long each answer took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from telephony.records.heard import STEP_MS, Loudness
from telephony.records.record import CallRecord
from telephony.records.timeline.events import Event
from telephony.records.timeline.layout import LEFT, RIGHT, Row
from telephony.records.timeline.svg import WIDTH, clock, element, group, lasting, number, path, text
from telephony.records.timeline.turns import SLOW_MS, draw_bands

BAR = 2.4  # from one bar to the next
SIDE = 24.0  # height of one side's sound
EVENTS = 12.0
ANSWERS = 30.0  # height of the longest answer
AXIS = 22.0
GAP = 9.0
_TICKS_S = (10, 30, 60, 120, 300, 600, 1800, 3600)


def draw_overview(
    record: CallRecord,
    caller: Loudness,
    agent: Loudness,
    *,
    duration_ms: int,
    answers: Sequence[tuple[int, int]],
    events: Iterable[Event],
) -> tuple[str, float]:
    """From 0 downwards, and its height. `caller`, `agent`: heights from 0 to 1, for every `STEP_MS`."""
    row = Row(0, duration_ms)
    middle = AXIS + SIDE + 4
    events_top = middle + SIDE + 4
    answers_top = events_top + EVENTS + GAP
    bottom = answers_top + ANSWERS if answers else events_top + EVENTS
    height = bottom + 12
    parts = [
        element("rect", "panel", x=12, y=0, width=WIDTH - 24, height=height, rx=10),
        _axis(row, bottom),
        draw_bands(record, row, duration_ms, top=AXIS, bottom=middle + SIDE),
        element("line", "rest", x1=LEFT, x2=RIGHT, y1=middle, y2=middle),
        path("wave thin caller-line", _sound(caller, duration_ms, middle - 1, -SIDE)),
        path("wave thin agent-line", _sound(agent, duration_ms, middle + 1, SIDE)),
        text(LEFT - 14, middle + 4, "Whole call", "name end"),
    ]
    for barge_in in record.barge_ins:
        x = row.x(barge_in.at_ms)
        parts.append(element("line", "barge-line", x1=x, x2=x, y1=AXIS, y2=middle + SIDE))
    for event in events:
        width = max(3.0, row.x(event.end_ms) - row.x(event.start_ms))
        bar = element("rect", event.css, x=row.x(event.start_ms), y=events_top, width=width, height=EVENTS - 4, rx=1)
        parts.append(group(bar, tip=event.tip))
    if answers:
        parts.append(_answers(answers, row, answers_top))
    return "\n".join(parts), height


def _axis(row: Row, bottom: float) -> str:
    every_s = next((s for s in _TICKS_S if row.length_ms / 1000 / s <= 12), _TICKS_S[-1])
    parts = []
    for ms in range(0, row.length_ms, every_s * 1000):
        x = row.x(ms)
        parts.append(element("line", "tick", x1=x, x2=x, y1=AXIS - 6, y2=bottom))
        if x < RIGHT - 30:
            parts.append(text(x, AXIS - 9, clock(ms), "label muted middle"))
    return "".join(parts)


def _sound(heights: Loudness, duration_ms: int, base: float, full: float) -> str:
    bars = int((RIGHT - LEFT) / BAR)
    if not len(heights):
        return ""
    edges = np.minimum(np.arange(bars) * duration_ms // (bars * STEP_MS), len(heights) - 1)
    drawn = int(min(bars, len(heights) * STEP_MS * bars / duration_ms + 1))
    loudest = np.maximum.reduceat(heights, edges)
    return "".join(
        f"M{number(LEFT + (i + 0.5) * BAR)} {number(base)}v{number(full * float(loudest[i]))}"
        for i in range(drawn)
        if loudest[i] >= 0.05
    )


def _answers(answers: Sequence[tuple[int, int]], row: Row, top: float) -> str:
    """Each answer as an upright bar, as high as it was long in coming."""
    longest = max(end_ms - start_ms for start_ms, end_ms in answers)
    scale = ANSWERS / max(longest, SLOW_MS)
    base = top + ANSWERS
    parts = [
        text(LEFT - 14, base - ANSWERS / 2 + 4, "Answers", "label muted end"),
        element("line", "rest", x1=LEFT, x2=RIGHT, y1=base, y2=base),
    ]
    for start_ms, end_ms in answers:
        took_ms = end_ms - start_ms
        high = max(1.0, took_ms * scale)
        css = "failed" if took_ms > SLOW_MS else "wait-bar"
        bar = element("rect", css, x=row.x(end_ms) - 2, y=base - high, width=4, height=high, rx=1)
        parts.append(group(bar, tip=f"{clock(end_ms)}  answered after {lasting(took_ms)}"))
    return "".join(parts)
