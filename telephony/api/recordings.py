"""What was recorded of a call, from its folder in DATA_DIR: sound, picture and record. Only of calls that have ended.

A call that came back from a transfer has several media streams, each with its own: `stream` says which, from 1.
Recordings lie on the machine that had the call, unless the machines share DATA_DIR.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import FileResponse

from realtime_bridge.errors import ProtocolError
from realtime_bridge.tape.sealed import SealError
from telephony.api.access import RecordingsRead, Visit
from telephony.api.calls import CallSid, known_call
from telephony.api.problems import Problem
from telephony.api.sealed_sound import needs_key, unsealed_response
from telephony.records.folder import CallFolder
from telephony.store.states import is_final

router = APIRouter(prefix="/calls", tags=["recordings"])

ONE_RANGE: Final = r"^bytes=([0-9]{1,15}-[0-9]{0,15}|-[0-9]{1,15})$"  # many in one request cost more than they bring
_RANGES: dict[int | str, dict[str, Any]] = {
    206: {"description": "A part, as asked for by Range."},
    409: {"description": "The call goes on."},
}
StreamNumber = Annotated[int, Query(ge=1, le=1000, description="Which of the call's media streams.")]
_HEADERS = {"cache-control": "private, no-store", "x-content-type-options": "nosniff"}


@router.head("/{call_sid}/recording", include_in_schema=False)
@router.get(
    "/{call_sid}/recording", response_class=FileResponse, responses={200: {"content": {"audio/wav": {}}}, **_RANGES}
)
async def recording(
    visit: RecordingsRead,
    call_sid: CallSid,
    stream: StreamNumber = 1,
    byte_range: Annotated[str | None, Header(alias="range", pattern=ONE_RANGE)] = None,
) -> Response:
    """The sound: stereo, 8 kHz, caller left, agent right. `Range` asks for a part, one at a time."""
    folder = await _folder(visit, call_sid, stream)
    await _must_be_there(folder.recording, "no recording")
    if await asyncio.to_thread(needs_key, folder.recording):
        headers = {**_HEADERS, "content-disposition": f'attachment; filename="{call_sid}.wav"'}
        with _opened():
            return await unsealed_response(folder.recording, folder.keys, byte_range, headers, "audio/wav")
    return FileResponse(folder.recording, media_type="audio/wav", filename=f"{call_sid}.wav", headers=_HEADERS)


@router.get("/{call_sid}/timeline.svg", responses={200: {"content": {"image/svg+xml": {}}}}, response_class=Response)
async def timeline(visit: RecordingsRead, call_sid: CallSid, stream: StreamNumber = 1) -> Response:
    """The picture of the call."""
    folder = await _folder(visit, call_sid, stream)
    svg = (await _read(folder, folder.timeline, "no timeline")).decode()
    if not visit.may("numbers:read"):
        svg = visit.discreet(svg)
    # A picture shown by itself may run scripts; this one has none, and may not.
    headers = {**_HEADERS, "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox"}
    return Response(svg, media_type="image/svg+xml", headers=headers)


@router.get("/{call_sid}/call.json", responses={200: {"content": {"application/json": {}}}}, response_class=Response)
async def record(visit: RecordingsRead, call_sid: CallSid, stream: StreamNumber = 1) -> Response:
    """The record as it lies beside the recording."""
    folder = await _folder(visit, call_sid, stream)
    raw = await _read(folder, folder.record, "no record")
    if not visit.may("numbers:read"):
        raw = msgspec.json.encode(visit.discreet(msgspec.json.decode(raw)))
    return Response(raw, media_type="application/json", headers=_HEADERS)


async def _folder(visit: Visit, call_sid: str, stream: int) -> CallFolder:
    row = await known_call(visit, call_sid)
    if row.finished_at is None and not is_final(row.status):
        raise Problem(409, "in-progress", "The call goes on; its recording can be had when it has ended.")
    try:
        folder = CallFolder(visit.services.data_dir, call_sid, keys=visit.services.keys)
    except ProtocolError:
        raise _missing("no recording", row.node) from None
    if stream > max(len(row.streams), 1):
        raise _missing(f"no stream {stream}")
    if row.streams and (place := row.streams[stream - 1].recording) is not None:
        folder.path = visit.services.data_dir / place
    return folder


async def _must_be_there(path: Path, what: str) -> None:
    if not await asyncio.to_thread(path.is_file):
        raise _missing(what)


async def _read(folder: CallFolder, path: Path, what: str) -> bytes:
    try:
        with _opened():
            return await asyncio.to_thread(folder.read, path)
    except OSError:
        raise _missing(what) from None


@contextlib.contextmanager
def _opened() -> Iterator[None]:
    try:
        yield
    except SealError as e:
        raise Problem(409, "sealed", f"It cannot be opened: {e}; see RECORDING_KEY and RECORDING_KEYS_OLD.") from e


def _missing(what: str, node: str | None = None) -> Problem:
    where = f" (the call was on {node})" if node else ""
    return Problem(404, "not-found", f"There is {what} of this call here{where}.")
