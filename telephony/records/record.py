"""call.json: what happened in one call, for people, programs and the picture of it.

Times named `…_ms` count from the phone's time 0, the first sample of the recording, unless their name says what else.
Words are what was *heard*: what a caller never heard of the agent's lies apart, in `unheard`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from realtime_bridge.errors import MisuseError, ProtocolError
from realtime_bridge.session.usage import Tokens

FORMAT = 1


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was said. `cut`: the caller did not hear it to its end, nor the words in `unheard`.

    The times are those of its audio; both are None for words that were never sound.
    """

    role: Literal["user", "assistant"]
    text: str
    cut: bool = False
    unheard: str = ""
    agent: str | None = None  # who said it, if an agent did
    start_ms: int | None = None
    end_ms: int | None = None
    answer_ms: int | None = None  # of an answer: from the end of the caller's words to its first sound heard


class ToolUse(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the model called. `approved` is None where nobody had to be asked.

    `outcome`: "done", "failed" (its error went to the model), "rejected" (never run), "cancelled", or None while it runs.
    """

    call_id: str
    name: str
    arguments: dict[str, Any]
    start_ms: int
    end_ms: int | None = None
    outcome: Literal["done", "failed", "rejected", "cancelled"] | None = None
    output: str | None = None
    approved: bool | None = None
    agent: str | None = None


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A tool call that waited for somebody's decision. `by`: who decided; None for a time limit or the call's end."""

    call_id: str
    tool: str
    start_ms: int
    end_ms: int | None = None
    decision: Literal["approved", "rejected", "expired", "cancelled"] | None = None
    by: str | None = None


class Handoff(msgspec.Struct, frozen=True, kw_only=True, rename={"from_agent": "from", "to_agent": "to"}):
    """From here on another agent speaks."""

    from_agent: str
    to_agent: str
    at_ms: int


class BargeIn(msgspec.Struct, frozen=True, kw_only=True):
    """The agent was interrupted while it could be heard.

    `audio_end_ms`: of the item's own audio, what was truncated to. `heard_ms_true`: what a phone that knows really played.
    """

    item_id: str
    audio_end_ms: int
    at_ms: int
    heard_ms_true: float | None = None


class Reconnect(msgspec.Struct, frozen=True, kw_only=True):
    """The model's session was lost, or was about to end (`planned`), and another one went on. `end_ms` None: none did."""

    start_ms: int
    end_ms: int | None = None
    planned: bool = False
    reason: str = ""


class KeyPress(msgspec.Struct, frozen=True, kw_only=True):
    """The caller pressed a key: 0-9, *, #, A-D; blackened where nobody is to know which."""

    key: str
    at_ms: int


class RecordingNotice(msgspec.Struct, frozen=True, kw_only=True):
    """The caller was told that the call is recorded. `heard`: to its end; if never, nothing of the call was kept."""

    text: str
    start_ms: int
    end_ms: int | None = None
    heard: bool = False


class RecordingPause(msgspec.Struct, frozen=True, kw_only=True):
    """Silence in the recording, and no words. `end_ms` None: until the call's end.

    `reason`: the notice had not been heard yet (until then only the caller is silent); somebody asked; digits were
    collected that are nobody else's business; or the recording was stopped.
    """

    start_ms: int
    end_ms: int | None = None
    reason: Literal["notice", "asked", "digits", "stopped"]


class CallRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One call. Phone numbers are kept as they are given: masked, where the caller of this masks them."""

    call_sid: str
    direction: Literal["inbound", "outbound"]
    from_number: str
    to_number: str
    started_at: datetime
    agent: str  # who answered
    format: int = msgspec.field(default=FORMAT)
    model: str | None = None
    ended_at: datetime | None = None
    duration_ms: int = 0
    disposition: str = "in progress"  # how it ended, in a word or two
    transcript: tuple[Line, ...] = ()
    tools: tuple[ToolUse, ...] = ()
    approvals: tuple[Approval, ...] = ()
    handoffs: tuple[Handoff, ...] = ()
    barge_ins: tuple[BargeIn, ...] = ()
    reconnects: tuple[Reconnect, ...] = ()
    keys: tuple[KeyPress, ...] = ()
    latency_ms: dict[str, float] = {}  # name_p50, name_p99, name_max: see `telephony.latency`
    usage: Tokens = Tokens()
    cost_usd: float | None = None
    problems: tuple[str, ...] = ()  # what went wrong, recording included
    notices: tuple[RecordingNotice, ...] = ()
    pauses: tuple[RecordingPause, ...] = ()
    package_version: str = ""  # of this program
    recording: Literal["kept", "deleted"] = "kept"  # deleted: neither sound nor words, for what `problems` says


def encode_record(record: CallRecord) -> bytes:
    """As indented JSON. Raises MisuseError when a tool's arguments are no JSON."""
    try:
        return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"
    except (TypeError, ValueError, RecursionError) as e:
        raise MisuseError(f"this call's record cannot be written as JSON: {e}") from e


def decode_record(data: bytes) -> CallRecord:
    """Raises ProtocolError, which names the field, for what is no such record or one of another format."""
    try:
        record = msgspec.json.decode(data, type=CallRecord)
    except msgspec.DecodeError as e:
        raise ProtocolError(f"not the record of a call: {e}") from e
    if record.format != FORMAT:
        raise ProtocolError(f"a record of format {record.format}; this program reads {FORMAT}", where="$.format")
    return record
