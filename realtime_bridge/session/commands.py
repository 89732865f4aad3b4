"""What the core asks of its shell. Each is done at once, in order; slow work answers with an input (`inputs`)."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from realtime_bridge.session.events import SessionEvent
from realtime_bridge.wire import ClientEvent


class _Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="do"):
    pass


class Send(_Command, frozen=True, kw_only=True, tag="send"):
    """Send to the model."""

    event: ClientEvent


class Emit(_Command, frozen=True, kw_only=True, tag="emit"):
    """Tell the program."""

    event: SessionEvent


class CheckCall(_Command, frozen=True, kw_only=True, tag="check_call"):
    """May this call run, and must somebody approve it? Answer: CallChecked."""

    call_id: str
    agent: str
    tool: str
    arguments: str


class RunTool(_Command, frozen=True, kw_only=True, tag="run_tool"):
    """Run it. Answer: ToolFinished."""

    call_id: str
    agent: str
    tool: str
    arguments: str


class CancelTool(_Command, frozen=True, kw_only=True, tag="cancel_tool"):
    """Stop a check, a run or a hand-off; no answer is expected any more."""

    call_id: str


class RunHandoff(_Command, frozen=True, kw_only=True, tag="run_handoff"):
    """Prepare the transfer. Answer: HandoffReady, or ToolFinished when it cannot be made."""

    call_id: str
    agent: str
    handoff: str
    arguments: str


class RunGuardrails(_Command, frozen=True, kw_only=True, tag="run_guardrails"):
    """Check an agent's words with its and the session's guardrails. Answer: GuardrailVerdict."""

    run_id: str
    agent: str
    text: str


class Interrupt(_Command, frozen=True, kw_only=True, tag="interrupt"):
    """`transport.interrupt()`."""


class Discard(_Command, frozen=True, kw_only=True, tag="discard"):
    """`transport.discard()`; where the program plays, give it no more of this response's audio."""

    response_id: str


class Release(_Command, frozen=True, kw_only=True, tag="release"):
    """Audio kept back for guardrails may be heard up to `audio_ms` (None: all of the item)."""

    item_id: str
    content_index: int
    audio_ms: int | None = None


class Rotate(_Command, frozen=True, kw_only=True, tag="rotate"):
    """`transport.rotate()`: prepare a fresh model session beside the running one. Answer: SpareReady."""


class Switch(_Command, frozen=True, kw_only=True, tag="switch"):
    """`transport.switch()`: the spare session is the model from here on."""


class Resume(_Command, frozen=True, kw_only=True, tag="resume"):
    """`transport.resume()`: the fresh model session knows everything; let the caller's audio flow to it."""


class Close(_Command, frozen=True, kw_only=True, tag="close"):
    """Close the transport. `error` set: the session's `async for` raises."""

    reason: str
    error: str | None = None


Command: TypeAlias = (
    Send
    | Emit
    | CheckCall
    | RunTool
    | CancelTool
    | RunHandoff
    | RunGuardrails
    | Interrupt
    | Discard
    | Release
    | Rotate
    | Switch
    | Resume
    | Close
)
