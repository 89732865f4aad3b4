"""Everything that can happen to the core: what the transport reports, what the program wants, what slow work brought."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from realtime_bridge.session.items import HistoryItem, Role
from realtime_bridge.session.specs import AgentSpec
from realtime_bridge.transport.base import TransportEvent
from realtime_bridge.wire import ClientEvent, ContentPart
from realtime_bridge.wire.items import ContentIndex


class _Input(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    pass


class Started(_Input, frozen=True, kw_only=True, tag="started"):
    """The transport is connected, and has sent the first `session.update` (see `SessionMachine.first_update`).

    `unix_s`: what the wall clock shows (Unix seconds), for moments that the model names; None: they are not known.
    """

    unix_s: float | None = None


class MessageSent(_Input, frozen=True, kw_only=True, tag="message_sent"):
    """`send_message()`. `respond`: the model is to answer it, in a response of its own."""

    content: tuple[ContentPart, ...]
    role: Role = "user"
    respond: bool = True


class ResponseWanted(_Input, frozen=True, kw_only=True, tag="response_wanted"):
    """`create_response()`; `params` as in `response.create`."""

    params: dict[str, Any] | None = None


class AudioCommitted(_Input, frozen=True, kw_only=True, tag="audio_committed"):
    """The program has ended the caller's turn: `send_audio(…, commit=True)`."""


class InterruptWanted(_Input, frozen=True, kw_only=True, tag="interrupt_wanted"):
    """`interrupt()`."""


class HistoryEdited(_Input, frozen=True, kw_only=True, tag="history_edited"):
    """`update_history()`: what the conversation shall be."""

    history: tuple[HistoryItem, ...]


class AgentSwitched(_Input, frozen=True, kw_only=True, tag="agent_switched"):
    """`update_agent()`."""

    agent: AgentSpec


class ApprovalGiven(_Input, frozen=True, kw_only=True, tag="approval_given"):
    """`approve()` or `reject()`. `message`: told to the model on rejection."""

    call_id: str
    approved: bool
    always: bool = False
    message: str | None = None


class ClientEventWanted(_Input, frozen=True, kw_only=True, tag="client_event_wanted"):
    """`send_event()`: a raw client event; `response.create` and `response.cancel` still take their turn."""

    event: ClientEvent


class AudioPlayed(_Input, frozen=True, kw_only=True, tag="audio_played"):
    """`audio_played()`: the program has played so much of an item."""

    item_id: str
    content_index: ContentIndex
    played_ms: int


class CallChecked(_Input, frozen=True, kw_only=True, tag="call_checked"):
    """Answer to CheckCall. `refusal`: the call must not run; the model is told this. `error`: what user code raised."""

    call_id: str
    needs_approval: bool = False
    refusal: str | None = None
    outcome: str = "ok"
    error: str | None = None
    fatal: bool = False


class ToolFinished(_Input, frozen=True, kw_only=True, tag="tool_finished"):
    """Answer to RunTool. `outcome` as in AgentToolEnd. `error`: what user code raised; `fatal`: end the session."""

    call_id: str
    output: str
    outcome: str = "ok"
    silent: bool = False
    error: str | None = None
    fatal: bool = False


class HandoffReady(_Input, frozen=True, kw_only=True, tag="handoff_ready"):
    """Answer to RunHandoff. `history`: what the next agent shall see, where the hand-off filters it."""

    call_id: str
    agent: AgentSpec
    output: str
    history: tuple[HistoryItem, ...] | None = None


class GuardrailVerdict(_Input, frozen=True, kw_only=True, tag="guardrail_verdict"):
    """Answer to RunGuardrails. `tripped`: the guardrail's name; `feedback` for the model; `errors`: (name, what) of
    guardrails that failed."""

    run_id: str
    tripped: str | None = None
    feedback: str | None = None
    info: str = ""
    errors: tuple[tuple[str, str], ...] = ()


class Tick(_Input, frozen=True, kw_only=True, tag="tick"):
    """`next_deadline()` has come."""


class CloseWanted(_Input, frozen=True, kw_only=True, tag="close_wanted"):
    """`close()`."""

    reason: str


Input: TypeAlias = (
    TransportEvent
    | Started
    | MessageSent
    | ResponseWanted
    | AudioCommitted
    | InterruptWanted
    | HistoryEdited
    | AgentSwitched
    | ApprovalGiven
    | ClientEventWanted
    | AudioPlayed
    | CallChecked
    | ToolFinished
    | HandoffReady
    | GuardrailVerdict
    | Tick
    | CloseWanted
)
