"""The head of the picture: whose call it was, its figures, and what the signs below mean."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from telephony.records.record import CallRecord
from telephony.records.timeline.layout import BOLD, RIGHT, shorten, text_width
from telephony.records.timeline.svg import clock, element, group, lasting, rich_text, text

X = 28.0
TILES_GAP = 26.0


def draw_header(record: CallRecord, duration_ms: int, answers_ms: Sequence[int]) -> tuple[list[str], float]:
    """The head as SVG, and where it ends."""
    tiles = _tiles(record, answers_ms)
    parts: list[str] = []
    right = RIGHT
    for figure, label in reversed(tiles):
        width = max(text_width(figure, 20) * BOLD, text_width(label, 11))
        right -= width
        middle = right + width / 2
        parts += [text(middle, 44, figure, "figure middle"), text(middle, 63, label, "label muted middle")]
        right -= TILES_GAP
    parts += [
        text(X, 50, shorten(f"Call with {record.agent}", (right - X) / BOLD, 24), "title"),
        text(X, 84, shorten(facts(record, duration_ms), RIGHT - X, 13), "sub"),
    ]
    y = 84.0
    y += 20
    parts.append(text(X, y, shorten(_made_by(record), RIGHT - X, 11), "label muted"))
    if record.problems:
        y += 20
        shown = shorten("Problems: " + "; ".join(record.problems), RIGHT - X, 11)
        parts.append(group(text(X, y, shown, "label failed"), tip="\n".join(record.problems)))
    y += 28
    legend, y = _legend(record, y)
    parts.append(legend)
    return parts, y + 18


def facts(record: CallRecord, duration_ms: int) -> str:
    """Who rang whom, when, for how long, and how it ended."""
    when = f"{record.started_at:%d %b %Y, %H:%M} {record.started_at.tzname() or ''}".rstrip()
    numbers = f"{record.from_number or 'withheld'} → {record.to_number or 'withheld'}"
    return "  ·  ".join((record.direction, numbers, when, clock(duration_ms), record.disposition))


def _tiles(record: CallRecord, answers_ms: Sequence[int]) -> list[tuple[str, str]]:
    """(figure, what it is), of what there is."""
    turns = sum(line.role == "user" for line in record.transcript)
    tiles = [(str(turns), "caller turns")]
    if answers_ms:
        tiles.append((lasting(median(answers_ms)), "to answer, p50"))
        tiles.append((lasting(max(answers_ms)), "slowest answer"))
    for count, label in ((len(record.barge_ins), "barge-ins"), (len(record.tools), "tool calls")):
        if count:
            tiles.append((str(count), label))
    if record.cost_usd is not None:
        tiles.append((f"${record.cost_usd:.4f}", "model cost"))
    return tiles


def _made_by(record: CallRecord) -> str:
    """By which model and program, and what the program itself added."""
    program = f"realtime-bridge {record.package_version}" if record.package_version else ""
    parts = (record.call_sid, record.model, program, _latencies(record.latency_ms))
    return "  ·  ".join(part for part in parts if part)


def _latencies(latency_ms: dict[str, float]) -> str:
    """`caller_to_model_p50` and `…_p99` as "caller to model 0.2 ms, p99 0.5 ms", for each name."""
    shown = []
    for key, p50 in latency_ms.items():
        name = key.removesuffix("_p50")
        if name != key:
            p99 = latency_ms.get(f"{name}_p99")
            worst = f" (p99 {lasting(p99)})" if p99 is not None else ""
            shown.append(f"{name.replace('_', ' ')} {lasting(p50)}{worst}")
    return "  ·  ".join(shown)


def _legend(record: CallRecord, y: float) -> tuple[str, float]:
    """The signs that occur in this call, and the line on which the last one stands."""
    failed = any(tool.outcome not in (None, "done") for tool in record.tools)
    signs = (
        ("caller", "caller", True),
        ("agent", "agent, where it was heard", True),
        ("tool", "tool", record.tools),
        ("failed", "failed or refused", failed),
        ("approval", "waits for approval", record.approvals),
        ("handoff", "hand-off", record.handoffs),
        ("barge", "barge-in", record.barge_ins),
        ("reconnect", "model session changed", record.reconnects),
        ("notice", "recording notice", record.notices),
        ("pause", "not recorded", record.pauses),
    )
    shown = [(element("rect", css, x=0, y=-9, width=10, height=10, rx=3), label) for css, label, here in signs if here]
    if record.keys:
        shown.append((element("rect", "cap", x=0.5, y=-8.5, width=9, height=9, rx=2), "key"))
    parts, x = [], X
    for sign, label in shown:
        width = 15 + text_width(label, 11) + 14
        if x + width > RIGHT:
            x, y = X, y + 18
        parts.append(group(sign + text(15, 0, label, "label muted"), right=x, down=y))
        x += width
    if any(line.unheard for line in record.transcript):
        width = text_width("never heard", 11)
        if x + width > RIGHT:
            x, y = X, y + 18
        parts.append(rich_text(x, y, (("never heard", "label cut"),)))
    return "".join(parts), y
