"""What a session tells the program. Every event is plain data with a `type`; agents and tools appear by name.

Turn: `agent_start`, `audio_start`, `audio`, `audio_stopped` or `audio_interrupted`, `agent_end`, `usage`.
Tools: `tool_approval_requested`, `tool_approval_resolved`, `agent_tool_start`, `agent_tool_end`, `agent_handoff`,
`mcp_tools_changed`. Conversation: `history_added`, `history_updated`, `guardrail_tripped`. Line: `dtmf`,
`input_audio_timeout_triggered`, `reconnecting`, `reconnected`, `transport_event`, `error`, `session_end`.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from realtime_bridge.approvals import ApprovalRequest
from realtime_bridge.session.items import HistoryItem
from realtime_bridge.session.usage import Tokens
from realtime_bridge.transport.base import ItemCut, TransportEvent


class _Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    @property
    def type(self) -> str:
        tag = self.__struct_config__.tag
        assert isinstance(tag, str)
        return tag


class AgentStart(_Event, frozen=True, kw_only=True, tag="agent_start"):
    """The model begins a response for this agent."""

    agent: str
    response_id: str


class AgentEnd(_Event, frozen=True, kw_only=True, tag="agent_end"):
    """The response is complete or cut off. `output`: its words as heard so far. `status`: as in `response.done`."""

    agent: str
    response_id: str
    output: str
    status: str


class AgentHandoff(_Event, frozen=True, kw_only=True, tag="agent_handoff"):
    """Another agent has taken over. `call_id`: the tool call that did it; None when the program did."""

    from_agent: str
    to_agent: str
    call_id: str | None = None


class AgentToolStart(_Event, frozen=True, kw_only=True, tag="agent_tool_start"):
    """A tool runs now. `server_label` is set for tools of hosted MCP servers."""

    agent: str
    tool: str
    call_id: str
    arguments: str
    server_label: str | None = None


class AgentToolEnd(_Event, frozen=True, kw_only=True, tag="agent_tool_end"):
    """A call has been answered with `output`.

    `outcome`: ok, invalid_arguments, rejected (by a person or a guardrail), failed, timeout, cancelled, not_found.
    """

    agent: str
    tool: str
    call_id: str
    arguments: str
    output: str
    outcome: str
    server_label: str | None = None


class ToolApprovalRequested(_Event, frozen=True, kw_only=True, tag="tool_approval_requested"):
    """A call waits: answer with `session.approve(event.request)` or `session.reject(event.request)`."""

    request: ApprovalRequest


class ToolApprovalResolved(_Event, frozen=True, kw_only=True, tag="tool_approval_resolved"):
    """A call waits no more. `by`: program, timeout, session_end, or model_lost (a hosted server's call that ended with its
    model session); after the last two it was not run."""

    request: ApprovalRequest
    approved: bool
    by: Literal["program", "timeout", "session_end", "model_lost"]


class Audio(_Event, frozen=True, kw_only=True, tag="audio"):
    """Audio for the program to play, in the session's output format; only on transports that do not play themselves."""

    audio: bytes
    response_id: str
    item_id: str
    content_index: int


class AudioStart(_Event, frozen=True, kw_only=True, tag="audio_start"):
    """The agent begins to be heard (or, where the program plays, its audio begins to arrive)."""

    agent: str
    response_id: str
    item_id: str


class AudioStopped(_Event, frozen=True, kw_only=True, tag="audio_stopped"):
    """An item was heard to its end (or, where the program plays, its audio is complete)."""

    agent: str
    response_id: str
    item_id: str


class AudioInterrupted(_Event, frozen=True, kw_only=True, tag="audio_interrupted"):
    """Audio was taken back from the caller; where the program plays, it must stop playing now. `by`: speech, program,
    guardrail or end."""

    cuts: tuple[ItemCut, ...]
    by: str


class HistoryAdded(_Event, frozen=True, kw_only=True, tag="history_added"):
    """A new item; it may still be growing."""

    item: HistoryItem


class HistoryUpdated(_Event, frozen=True, kw_only=True, tag="history_updated"):
    """The whole history, after a change of an item, or of several (`item` is None)."""

    history: tuple[HistoryItem, ...]
    item: HistoryItem | None = None


class GuardrailTripped(_Event, frozen=True, kw_only=True, tag="guardrail_tripped"):
    """An output guardrail tripped, once per response. `text`: the words it saw."""

    agent: str
    guardrail: str
    response_id: str
    item_id: str
    text: str
    info: str = ""


class TransportEventSeen(_Event, frozen=True, kw_only=True, tag="transport_event"):
    """Whatever the transport or the model reported, as it came."""

    event: TransportEvent


class UsageUpdated(_Event, frozen=True, kw_only=True, tag="usage"):
    """One response's tokens (or one transcription's, under its item's id) and the session's so far.

    `cost`: US dollars so far, where prices were given.
    """

    response_id: str
    turn: Tokens
    total: Tokens
    cost: float | None = None


class McpToolsChanged(_Event, frozen=True, kw_only=True, tag="mcp_tools_changed"):
    """The tools that hosted MCP servers offer the current agent: `{server_label: (tool name, …)}`."""

    tools: dict[str, tuple[str, ...]]


class Dtmf(_Event, frozen=True, kw_only=True, tag="dtmf"):
    """The caller pressed a key."""

    digit: str


class InputTimeout(_Event, frozen=True, kw_only=True, tag="input_audio_timeout_triggered"):
    """The caller has been silent for `idle_timeout_ms`; the model is about to speak up."""

    item_id: str


class Reconnecting(_Event, frozen=True, kw_only=True, tag="reconnecting"):
    """The model's socket is gone, or about to be changed for a fresh one (`planned`)."""

    reason: str
    planned: bool = False


class Reconnected(_Event, frozen=True, kw_only=True, tag="reconnected"):
    """A fresh model session has the conversation as heard. `items`: how many it was given."""

    attempt: int
    items: int


class SessionError(_Event, frozen=True, kw_only=True, tag="error"):
    """Something went wrong. `source`: model, tool, guardrail, approval, handoff, hook, transport or session.

    `level` "warning": survived without anybody's loss. `fatal`: the session ends. `exception`: what user code raised,
    where it did; `tool` names the tool or guardrail.
    """

    message: str
    source: str
    code: str | None = None
    level: Literal["warning", "error"] = "error"
    fatal: bool = False
    tool: str | None = None
    call_id: str | None = None
    exception: Any = None


class SessionEnd(_Event, frozen=True, kw_only=True, tag="session_end"):
    """The last event."""

    reason: str


SessionEvent: TypeAlias = (
    AgentStart
    | AgentEnd
    | AgentHandoff
    | AgentToolStart
    | AgentToolEnd
    | ToolApprovalRequested
    | ToolApprovalResolved
    | Audio
    | AudioStart
    | AudioStopped
    | AudioInterrupted
    | HistoryAdded
    | HistoryUpdated
    | GuardrailTripped
    | TransportEventSeen
    | UsageUpdated
    | McpToolsChanged
    | Dtmf
    | InputTimeout
    | Reconnecting
    | Reconnected
    | SessionError
    | SessionEnd
)
