"""The head of the picture: whose call it was, its figures, and what the signs below mean."""

from __future__ import annotations

from statistics import median

from telephony.records.record import CallRecord
from telephony.records.timeline.layout import BOLD, LEFT, RIGHT, shorten, text_width
from telephony.records.timeline.svg import clock, element, group, lasting, rich_text, text

X = 28.0
TILE = 92.0


def draw_header(record: CallRecord, duration_ms: int, reply_waits_ms: list[int]) -> tuple[list[str], float]:
    """The head as SVG, and where it ends."""
    tiles = _tiles(record, reply_waits_ms)
    tiles_left = RIGHT - TILE * len(tiles)
    room = tiles_left - X - 16
    parts = [
        text(X, 46, shorten(f"Call with {record.agent}", room / BOLD, 24), "title"),
        text(X, 70, shorten(facts(record, duration_ms), room, 13), "sub muted"),
    ]
    for i, (figure, label) in enumerate(tiles):
        middle = tiles_left + TILE * (i + 0.5)
        parts += [text(middle, 46, figure, "figure middle"), text(middle, 66, label, "label muted middle")]
    y = 70.0
    if record.latency_ms:
        y += 20
        parts.append(text(X, y, shorten(_latencies(record.latency_ms), RIGHT - X, 11), "label muted"))
    if record.problems:
        y += 20
        shown = shorten("Problems: " + "; ".join(record.problems), RIGHT - X, 11)
        parts.append(group(text(X, y, shown, "label failed"), tip="\n".join(record.problems)))
    y += 28
    parts.append(_legend(y))
    return parts, y + 18


def facts(record: CallRecord, duration_ms: int) -> str:
    """Who rang whom, when, for how long, and how it ended."""
    when = f"{record.started_at:%d %b %Y, %H:%M} {record.started_at.tzname() or ''}".rstrip()
    numbers = f"{record.from_number} → {record.to_number}"
    return "  ·  ".join((record.direction, numbers, when, clock(duration_ms), record.disposition))


def _tiles(record: CallRecord, reply_waits_ms: list[int]) -> list[tuple[str, str]]:
    """(figure, what it is), of what there is."""
    turns = sum(line.role == "user" for line in record.transcript)
    tiles = [(str(turns), "caller turns")]
    if reply_waits_ms:
        tiles.append((lasting(median(reply_waits_ms)), "to reply, p50"))
    for count, label in ((len(record.barge_ins), "barge-ins"), (len(record.tools), "tool calls")):
        if count:
            tiles.append((str(count), label))
    if record.cost_usd is not None:
        tiles.append((f"${record.cost_usd:.4f}", "model cost"))
    return tiles


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


def _legend(y: float) -> str:
    parts, x = [], X
    for css, label in (
        ("caller", "caller"),
        ("agent", "agent, where it was heard"),
        ("tool", "tool"),
        ("failed", "failed or refused"),
        ("approval", "waits for approval"),
        ("handoff", "hand-off"),
        ("barge", "barge-in"),
    ):
        parts.append(element("rect", css, x=x, y=y - 9, width=10, height=10, rx=3))
        parts.append(text(x + 16, y, label, "label muted"))
        x += 16 + text_width(label, 11) + 20
    parts.append(rich_text(x, y, (("never heard", "label cut"),)))
    assert x < RIGHT - LEFT
    return "".join(parts)
