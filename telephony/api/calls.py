"""Calls: what they were, how they stand, and the steering of those that are going on."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query, Response

from realtime_bridge.errors import MisuseError
from telephony.api.access import CallsRead, CallsWrite, Visit
from telephony.api.models import (
    CALL_SID,
    E164,
    Call,
    CallDetail,
    CallPage,
    CommandResult,
    Cursor,
    HangUpIn,
    LiveState,
    MuteIn,
    PauseRecordingIn,
    PressIn,
    SayIn,
    StopRecordingIn,
    Stream,
    ToolUse,
    TransferIn,
    Turn,
    When,
)
from telephony.api.problems import Problem, wrong_field
from telephony.calls.commands import (
    CallCommand,
    CommandError,
    HangUp,
    Hold,
    Mute,
    Outcome,
    PauseRecording,
    Press,
    Resume,
    ResumeRecording,
    Say,
    ShowState,
    StopRecording,
    Transfer,
)
from telephony.store.rows import CallFilter, CallRow, CallStatus, Direction
from telephony.store.states import is_final
from telephony.twilio.rest_errors import TwilioRestError

router = APIRouter(prefix="/calls", tags=["calls"])

CallSid = Annotated[str, Path(pattern=CALL_SID)]

_STATUS_OF = {"unknown_call": 404, "not_live": 409, "busy": 429, "refused": 409, "failed": 500, "no_answer": 504}
_STEERING: dict[int | str, dict[str, Any]] = {
    202: {"model": CommandResult, "description": "Started; how it went will be among the call's events."},
    409: {"description": "The call is not live, or refused the command."},
    504: {"description": "The call's process did not answer: it is open whether the command was carried out."},
}


@router.get("")
async def list_calls(
    visit: CallsRead,
    *,
    direction: Direction | None = None,
    status: CallStatus | None = None,
    agent: Annotated[str | None, Query(max_length=200)] = None,
    number: Annotated[str | None, Query(pattern=E164)] = None,
    since: When | None = None,
    until: When | None = None,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> CallPage:
    """Calls, newest first, live ones included. `number`: either side's, in E.164; needs the scope numbers:read."""
    if number is not None:
        visit.require("numbers:read", "Looking for a number")
    wanted = CallFilter(
        direction=direction, status=status, agent=agent, number=number, since=since, until=until
    )  # fmt: skip
    try:
        page = await visit.services.store.calls.list(wanted, before=cursor, limit=limit)
    except MisuseError:
        raise wrong_field("query.cursor", "must be the next_cursor of an earlier page, unchanged") from None
    return CallPage(calls=[Call.of(row, visit) for row in page.rows], next_cursor=page.before)


@router.get("/{call_sid}")
async def show_call(visit: CallsRead, call_sid: CallSid) -> CallDetail:
    """One call, with its transcript and tools once it has finished."""
    row = await known_call(visit, call_sid)
    calls = visit.services.store.calls
    return CallDetail(
        **Call.of(row, visit).model_dump(by_alias=False),
        streams=[Stream.of(number, stream, visit) for number, stream in enumerate(row.streams, 1)],
        transcript=[Turn.of(turn, visit) for turn in await calls.turns(call_sid)],
        tools=[ToolUse.of(tool, visit) for tool in await calls.tools(call_sid)],
    )


@router.get("/{call_sid}/live", responses={409: _STEERING[409], 504: _STEERING[504]})
async def live_state(visit: CallsRead, call_sid: CallSid) -> LiveState:
    """How a live call stands: its agent, whether it is muted, the conversation as heard. Asked of whichever process has it."""
    outcome = await _run(visit, call_sid, ShowState())
    return LiveState(call_sid=call_sid, state=visit.discreet(outcome.result or {}))


@router.post("/{call_sid}/hang-up", responses=_STEERING)
async def hang_up(
    visit: CallsWrite, call_sid: CallSid, response: Response, body: HangUpIn | None = None
) -> CommandResult:
    """End the call: by its agent, who may say goodbye, or at Twilio where it has none (it rings, or its process died)."""
    wanted = body or HangUpIn()
    try:
        command = HangUp(reason=wanted.reason, after_goodbye=wanted.after_goodbye)
        return await _steer(visit, call_sid, command, response)
    except Problem as problem:
        if problem.code not in ("not-live", "no-answer") or not await _end_at_twilio(visit, call_sid):
            raise
    return CommandResult(call_sid=call_sid, command="hang_up", state="done", result={"ended": True})


@router.post("/{call_sid}/transfer", responses=_STEERING)
async def transfer(visit: CallsWrite, call_sid: CallSid, response: Response, body: TransferIn) -> CommandResult:
    """Connect the caller with another number."""
    return await _steer(visit, call_sid, Transfer(to=body.to, warm=body.warm, summary=body.summary), response)


@router.post("/{call_sid}/say", responses=_STEERING)
async def say(visit: CallsWrite, call_sid: CallSid, response: Response, body: SayIn) -> CommandResult:
    """Have the agent say this now."""
    return await _steer(visit, call_sid, Say(text=body.text), response)


@router.post("/{call_sid}/mute", responses=_STEERING)
async def mute(visit: CallsWrite, call_sid: CallSid, response: Response, body: MuteIn | None = None) -> CommandResult:
    """Silence one side towards the other, until `unmute`; without a body, the caller."""
    return await _steer(visit, call_sid, Mute(muted=True, who=(body or MuteIn()).who), response)


@router.post("/{call_sid}/unmute", responses=_STEERING)
async def unmute(visit: CallsWrite, call_sid: CallSid, response: Response, body: MuteIn | None = None) -> CommandResult:
    """Undo `mute`."""
    return await _steer(visit, call_sid, Mute(muted=False, who=(body or MuteIn()).who), response)


@router.post("/{call_sid}/hold", responses=_STEERING)
async def hold(visit: CallsWrite, call_sid: CallSid, response: Response) -> CommandResult:
    """The caller waits, until `resume`."""
    return await _steer(visit, call_sid, Hold(), response)


@router.post("/{call_sid}/resume", responses=_STEERING)
async def resume(visit: CallsWrite, call_sid: CallSid, response: Response) -> CommandResult:
    """The conversation goes on after `hold`."""
    return await _steer(visit, call_sid, Resume(), response)


@router.post("/{call_sid}/pause-recording", responses=_STEERING)
async def pause_recording(
    visit: CallsWrite, call_sid: CallSid, response: Response, body: PauseRecordingIn | None = None
) -> CommandResult:
    """Silence in the recording, and no words, until `resume-recording` or for the time that is given."""
    return await _steer(visit, call_sid, PauseRecording(seconds=(body or PauseRecordingIn()).seconds), response)


@router.post("/{call_sid}/resume-recording", responses=_STEERING)
async def resume_recording(visit: CallsWrite, call_sid: CallSid, response: Response) -> CommandResult:
    """The recording goes on after `pause-recording`."""
    return await _steer(visit, call_sid, ResumeRecording(), response)


@router.post("/{call_sid}/stop-recording", responses=_STEERING)
async def stop_recording(
    visit: CallsWrite, call_sid: CallSid, response: Response, body: StopRecordingIn | None = None
) -> CommandResult:
    """Record no more of this call."""
    return await _steer(visit, call_sid, StopRecording(delete=(body or StopRecordingIn()).delete), response)


@router.post("/{call_sid}/press", responses=_STEERING)
async def press(visit: CallsWrite, call_sid: CallSid, response: Response, body: PressIn) -> CommandResult:
    """Send keypad tones to the other party."""
    return await _steer(visit, call_sid, Press(digits=body.digits), response)


async def known_call(visit: Visit, call_sid: str) -> CallRow:
    """Raises Problem 404."""
    row = await visit.services.store.calls.get(call_sid)
    if row is None:
        raise Problem(404, "not-found", f"There is no call {call_sid}.")
    return row


async def _steer(visit: Visit, call_sid: str, command: CallCommand, response: Response) -> CommandResult:
    args = msgspec.to_builtins(command)
    verb = args.pop("verb")
    await visit.services.store.access.audit(visit.who, f"call.{verb}", call_sid, args)
    outcome = await _run(visit, call_sid, command)
    if not outcome.done:
        response.status_code = 202
    return CommandResult(
        call_sid=call_sid,
        command=verb,
        state="done" if outcome.done else "started",
        result=visit.discreet(outcome.result),
    )


async def _end_at_twilio(visit: Visit, call_sid: str) -> bool:
    """False when the call is over, or there is no way to Twilio. Raises Problem when Twilio does not do it."""
    row, rest = await visit.services.store.calls.get(call_sid), visit.services.rest
    if row is None or is_final(row.status) or rest is None:
        return False
    try:
        await rest.update_call(call_sid, status="completed")
    except TwilioRestError as e:
        if e.kind == "over":
            return False
        raise Problem(502, f"twilio-{e.kind}".replace("_", "-"), f"Twilio did not end the call: {e}") from e
    return True


async def _run(visit: Visit, call_sid: str, command: CallCommand) -> Outcome:
    try:
        return await visit.services.commands.run(call_sid, command, by=visit.who)
    except CommandError as e:
        raise Problem(_STATUS_OF[e.code], e.code.replace("_", "-"), str(visit.discreet(str(e)))) from e
