"""What happened besides the talking: tools, approvals, hand-offs, reconnects, notices, pauses of the recording."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from telephony.records.record import (
    Approval,
    CallRecord,
    Handoff,
    Reconnect,
    RecordingNotice,
    RecordingPause,
    ToolUse,
)
from telephony.records.timeline.layout import LEFT, RIGHT, TIP_CHARS_MAX, Row, Shelf, shorten, text_width
from telephony.records.timeline.svg import clock, element, group, lasting, text

SIZE = 11.0
HEIGHT = 20.0
GAP = 16.0
BAR_HEIGHT = 14.0
BAR_MIN = 4.0
LABEL_MAX = 470.0
_PAUSED_FOR = {
    "notice": "not recorded until the notice was heard",
    "asked": "recording paused",
    "digits": "recording paused for digits",
    "stopped": "recording stopped",
}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that took some time; `css` names its colour."""

    css: str
    start_ms: int
    end_ms: int
    label: str
    tip: str


def events_of(record: CallRecord, duration_ms: int) -> list[Event]:
    """All of them by their start. What has no end lasts as long as the call."""
    events = [
        *(_tool(tool, duration_ms) for tool in record.tools),
        *(_approval(approval, duration_ms) for approval in record.approvals),
        *(_handoff(handoff) for handoff in record.handoffs),
        *(_reconnect(reconnect, duration_ms) for reconnect in record.reconnects),
        *(_notice(notice, duration_ms) for notice in record.notices),
        *(_pause(pause, duration_ms) for pause in record.pauses),
    ]
    return sorted(events, key=lambda event: event.start_ms)


def draw_events(events: Iterable[Event], row: Row) -> tuple[str, float]:
    """The bars of this row with their labels, from 0 downwards, and their height."""
    shelf = Shelf(gap=GAP)
    parts = [_bar(event, row, shelf) for event in events if row.meets(event.start_ms, event.end_ms)]
    return "".join(parts), shelf.height


def _bar(event: Event, row: Row, shelf: Shelf) -> str:
    """A bar as long as the event, its label right of it, or left of it where there is no room."""
    left = row.x(max(event.start_ms, row.start_ms))
    right = max(row.x(min(event.end_ms, row.end_ms)), left + BAR_MIN)
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
    if event.start_ms >= row.start_ms:
        bar += element("rect", event.css, **place, width=BAR_MIN, rx=1)
    return group(bar + text(x, middle + 4, label, "label"), tip=event.tip)


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
    return _event("approval", approval.start_ms, end_ms, label)


def _handoff(handoff: Handoff) -> Event:
    return _event("handoff", handoff.at_ms, handoff.at_ms, f"{handoff.from_agent} → {handoff.to_agent}")


def _reconnect(reconnect: Reconnect, duration_ms: int) -> Event:
    what = "model session changed" if reconnect.planned else f"model lost: {reconnect.reason}"
    if reconnect.end_ms is None:
        return _event("reconnect", reconnect.start_ms, duration_ms, f"{what} · never back")
    took = lasting(reconnect.end_ms - reconnect.start_ms)
    return _event("reconnect", reconnect.start_ms, reconnect.end_ms, f"{what} · back after {took}")


def _notice(notice: RecordingNotice, duration_ms: int) -> Event:
    heard = "" if notice.heard else " · not heard to its end"
    end_ms = duration_ms if notice.end_ms is None else notice.end_ms
    return _event("notice", notice.start_ms, end_ms, f"notice: {notice.text}{heard}")


def _pause(pause: RecordingPause, duration_ms: int) -> Event:
    end_ms = duration_ms if pause.end_ms is None else pause.end_ms
    return _event("pause", pause.start_ms, end_ms, f"{_PAUSED_FOR[pause.reason]} · {lasting(end_ms - pause.start_ms)}")


def _event(css: str, start_ms: int, end_ms: int, label: str) -> Event:
    return Event(css, start_ms, end_ms, label, f"{clock(start_ms)}  {label[:TIP_CHARS_MAX]}")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
