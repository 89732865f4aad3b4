"""The demo as people see it: the transcript while it is spoken, and the result as a table or as JSON."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from realtime_bridge.session import events
from realtime_bridge.session.items import HistoryItem
from telephony.records.record import CallRecord

_WIDTH_OF_NAMES = 14


class LiveTranscript:
    """Prints what happens in a call as it happens: who says what, what was cut, which tool ran. A session's listener."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._items: dict[str, HistoryItem] = {}
        self._told: set[str] = set()

    def event(self, event: events.SessionEvent) -> None:
        match event:
            case events.HistoryUpdated(history=history):
                self._items = {item.item_id: item for item in history}
                for item in history:
                    self._tell_if_over(item)
            case events.AudioStopped():
                self._tell(self._items.get(event.item_id))
            case events.AgentToolStart():
                self._line("tool", f"{event.tool}({event.arguments})", "cyan")
            case events.AgentToolEnd() if event.outcome != "ok":
                self._line("tool", f"{event.tool}: {event.outcome}", "red")
            case events.ToolApprovalRequested(request=request):
                self._line("approval", f"{request.tool}({request.arguments}) asks for approval", "yellow")
            case events.ToolApprovalResolved():
                self._line("approval", "granted" if event.approved else "refused", "yellow")
            case events.AgentHandoff():
                self._line("hand-off", f"{event.from_agent} -> {event.to_agent}", "magenta")
            case events.AudioInterrupted(cuts=cuts) if event.by == "speech" and cuts:
                self._line("barge-in", f"the caller interrupts, {cuts[0].heard_ms} ms into the answer", "bold red")
            case events.SessionError(message=message):
                self._line("problem", message, "red")

    def _tell_if_over(self, item: HistoryItem) -> None:
        """The caller's words when they are recognised, the agent's when they are cut; others when they were heard."""
        if item.status != "in_progress" and (item.role == "user" or item.cut):
            self._tell(item)

    def _tell(self, item: HistoryItem | None) -> None:
        if item is None or item.type != "message" or item.item_id in self._told or not (item.text or item.unheard):
            return
        self._told.add(item.item_id)
        if item.role == "user":
            self._line("caller", item.text, "green")
        else:
            self._line(item.agent or "agent", item.text, "blue", unheard=item.unheard)

    def _line(self, who: str, what: str, colour: str, *, unheard: str = "") -> None:
        """One entry: who in a column of its own, what wrapped beside it where there is a terminal to wrap for."""
        words = Text(what)
        if unheard:
            words.append(" " if what else "")
            words.append(unheard if self._console.is_terminal else f"[never heard: {unheard}]", style="strike dim")
        name = Text(who, style=colour)
        if self._console.is_terminal:
            row = Table.grid(padding=(0, 2))
            row.add_column(width=_WIDTH_OF_NAMES, justify="right")
            row.add_column(overflow="fold")
            row.add_row(name, words)
            self._console.print(row)
        else:
            self._console.print(f"{who:>{_WIDTH_OF_NAMES}}  {words.plain}", soft_wrap=True, markup=False)


def print_summary(console: Console, result: dict[str, Any], record: CallRecord) -> None:
    """What the demo came to, for people: a table at a terminal, a line each elsewhere."""
    rows = _rows(result, record)
    if not console.is_terminal:
        for label, value in rows:
            console.print(f"{label}: {value}", soft_wrap=True, markup=False, highlight=False)
        return
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for label, value in rows:
        table.add_row(label, Text(value))
    console.print(table)


def _rows(result: dict[str, Any], record: CallRecord) -> list[tuple[str, str]]:
    rows = []
    for barge_in in result["barge_ins"]:
        heard = f"truncated at {barge_in['audio_end_ms']} ms; the phone had played {barge_in['heard_ms_true']:.0f} ms"
        rows.append(("barge-in", heard))
    latency = result["latency_ms"]
    for name, label in (
        ("caller_to_model", "added, caller to model"),
        ("model_to_caller", "added, model to caller"),
        ("barge_in_to_clear", "barge-in to clear"),
        ("answer", "caller's last word to agent's first"),
    ):
        if latency.get(f"{name}_p99"):  # in virtual time nothing is added, which is no measurement
            rows.append((label, f"{latency[f'{name}_p50']:.2f} ms (p50), {latency[f'{name}_p99']:.2f} ms (p99)"))
    rows += [("problem", problem) for problem in record.problems]
    return rows + [(name, result[name]) for name in ("recording", "timeline", "tape")]
