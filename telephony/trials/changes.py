"""What an agent on trial does otherwise than the agent of the recorded call. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, TypeAlias

from telephony.records.record import CallRecord
from telephony.trials.taped_call import TapedDeeds
from telephony.trials.tools import shown_call

What: TypeAlias = Literal["tool", "hand-off", "words"]


@dataclass(frozen=True, slots=True)
class Change:
    """`taped`, `now`: in words; "" for nothing."""

    what: What
    taped: str
    now: str

    def __str__(self) -> str:
        if not self.taped:
            return f"{self.what}: now {self.now}, which the recorded call does not have"
        return f"{self.what}: {self.taped} on the tape, now {self.now or 'nothing'}"


def changes(deeds: TapedDeeds, record: CallRecord) -> list[Change]:
    """All differences, in order, tools first; none where nothing is known of the recorded call."""
    if not deeds.is_known:
        return []
    tools = [shown_call(tool.name, tool.arguments) for tool in deeds.tools]
    handoffs = [f"{before} -> {after}" for before, after in deeds.handoffs]
    said = [line.text for line in record.transcript if line.role == "assistant" and line.text]
    return [
        *_changed("tool", tools, [shown_call(tool.name, tool.arguments) for tool in record.tools]),
        *_changed("hand-off", handoffs, [f"{h.from_agent} -> {h.to_agent}" for h in record.handoffs]),
        *_changed("words", [f'"{text}"' for text in deeds.said], [f'"{text}"' for text in said]),
    ]


def _changed(what: What, taped: Sequence[str], now: Sequence[str]) -> list[Change]:
    found = []
    matcher = SequenceMatcher(None, taped, now, autojunk=False)
    for tag, from_taped, to_taped, from_now, to_now in matcher.get_opcodes():
        if tag != "equal":
            found.append(Change(what, ", ".join(taped[from_taped:to_taped]), ", ".join(now[from_now:to_now])))
    return found
