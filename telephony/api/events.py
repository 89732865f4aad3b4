"""What happens in a call, as it is stored: to read, and to follow as Server-Sent Events, on whichever node it happens.

The stream reads the store, so it works on any node and goes on where it broke off (`Last-Event-ID`). It ends when the
call has finished, and anyway after some minutes: whoever comes back shows their token again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from telephony.api.access import CallsRead, Visit
from telephony.api.calls import CallSid, known_call
from telephony.api.models import Event, EventPage
from telephony.api.problems import Problem
from telephony.store import StoreError

router = APIRouter(prefix="/calls", tags=["calls"])

LOOK_S: Final = 0.5
STREAM_S_MAX: Final = 300.0
QUIET_S_MAX: Final = 15.0  # then a comment is sent, which keeps proxies from hanging up
STREAMS_MAX: Final = 50  # of one process
EVENT_ID_MAX: Final = 2**53


@router.get("/{call_sid}/events")
async def list_events(
    visit: CallsRead,
    call_sid: CallSid,
    after: Annotated[int, Query(ge=0, le=EVENT_ID_MAX)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> EventPage:
    """What happened in and around a call, in order: approvals, commands, transfers, problems."""
    await known_call(visit, call_sid)
    rows = await visit.services.store.calls.events(call_sid, after=after, limit=limit)
    return EventPage(events=[Event.of(row, visit) for row in rows])


@router.get(
    "/{call_sid}/events/stream",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "Server-Sent Events."}},
)
async def follow_events(
    request: Request,
    visit: CallsRead,
    call_sid: CallSid,
    last_event_id: Annotated[str | None, Header(pattern=r"^[0-9]{0,15}$")] = None,
) -> StreamingResponse:
    """The same, live: each event with its id, then `event: end` when the call has finished."""
    await known_call(visit, call_sid)
    state = request.app.state
    if state.event_streams >= STREAMS_MAX:
        raise Problem(503, "too-many-streams", "Too many event streams are open.", headers={"retry-after": "10"})
    events = _follow(request, visit, call_sid, int(last_event_id or 0))
    return StreamingResponse(events, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _follow(request: Request, visit: Visit, call_sid: str, after: int) -> AsyncIterator[str]:
    calls = visit.services.store.calls
    clock = asyncio.get_running_loop().time
    ends_at = clock() + STREAM_S_MAX
    said_at = clock()
    request.app.state.event_streams += 1
    try:
        yield "retry: 2000\n\n"
        while clock() < ends_at:
            row = await calls.get(call_sid)  # before the events, of which none may come after its end
            for event in await calls.events(call_sid, after=after):
                after, said_at = event.event_id, clock()
                yield f"id: {after}\nevent: {event.kind}\ndata: {Event.of(event, visit).model_dump_json()}\n\n"
            if row is not None and row.finished_at is not None:
                yield "event: end\ndata: {}\n\n"
                return
            if clock() - said_at >= QUIET_S_MAX:
                said_at = clock()
                yield ": still here\n\n"
            await asyncio.sleep(LOOK_S)
    except StoreError:
        return  # the reader comes again, and is told then
    finally:
        request.app.state.event_streams -= 1
