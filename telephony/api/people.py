"""What is kept of one person: handed out to them, or erased. For all that is on this machine and in the database."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse

from telephony.api.access import PeopleErase, PeopleExport
from telephony.api.models import ErasedPerson, PersonIn
from telephony.api.problems import Problem
from telephony.privacy.erasure import CallsGoOn, erase
from telephony.privacy.export import NothingKept, export

router = APIRouter(prefix="/people", tags=["people"])

EXPORTS_MAX: Final = 2  # at once
CHUNK_BYTES: Final = 256 * 1024
_ZIP: dict[int | str, dict[str, Any]] = {200: {"content": {"application/zip": {}}, "description": "A ZIP file."}}


@router.post("/export", response_class=StreamingResponse, responses=_ZIP)
async def export_person(request: Request, visit: PeopleExport, body: PersonIn) -> StreamingResponse:
    """Everything that is kept of the calls with this person; calls that go on are left out."""
    state, services = request.app.state, visit.services
    if state.exports >= EXPORTS_MAX:
        raise Problem(503, "busy", "Other exports are being made.", headers={"retry-after": "10"})
    state.exports += 1
    try:
        file = await asyncio.to_thread(_nameless, services.data_dir)
        try:
            await export(services.store, services.data_dir, body.number, file, by=visit.who, keys=services.keys)
        except BaseException:
            file.close()
            raise
    except NothingKept:
        raise Problem(404, "not-found", "Nothing is kept of this number.") from None
    except OSError as e:
        raise Problem(503, "disk", f"The export cannot be written: {e.strerror}.") from e
    finally:
        state.exports -= 1
    headers = {"cache-control": "private, no-store", "content-disposition": 'attachment; filename="person.zip"'}
    return StreamingResponse(_chunks(file), media_type="application/zip", headers=headers)


@router.post("/erase", responses={409: {"description": "A call with this person goes on."}})
async def erase_person(visit: PeopleErase, body: PersonIn) -> ErasedPerson:
    """Erase it for good: recordings, transcripts, rows. What stays: that the number must not be called."""
    services = visit.services
    try:
        erased = await erase(services.store, services.data_dir, body.number, by=visit.who, keys=services.keys)
    except CallsGoOn as e:
        raise Problem(409, "in-progress", str(e)) from e
    return ErasedPerson(
        calls=erased.calls,
        attempts=erased.attempts,
        recordings=erased.recordings,
        failed=list(erased.failed),
        elsewhere=list(erased.elsewhere),
        suppressed=erased.suppressed,
    )


def _nameless(directory: Path) -> IO[bytes]:
    """A file that is gone with this process, whatever ends it."""
    return tempfile.TemporaryFile(dir=directory)


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        file.seek(0)
        while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield chunk
