"""The rows as the rest of the program sees them: frozen, typed, without a trace of the database.

Times are aware and in UTC. Numbers are E.164 (`+15551234567`) or "" where the caller withheld theirs; they belong in
the database and nowhere else, so no row shows them in its `repr`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Generic, Literal, TypeVar

import msgspec

RowT = TypeVar("RowT")

Direction = Literal["inbound", "outbound"]
# Twilio's CallStatus: https://www.twilio.com/docs/voice/api/call-resource#call-status-values
CallStatus = Literal[
    "queued", "initiated", "ringing", "in-progress", "completed", "busy", "failed", "no-answer", "canceled"
]
ApprovalStatus = Literal["waiting", "approved", "rejected", "expired", "cancelled"]
# An attempt is claimed before anything is dialled; Twilio's states follow, or Twilio (or we) refused it.
AttemptStatus = Literal[
    "claimed", "queued", "initiated", "ringing", "in-progress",
    "completed", "busy", "failed", "no-answer", "canceled", "refused",
]  # fmt: skip


class _Discreet(msgspec.Struct, frozen=True, kw_only=True):
    """Shown in logs by what it is called, never by what it holds."""

    def __repr__(self) -> str:
        name = self.__struct_fields__[0]
        return f"{type(self).__name__}({name}={getattr(self, name)!r}, …)"


class Page(msgspec.Struct, Generic[RowT], frozen=True):
    """Rows, newest first. `before` asks for the next page; None when there is none."""

    rows: tuple[RowT, ...]
    before: str | None = None


# ---- calls -----------------------------------------------------------------------------------------------------------


class StreamEnd(_Discreet, frozen=True, kw_only=True):
    """How one media stream of a call ended, with what it took: a call that comes back from a transfer has several.

    `recording`: path below DATA_DIR.
    """

    stream_sid: str
    disposition: str
    ended_at: datetime
    duration_ms: int
    recording: str | None = None
    usage: dict[str, Any] | None = None
    cost_usd: float | None = None
    problems: tuple[str, ...] = ()


class CallRow(_Discreet, frozen=True, kw_only=True):
    """One phone call. What stands below `carrier` is filled in by the store, from `status`, `answered` and `finish`.

    Of a call with several streams, the figures are their sums, `disposition` is the last one's and `recording` the first
    one's; `streams` has each, in the order in which they were stored.
    """

    call_sid: str
    direction: Direction
    from_number: str
    to_number: str
    created_at: datetime
    agent: str | None = None  # its name
    node: str | None = None  # which process has the call
    status: CallStatus = "ringing"
    parent_call_sid: str | None = None
    attempt_id: str | None = None
    parameters: dict[str, str] = {}  # custom parameters of this call
    carrier: dict[str, str] = {}  # what the network told: city, caller name, STIR/SHAKEN, …
    sequence: int | None = None  # of the status callback that was heeded last
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    finished_at: datetime | None = None  # when the end below was stored; None: nobody told how the call ended
    duration_ms: int | None = None
    disposition: str | None = None  # how it ended, in a word or two
    reconstructed: bool = False  # the end, by who did not have the call
    recording: str | None = None  # path below DATA_DIR
    usage: dict[str, Any] | None = None
    cost_usd: float | None = None
    problems: tuple[str, ...] = ()
    streams: tuple[StreamEnd, ...] = ()


class TurnRow(_Discreet, frozen=True, kw_only=True):
    """Something that was said: as in call.json, see `telephony.records.record.Line`.

    `stream`: which of the call's it was said in, counted from 1; the times are that one's.
    """

    role: Literal["user", "assistant"]
    text: str
    cut: bool = False
    unheard: str = ""
    agent: str | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    stream: int = 1


class ToolRow(_Discreet, frozen=True, kw_only=True):
    """A tool that the model called: as in call.json, see `telephony.records.record.ToolUse`; `stream` as in `TurnRow`."""

    call_id: str  # the model's
    name: str
    arguments: dict[str, Any]
    start_ms: int
    end_ms: int | None = None
    outcome: Literal["done", "failed", "rejected", "cancelled"] | None = None
    output: str | None = None
    approved: bool | None = None
    agent: str | None = None
    stream: int = 1


class CallEnd(_Discreet, frozen=True, kw_only=True):
    """How a call's media stream ended, told once by who had it; or how the call did, by who found out after a crash.

    `stream_sid`: which stream's; "" of a call that had none, or where that is not known. `status`: the call's final state at Twilio, where it is known;
    the call may go on there after our part of it.
    """

    stream_sid: str = ""
    disposition: str
    ended_at: datetime
    duration_ms: int
    reconstructed: bool = False  # by who found out; gives way to the word of who had the call, should that still come
    status: CallStatus | None = None
    transcript: tuple[TurnRow, ...] = ()
    tools: tuple[ToolRow, ...] = ()
    usage: dict[str, Any] | None = None
    cost_usd: float | None = None
    recording: str | None = None
    problems: tuple[str, ...] = ()


class EventRow(_Discreet, frozen=True, kw_only=True):
    """Something that happened in or around a call: a hand-off, a transfer, a problem. Ids rise with the order of storing."""

    event_id: int
    call_sid: str
    kind: str
    data: dict[str, Any]
    at: datetime


class CallFilter(_Discreet, frozen=True, kw_only=True):
    """Which calls to list; what is None does not matter."""

    direction: Direction | None = None
    status: CallStatus | None = None
    agent: str | None = None
    node: str | None = None
    number: str | None = None  # either side's
    since: datetime | None = None
    until: datetime | None = None  # exclusive


# ---- approvals -------------------------------------------------------------------------------------------------------


class ApprovalRow(_Discreet, frozen=True, kw_only=True):
    """A tool call that waits, or waited, for a decision. `arguments`: the exact JSON text that will be run."""

    approval_id: str
    call_sid: str
    call_id: str  # the model's
    agent: str
    tool: str
    arguments: str
    asked_at: datetime
    expires_at: datetime
    node: str | None = None  # who asked, and will run it
    details: dict[str, Any] = {}  # for whoever decides: a text to show, whether the caller may decide by keys, …
    status: ApprovalStatus = "waiting"
    decided_at: datetime | None = None
    decided_by: str | None = None
    message: str | None = None
    always: bool = False


class Decision(_Discreet, frozen=True, kw_only=True):
    """What became of a decision. `won`: it was this one. `row`: as it stands now; None: there is no such approval."""

    row: ApprovalRow | None
    won: bool


# ---- outbound --------------------------------------------------------------------------------------------------------


class AttemptRow(_Discreet, frozen=True, kw_only=True):
    """An outbound call that somebody asked for, stored before it is dialled."""

    attempt_id: str
    idempotency_key: str
    to_number: str
    from_number: str
    created_at: datetime
    agent: str | None = None
    node: str | None = None
    parameters: dict[str, str] = {}
    details: dict[str, Any] = {}  # answering-machine policy, ring time-out, who asked, …
    status: AttemptStatus = "claimed"
    call_sid: str | None = None
    code: int | None = None  # Twilio's, of a refusal or failure
    reason: str | None = None
    answered_by: str | None = None
    updated_at: datetime | None = None


class Claim(msgspec.Struct, frozen=True):
    """`fresh`: the key was new, and the row is the one given; otherwise it is the one that has the key."""

    row: AttemptRow
    fresh: bool


class SuppressionRow(_Discreet, frozen=True, kw_only=True):
    """A number that must not be called."""

    number: str
    added_at: datetime
    reason: str = ""
    added_by: str = ""

    def __repr__(self) -> str:
        return "SuppressionRow(…)"


# ---- who may do what -------------------------------------------------------------------------------------------------


class TokenRow(_Discreet, frozen=True, kw_only=True):
    """A bearer token of the API; its secret is known to its owner only."""

    token_id: str
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None  # to the minute


class OperatorRow(_Discreet, frozen=True, kw_only=True):
    """Somebody who may log in."""

    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    disabled_at: datetime | None = None


class AuditRow(_Discreet, frozen=True, kw_only=True):
    """Who did what to what, and when. Never changed, but for what is in it of a person who is erased."""

    audit_id: int
    at: datetime
    who: str
    action: str
    subject: str
    data: dict[str, Any]


# ---- nodes -----------------------------------------------------------------------------------------------------------


class NodeRow(_Discreet, frozen=True, kw_only=True):
    """A process that serves calls."""

    node: str
    started_at: datetime
    seen_at: datetime
    details: dict[str, Any] = {}


class BusMessage(_Discreet, frozen=True, kw_only=True):
    """One message of the bus. `node`: whom it is for; None: everybody. `sender`: the node that published it."""

    message_id: int
    topic: str
    body: dict[str, Any]
    sender: str
    at: datetime
    node: str | None = None
