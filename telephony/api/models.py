"""What the API takes and gives. Requests know no other fields than these; answers may gain some."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from telephony.api.access import Visit
from telephony.store.rows import (
    ApprovalRow,
    ApprovalStatus,
    AttemptRow,
    AttemptStatus,
    AuditRow,
    CallRow,
    CallStatus,
    Direction,
    EventRow,
    StreamEnd,
    SuppressionRow,
    ToolRow,
    TurnRow,
)

CALL_SID = r"^[A-Za-z0-9_]{1,64}$"
E164 = r"^\+[1-9][0-9]{6,14}$"


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain U+0000")
    return text


Text = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000), AfterValidator(_without_nul)
]
ShortText = Annotated[str, StringConstraints(strip_whitespace=True, max_length=500), AfterValidator(_without_nul)]
Number = Annotated[str, StringConstraints(strip_whitespace=True, max_length=40, min_length=1)]
E164Number = Annotated[str, StringConstraints(strip_whitespace=True, pattern=E164)]


class In(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Out(BaseModel):
    model_config = ConfigDict(frozen=True, serialize_by_alias=True, populate_by_name=True)


# ---- calls -----------------------------------------------------------------------------------------------------------


class Call(Out):
    """`from` and `to` are masked without the scope numbers:read. `finished_at`: when its end was stored."""

    call_sid: str
    direction: Direction
    from_number: str = Field(alias="from")
    to_number: str = Field(alias="to")
    status: CallStatus
    agent: str | None
    node: str | None
    created_at: datetime
    answered_at: datetime | None
    ended_at: datetime | None
    finished_at: datetime | None
    duration_ms: int | None
    disposition: str | None
    parent_call_sid: str | None
    attempt_id: str | None
    parameters: dict[str, str]
    carrier: dict[str, str]
    usage: dict[str, Any] | None
    cost_usd: float | None
    problems: list[str]

    @classmethod
    def of(cls, row: CallRow, visit: Visit) -> Call:
        plain = {name: getattr(row, name) for name in cls.model_fields}
        plain |= {
            "from_number": visit.number(row.from_number),
            "to_number": visit.number(row.to_number),
            "parameters": visit.discreet(row.parameters),
            # The network tells the caller's name, too.
            "carrier": row.carrier if visit.may("numbers:read") else {},
            "problems": visit.discreet(row.problems),
        }
        return cls(**plain)


class Turn(Out):
    """Something that was said. `cut`: the caller did not hear it to its end, nor the words in `unheard`.

    `stream`: in which of the call's media streams, counted from 1; times count from that one's beginning.
    """

    role: Literal["user", "assistant"]
    text: str
    cut: bool
    unheard: str
    agent: str | None
    start_ms: int | None
    end_ms: int | None
    stream: int

    @classmethod
    def of(cls, row: TurnRow, visit: Visit) -> Turn:
        return cls(**visit.discreet({name: getattr(row, name) for name in cls.model_fields}))


class ToolUse(Out):
    """A tool that the agent called. `approved` is null where nobody had to be asked. `stream` as in `Turn`."""

    call_id: str
    name: str
    arguments: dict[str, Any]
    start_ms: int
    end_ms: int | None
    outcome: str | None
    output: str | None
    approved: bool | None
    agent: str | None
    stream: int

    @classmethod
    def of(cls, row: ToolRow, visit: Visit) -> ToolUse:
        return cls(**visit.discreet({name: getattr(row, name) for name in cls.model_fields}))


class Stream(Out):
    """How one media stream of a call ended. A call has several when it comes back from a transfer."""

    stream: int
    disposition: str
    ended_at: datetime
    duration_ms: int
    recorded: bool

    @classmethod
    def of(cls, number: int, row: StreamEnd, visit: Visit) -> Stream:
        return cls(
            stream=number,
            disposition=visit.discreet(row.disposition),
            ended_at=row.ended_at,
            duration_ms=row.duration_ms,
            recorded=row.recording is not None,
        )


class CallDetail(Call):
    """With what was said and done, stream by stream; all are empty until the call's first stream has ended."""

    streams: list[Stream]
    transcript: list[Turn]
    tools: list[ToolUse]


class CallPage(Out):
    """Newest first. `next_cursor`: send it as `cursor` for the next page; null at the end."""

    calls: list[Call]
    next_cursor: str | None


class Event(Out):
    """Something that happened in or around a call. Ids rise."""

    event_id: int
    call_sid: str
    kind: str
    at: datetime
    data: dict[str, Any]

    @classmethod
    def of(cls, row: EventRow, visit: Visit) -> Event:
        data = visit.discreet(row.data)
        return cls(event_id=row.event_id, call_sid=row.call_sid, kind=row.kind, at=row.at, data=data)


class EventPage(Out):
    """In the order of their ids; `after` the last one come the next."""

    events: list[Event]


class CommandResult(Out):
    """`state` started: it takes longer; how it went will be among the call's events, kind `command`."""

    call_sid: str
    command: str
    state: Literal["done", "started"]
    result: dict[str, Any] | None = None


class LiveState(Out):
    """The call at this moment. `history`: the conversation as heard."""

    call_sid: str
    state: dict[str, Any]


class HangUpIn(In):
    """`after_goodbye`: let the caller hear out what the agent is saying."""

    after_goodbye: bool = True
    reason: ShortText = "hung up by an operator"


class TransferIn(In):
    """`warm`: who answers hears `summary` first, and may decline."""

    to: Number
    warm: bool = False
    summary: ShortText | None = None


class SayIn(In):
    text: Text


class PressIn(In):
    """Keys 0-9 * # A-D; `w` or `,` is a pause of half a second, `W` one of a whole."""

    digits: Annotated[str, StringConstraints(pattern=r"^[0-9*#A-Dw,W]{1,64}$")]


class MuteIn(In):
    """`who` caller: the agent hears silence instead of the caller. agent: the caller hears nothing of the agent."""

    who: Literal["caller", "agent"] = "caller"


class PauseRecordingIn(In):
    """`seconds`: after which the recording resumes by itself; by default, and at most, as the server's settings say."""

    seconds: Annotated[float, Field(ge=1, le=1800)] | None = None


class StopRecordingIn(In):
    """`delete`: and keep nothing of what was recorded before, nor of what was said."""

    delete: bool = False


class PlaceCallIn(In):
    """What is left out comes from the server's settings. `to`: as people write it, with + and country. `agent`: its name.

    `parameters` reach the agent. `on_machine`: talk, hang_up, or what to say after the beep; `wait_for_machine` finds
    out before the agent speaks, at the price of some seconds of silence for people. `record`: whether the call is
    recorded, whatever its agent and the server's settings say.
    """

    to: Number
    agent: ShortText = ""
    from_number: Annotated[Number | None, Field(alias="from")] = None
    parameters: dict[str, Annotated[str, AfterValidator(_without_nul)]] = Field({}, max_length=20)
    on_machine: ShortText = "talk"
    on_unknown: Literal["talk", "hang_up"] = "talk"
    wait_for_machine: bool = False
    ring_seconds: Annotated[int, Field(ge=1, le=600)] | None = None
    call_seconds_max: Annotated[int, Field(ge=1, le=86400)] | None = None
    record: bool | None = None


class PlacedCall(Out):
    """Twilio has the call. `fresh` false: an earlier request with the same Idempotency-Key placed it."""

    attempt_id: str
    call_sid: str
    status: str
    fresh: bool


class Attempt(Out):
    """An outbound call that was asked for, whatever became of it. `code`: Twilio's error code, where it gave one."""

    attempt_id: str
    to_number: str = Field(alias="to")
    from_number: str = Field(alias="from")
    agent: str | None
    status: AttemptStatus
    call_sid: str | None
    code: int | None
    reason: str | None
    answered_by: str | None
    created_at: datetime
    updated_at: datetime | None

    @classmethod
    def of(cls, row: AttemptRow, visit: Visit) -> Attempt:
        plain = {name: getattr(row, name) for name in cls.model_fields}
        numbers = {name: visit.number(plain[name]) for name in ("to_number", "from_number")}
        return cls(**plain | numbers)


# ---- approvals -------------------------------------------------------------------------------------------------------


class Approval(Out):
    """A tool call that waits, or waited, for a decision. `arguments`: the exact JSON text the tool is called with."""

    approval_id: str
    call_sid: str
    agent: str
    tool: str
    arguments: str
    details: dict[str, Any]
    status: ApprovalStatus
    asked_at: datetime
    expires_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    message: str | None
    always: bool

    @classmethod
    def of(cls, row: ApprovalRow) -> Approval:
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class ApprovalPage(Out):
    """Newest first. `next_cursor`: send it as `cursor` for the next page; null at the end."""

    approvals: list[Approval]
    next_cursor: str | None


class DecisionIn(In):
    """`always`: for this agent's tool, for the rest of the call. `message`: told to the agent, of a rejection."""

    always: bool = False
    message: ShortText | None = None


# ---- suppressions ----------------------------------------------------------------------------------------------------


class Suppression(Out):
    """A number that is not called."""

    number: str
    added_at: datetime
    reason: str
    added_by: str

    @classmethod
    def of(cls, row: SuppressionRow) -> Suppression:
        return cls(number=row.number, added_at=row.added_at, reason=row.reason, added_by=row.added_by)


class SuppressionPage(Out):
    """By number. `next_cursor`: send it as `cursor` for the next page; null at the end."""

    suppressions: list[Suppression]
    next_cursor: str | None


class SuppressionIn(In):
    number: E164Number
    reason: ShortText = ""


class PersonIn(In):
    """In the body, since addresses of requests are written down in many places."""

    number: E164Number


class ErasedPerson(Out):
    """How much was erased. `failed`: calls that stay, since their recordings could not be deleted. `elsewhere`: calls
    whose recordings lie on another machine. `suppressed`: the number stays on the list of those not to be called."""

    calls: int
    attempts: int
    recordings: int
    failed: list[str]
    elsewhere: list[str]
    suppressed: bool


class Suppressed(Out):
    number: str
    suppressed: bool


# ---- audit -----------------------------------------------------------------------------------------------------------


class Audited(Out):
    """Something that somebody did. `subject`: the id of what they did it to."""

    audit_id: int
    at: datetime
    who: str
    action: str
    subject: str
    data: dict[str, Any]

    @classmethod
    def of(cls, row: AuditRow, visit: Visit) -> Audited:
        return cls(**visit.discreet({name: getattr(row, name) for name in cls.model_fields}))


class AuditPage(Out):
    """Newest first. `next_cursor`: send it as `cursor` for the next page; null at the end."""

    audit: list[Audited]
    next_cursor: int | None


Cursor = Annotated[str, StringConstraints(max_length=200), AfterValidator(_without_nul)]
When = Annotated[AwareDatetime, AfterValidator(lambda at: at.astimezone(UTC))]
