"""The demo as people see it: the transcript while it is spoken, and the result as a table or as JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from realtime_bridge.session import events
from realtime_bridge.session.items import HistoryItem
from telephony.calls.record import CallRecord

_WIDTH_OF_NAMES = 14


class LiveTranscript:
    """Prints what happens in a call as it happens: who says what, what was cut, which tool ran. A session's listener."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told: set[str] = set()

    def event(self, event: events.SessionEvent) -> None:
        match event:
            case events.HistoryUpdated(item=HistoryItem() as item):
                self._item(item)
            case events.AgentToolStart():
                self._line("tool", f"{event.tool}({event.arguments})", "cyan")
            case events.AgentToolEnd() if event.outcome != "ok":
                self._line("tool", f"{event.tool}: {event.outcome}", "red")
            case events.ToolApprovalRequested(request=request):
                self._line("approval", f"{request.tool} asks for approval", "yellow")
            case events.ToolApprovalResolved():
                self._line("approval", "granted" if event.approved else "refused", "yellow")
            case events.AgentHandoff():
                self._line("hand-off", f"{event.from_agent} -> {event.to_agent}", "magenta")
            case events.AudioInterrupted(cuts=cuts) if event.by == "speech":
                heard = ", ".join(f"after {cut.heard_ms} ms" for cut in cuts[:1])
                self._line("barge-in", f"the caller interrupts {heard}".rstrip(), "bold red")
            case events.SessionError(message=message):
                self._line("problem", message, "red")

    def _item(self, item: HistoryItem) -> None:
        if item.type != "message" or item.status == "in_progress" or item.item_id in self._told:
            return
        if item.role == "user" and item.text:
            self._told.add(item.item_id)
            self._line("caller", item.text, "green")
        elif item.role == "assistant" and (item.heard_ms is not None or item.cut):
            self._told.add(item.item_id)
            unheard = f" [strike dim]{escape(item.unheard)}[/]" if item.unheard else ""
            self._line(item.agent or "agent", item.text, "blue", unheard)

    def _line(self, who: str, what: str, colour: str, more: str = "") -> None:
        self._console.print(f"[{colour}]{escape(who):>{_WIDTH_OF_NAMES}}[/]  {escape(what)}{more}", highlight=False)


def summary(result: dict[str, Any], record: CallRecord) -> Table:
    """What the demo came to, for people."""
    table = Table(title="The call", show_header=False, box=None, padding=(0, 2))
    for barge_in in result["barge_ins"]:
        true_ms = barge_in["heard_ms_true"]
        table.add_row(
            "barge-in", f"truncated at {barge_in['audio_end_ms']} ms; the phone had really played {true_ms:.0f} ms"
        )
    latency = result["latency_ms"]
    for name, label in (
        ("caller_to_model", "added caller to model"),
        ("model_to_caller", "added model to caller"),
        ("barge_in_to_clear", "barge-in to clear"),
        ("answer", "caller's last word to agent's first"),
    ):
        if f"{name}_p50" in latency:
            p50, p99 = latency[f"{name}_p50"], latency[f"{name}_p99"]
            table.add_row(label, f"{p50:.2f} ms (p50), {p99:.2f} ms (p99)")
    for problem in record.problems:
        table.add_row("problem", escape(problem))
    for name in ("recording", "timeline", "tape"):
        table.add_row(name, result[name])
    return table
