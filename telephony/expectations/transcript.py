"""A call's record as people read it: who said and did what, in order, with marks at what matters."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from telephony.expectations.arguments import shown
from telephony.records.record import CallRecord, Handoff, Line, ToolUse

AROUND = 3  # entries before and after a marked one
ENTRIES_MAX = 24  # where nothing is marked
_OUTPUT_CHARS_MAX = 80


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened; `about` is the record's own."""

    at_ms: int
    about: Line | ToolUse | Handoff

    def __str__(self) -> str:
        who, what = _told(self.about)
        return f"{self.at_ms / 1000:6.1f} s  {who:<8} {what}"


def entries(record: CallRecord) -> list[Entry]:
    """All of it, in order of time; words that were never sound stand where the conversation has them."""
    story: list[Entry] = []
    last_ms = 0
    for line in record.transcript:
        last_ms = line.start_ms if line.start_ms is not None else last_ms
        story.append(Entry(last_ms, line))
    story += [Entry(tool.start_ms, tool) for tool in record.tools]
    story += [Entry(handoff.at_ms, handoff) for handoff in record.handoffs]
    return sorted(story, key=lambda entry: entry.at_ms)


def transcript(record: CallRecord, marked: Collection[object] = ()) -> str:
    """What happened around the marked lines, tools and hand-offs; all of it, or nearly, where none is marked."""
    story = entries(record)
    marks = {number for number, entry in enumerate(story) if any(entry.about is about for about in marked)}
    near = {number + step for number in marks for step in range(-AROUND, AROUND + 1)}
    if not near:
        near = set(range(min(len(story), ENTRIES_MAX)))
    lines: list[str] = []
    left_out = False
    for number, entry in enumerate(story):
        if number not in near:
            left_out = True
            continue
        if left_out:
            lines.append("          …")
        left_out = False
        lines.append(("> " if number in marks else "  ") + str(entry))
    if left_out:
        lines.append("          …")
    return "\n".join([*lines, f"  {record.duration_ms / 1000:6.1f} s  the end  {record.disposition}"])


def tool_call(tool: ToolUse) -> str:
    """A call as it is told: find_order(order_id='A1042')."""
    return f"{tool.name}({', '.join(f'{key}={shown(value)}' for key, value in tool.arguments.items())})"


def _told(about: Line | ToolUse | Handoff) -> tuple[str, str]:
    match about:
        case Line():
            cut = f" [cut: {about.unheard}]" if about.cut and about.unheard else " [cut]" if about.cut else ""
            return ("caller" if about.role == "user" else "agent"), f"{about.text}{cut}".strip()
        case ToolUse():
            became = _short(about.output) if about.output is not None else about.outcome or "still running"
            failed = f" ({about.outcome})" if about.outcome not in (None, "done") else ""
            return "tool", f"{tool_call(about)} -> {became}{failed}"
        case Handoff():
            return "hand-off", f"from {about.from_agent} to {about.to_agent}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _OUTPUT_CHARS_MAX else line[: _OUTPUT_CHARS_MAX - 1] + "…"
