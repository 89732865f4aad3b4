"""How the two sides take turns: how long an answer took, who interrupted, which keys were pressed; and the lines that
tie what happened to the sound."""

from __future__ import annotations

from collections.abc import Iterable

from telephony.records.record import BargeIn, CallRecord, KeyPress, Line
from telephony.records.timeline.events import HEIGHT
from telephony.records.timeline.layout import LEFT, RIGHT, Row, Shelf, text_width
from telephony.records.timeline.svg import clock, element, group, lasting, number, path, text

SIZE = 11.0
LANE_HEIGHT = 20.0
KEY = 15.0  # a key-cap's side
SLOW_MS = 1500  # an answer that takes longer than people wait in silence


def answers_of(transcript: Iterable[Line]) -> list[tuple[int, int]]:
    """Of each answer: when the caller's last sound ended, and when the first of the answer was heard."""
    return [
        (line.start_ms - line.answer_ms, line.start_ms)
        for line in transcript
        if line.start_ms is not None and line.answer_ms is not None
    ]


def draw_lane(answers: Iterable[tuple[int, int]], barge_ins: Iterable[BargeIn], row: Row) -> tuple[str, float]:
    """What stands between the two sides in this row, from 0 downwards, and its height."""
    shelf = Shelf(gap=4)
    labels = [_barge_in_label(barge_in, row, shelf) for barge_in in barge_ins if row.holds(barge_in.at_ms)]
    seen = [answer for answer in answers if row.meets(*answer)]
    measures = [_answer(start_ms, end_ms, row, shelf) for start_ms, end_ms in seen]
    return "".join(labels + measures), max(shelf.height, LANE_HEIGHT)


def draw_keys(keys: Iterable[KeyPress], row: Row, middle: float) -> str:
    """Key-caps on the caller's line, each where it was pressed, or right of the one before."""
    parts = []
    free_from = LEFT
    for press in keys:
        if row.holds(press.at_ms):
            x = min(max(row.x(press.at_ms), free_from), RIGHT - KEY)
            free_from = x + KEY + 2
            cap = element("rect", "cap", x=x, y=middle - KEY / 2, width=KEY, height=KEY, rx=3)
            name = text(x + KEY / 2, middle + 4, press.key, "label key middle")
            parts.append(group(cap + name, tip=f"{clock(press.at_ms)}  key {press.key}"))
    return "".join(parts)


def draw_bands(record: CallRecord, row: Row, duration_ms: int, *, top: float, bottom: float) -> str:
    """Behind the sound: while the model was away, or nothing was recorded."""
    spans = [("reconnect", each.start_ms, each.end_ms) for each in record.reconnects if not each.planned]
    spans += [("pause", each.start_ms, each.end_ms) for each in record.pauses]
    parts = []
    for css, start_ms, ended_ms in spans:
        end_ms = duration_ms if ended_ms is None else ended_ms
        if row.meets(start_ms, end_ms):
            left, right = row.x(max(start_ms, row.start_ms)), row.x(min(end_ms, row.end_ms))
            parts.append(element("rect", f"{css} band", x=left, y=top, width=right - left, height=bottom - top))
    return "".join(parts)


def draw_uprights(
    record: CallRecord, row: Row, *, caller_top: float, agent_top: float, events_top: float, wave: float
) -> str:
    """Lines through the sound: a barge-in touches both sides, a hand-off the agent's."""
    parts = []
    for barge_in in record.barge_ins:
        if row.holds(barge_in.at_ms):
            x = row.x(barge_in.at_ms)
            parts.append(element("line", "barge-line", x1=x, x2=x, y1=caller_top, y2=agent_top + wave))
            parts.append(element("circle", "barge", cx=x, cy=agent_top + wave, r=3))
    for handoff in record.handoffs:
        if row.holds(handoff.at_ms):
            x = row.x(handoff.at_ms)
            parts.append(element("line", "handoff-line", x1=x, x2=x, y1=agent_top, y2=events_top + HEIGHT / 2))
    return "".join(parts)


def _barge_in_label(barge_in: BargeIn, row: Row, shelf: Shelf) -> str:
    label = f"barge-in, {lasting(barge_in.audio_end_ms)} heard"
    x, width = row.x(barge_in.at_ms), text_width(label, SIZE)
    left = x + 6 if x + 6 + width <= RIGHT else x - 6 - width
    offset = shelf.place(min(x, left), max(x, left + width), LANE_HEIGHT)
    true = f", {barge_in.heard_ms_true:.1f} ms by the phone's own count" if barge_in.heard_ms_true is not None else ""
    tip = f"{clock(barge_in.at_ms)}  {barge_in.item_id}: cut at {barge_in.audio_end_ms} ms{true}"
    return group(text(left, offset + 14, label, "label barge"), tip=tip)


def _answer(start_ms: int, end_ms: int, row: Row, shelf: Shelf) -> str:
    """A measure from the caller's last sound to the agent's first, with its length where it ends."""
    left, right = row.x(max(start_ms, row.start_ms)), row.x(min(end_ms, row.end_ms))
    label = lasting(end_ms - start_ms) if end_ms < row.end_ms else ""
    width = text_width(label, SIZE)
    line_end = right
    if not label or right + 5 + width <= RIGHT:
        x = right + 5
    elif right - left > width + 20:
        line_end = right - width - 10
        x = line_end + 5
    else:
        x = left - 5 - width
    offset = shelf.place(min(x, left), max(x + width, right), LANE_HEIGHT)
    middle = number(offset + LANE_HEIGHT / 2)
    top = number(offset + LANE_HEIGHT / 2 - 4)
    steps = f"M{number(left)} {top}v8M{number(left)} {middle}H{number(line_end)}M{number(right)} {top}v8"
    css = "label slow" if end_ms - start_ms > SLOW_MS else "label answer"
    return path("wait", steps) + (text(x, offset + 14, label, css) if label else "")
