"""The conversation as the program sees it: one item per message and per tool call, with what was heard and what was cut.

The wire's items (`realtime_bridge.wire.items`) are what the model sent; these are what happened on the line.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from realtime_bridge.wire import ContentPart

Role: TypeAlias = Literal["user", "assistant", "system"]
ItemKind: TypeAlias = Literal["message", "function_call", "mcp_call"]
Status: TypeAlias = Literal["in_progress", "completed", "incomplete"]


class HistoryItem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message, or one tool call together with its result.

    message: `role`, `content`. A part's words are its `text` (typed) or `transcript` (spoken); of an assistant's spoken
    part, only the words the caller heard. `cut` is True when the caller did not hear the item to its end: `heard_ms`
    tells how much audio was heard, `unheard` the words that were not.
    function_call and mcp_call: `name`, `arguments` (a JSON string), `output` once there is one; `call_id` of the former,
    `server_label` of the latter.
    """

    item_id: str
    type: ItemKind = "message"
    status: Status = "completed"
    role: Role | None = None
    content: tuple[ContentPart, ...] = ()
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | None = None
    server_label: str | None = None
    cut: bool = False
    heard_ms: int | None = None
    unheard: str = ""
    agent: str | None = None  # who said or called it
    response_id: str | None = None

    @property
    def text(self) -> str:
        """The item's words: typed text and transcripts, joined by a space."""
        return " ".join(words for part in self.content if (words := part.text or part.transcript))


def message(item_id: str, role: Role, text: str) -> HistoryItem:
    """A typed message, for `update_history` and tests."""
    kind = "output_text" if role == "assistant" else "input_text"
    return HistoryItem(item_id=item_id, role=role, content=(ContentPart(type=kind, text=text),))
