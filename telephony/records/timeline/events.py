"""What happened besides the talking: waiting for an answer, barge-ins, tools, approvals, hand-offs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import msgspec

from telephony.records.record import Approval, BargeIn, CallRecord, Handoff, ToolUse
from telephony.records.timeline.layout import LEFT, RIGHT, ROW_MS, TIP_CHARS_MAX, Shelf, shorten, text_width, x_at
from telephony.records.timeline.svg import clock, element, group, lasting, number, path, text
from telephony.records.timeline.words import SpokenLine

SIZE = 11.0
HEIGHT = 20.0
LANE_HEIGHT = 20.0
GAP = 16.0
BAR_HEIGHT = 14.0
BAR_MIN = 4.0
LABEL_MAX = 470.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something that took some time; `css` names its colour."""

    css: str
    start_ms: int
    end_ms: int
    label: str
    tip: str


def reply_waits(lines: list[SpokenLine]) -> list[tuple[int, int]]:
    """For each reply of the agent to the caller: when the caller stopped, and when the reply was first heard."""
    return [
        (said.end_ms, reply.start_ms)
        for said, reply in pairwise(lines)
        if (said.line.role, reply.line.role) == ("user", "assistant") and said.end_ms <= reply.start_ms
    ]


def events_of(record: CallRecord, duration_ms: int) -> list[Event]:
    """Tools, approvals and hand-offs, by their start. What has no end lasts as long as the call."""
    events = [
        *(_tool(tool, duration_ms) for tool in record.tools),
        *(_approval(approval, duration_ms) for approval in record.approvals),
        *(_handoff(handoff) for handoff in record.handoffs),
    ]
    return sorted(events, key=lambda event: event.start_ms)


def draw_lane(waits: Iterable[tuple[int, int]], barge_ins: Iterable[BargeIn], row_ms: int) -> tuple[str, float]:
    """What stands between the two sides in this row, from 0 downwards, and its height."""
    shelf = Shelf(gap=4)
    here = [barge_in for barge_in in barge_ins if row_ms <= barge_in.at_ms < row_ms + ROW_MS]
    labels = [_barge_in_label(barge_in, row_ms, shelf) for barge_in in here]
    seen = [wait for wait in waits if wait[0] < row_ms + ROW_MS and wait[1] >= row_ms]
    measures = [_wait(start_ms, end_ms, row_ms, shelf) for start_ms, end_ms in seen]
    return "".join(labels + measures), max(shelf.height, LANE_HEIGHT)


def draw_uprights(
    record: CallRecord, row_ms: int, *, caller_top: float, agent_top: float, events_top: float, wave: float
) -> str:
    """Lines through the sound: a barge-in touches both sides, a hand-off the agent's."""
    parts = []
    for barge_in in record.barge_ins:
        if row_ms <= barge_in.at_ms < row_ms + ROW_MS:
            x = x_at(barge_in.at_ms, row_ms)
            parts.append(element("line", "barge-line", x1=x, x2=x, y1=caller_top, y2=agent_top + wave))
            parts.append(element("circle", "barge", cx=x, cy=agent_top + wave, r=3))
    for handoff in record.handoffs:
        if row_ms <= handoff.at_ms < row_ms + ROW_MS:
            x = x_at(handoff.at_ms, row_ms)
            parts.append(element("line", "handoff-line", x1=x, x2=x, y1=agent_top, y2=events_top + HEIGHT / 2))
    return "".join(parts)


def draw_events(events: Iterable[Event], row_ms: int) -> tuple[str, float]:
    """The bars of this row with their labels, from 0 downwards, and their height."""
    shelf = Shelf(gap=GAP)
    parts = [
        _bar(event, row_ms, shelf) for event in events if event.start_ms < row_ms + ROW_MS and event.end_ms >= row_ms
    ]
    return "".join(parts), shelf.height


def _bar(event: Event, row_ms: int, shelf: Shelf) -> str:
    """A bar as long as the event, its label right of it, or left of it where there is no room."""
    left = x_at(max(event.start_ms, row_ms), row_ms)
    right = max(x_at(min(event.end_ms, row_ms + ROW_MS), row_ms), left + BAR_MIN)
    label = shorten(event.label, LABEL_MAX, SIZE)
    width = text_width(label, SIZE) + 6
    if right - left > width + BAR_MIN + 6:
        x, low, high = left + BAR_MIN + 5, left, right
    elif right + width <= RIGHT:
        x, low, high = right + 6, left, right + width
    else:
        x, low, high = max(LEFT, left - width), max(LEFT, left - width), right
    offset = shelf.place(low, high, HEIGHT)
    middle = offset + HEIGHT / 2
    place = {"x": left, "y": middle - BAR_HEIGHT / 2, "height": BAR_HEIGHT}
    bar = element("rect", f"{event.css} lasting", **place, width=right - left)
    if event.start_ms >= row_ms:
        bar += element("rect", event.css, **place, width=BAR_MIN, rx=1)
    return group(bar + text(x, middle + 4, label, "label"), tip=event.tip)


def _barge_in_label(barge_in: BargeIn, row_ms: int, shelf: Shelf) -> str:
    label = f"barge-in, {barge_in.audio_end_ms} ms heard"
    x, width = x_at(barge_in.at_ms, row_ms), text_width(label, SIZE)
    left = x + 6 if x + 6 + width <= RIGHT else x - 6 - width
    offset = shelf.place(min(x, left), max(x, left + width), LANE_HEIGHT)
    true = f", {barge_in.heard_ms_true:.1f} ms by the phone's own count" if barge_in.heard_ms_true is not None else ""
    tip = f"{clock(barge_in.at_ms)}  {barge_in.item_id}: cut at {barge_in.audio_end_ms} ms{true}"
    return group(text(left, offset + 14, label, "label barge"), tip=tip)


def _wait(start_ms: int, end_ms: int, row_ms: int, shelf: Shelf) -> str:
    """A measure from the caller's last word to the agent's first, with its length where it ends."""
    left, right = x_at(max(start_ms, row_ms), row_ms), x_at(min(end_ms, row_ms + ROW_MS), row_ms)
    label = lasting(end_ms - start_ms) if end_ms < row_ms + ROW_MS else ""
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
    return path("wait", steps) + (text(x, offset + 14, label, "label muted") if label else "")


def _tool(tool: ToolUse, duration_ms: int) -> Event:
    arguments = ", ".join(f"{name}={_json(value)}" for name, value in tool.arguments.items())
    call = f"{tool.name}({arguments})"
    took = lasting(tool.end_ms - tool.start_ms) if tool.end_ms is not None else "not ended"
    outcome = tool.outcome if tool.outcome not in (None, "done") else ""
    end_ms = duration_ms if tool.end_ms is None else tool.end_ms
    label = " · ".join(filter(None, (shorten(call, LABEL_MAX - 140, SIZE), took, outcome)))
    output = (tool.output or "")[:TIP_CHARS_MAX]
    tip = f"{clock(tool.start_ms)}  {call[:TIP_CHARS_MAX]}\n{took}, {tool.outcome or 'running'}\n{output}".rstrip()
    return Event("failed" if outcome else "tool", tool.start_ms, end_ms, label, tip)


def _approval(approval: Approval, duration_ms: int) -> Event:
    by = f" by {approval.by}" if approval.by else ""
    took = f" after {lasting(approval.end_ms - approval.start_ms)}" if approval.end_ms is not None else ""
    label = f"{approval.tool} {approval.decision or 'waits'}{by}{took}"
    end_ms = duration_ms if approval.end_ms is None else approval.end_ms
    return Event("approval", approval.start_ms, end_ms, label, f"{clock(approval.start_ms)}  {label}")


def _handoff(handoff: Handoff) -> Event:
    label = f"{handoff.from_agent} → {handoff.to_agent}"
    return Event("handoff", handoff.at_ms, handoff.at_ms, label, f"{clock(handoff.at_ms)}  {label}")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
