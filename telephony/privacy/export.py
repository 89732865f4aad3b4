"""Everything that is kept of one person, by their number, as one ZIP file for them: rows and recorded files.

    person.json                    attempts to call them, and whether their number must not be called
    calls/<callSid>/stored.json    the call as the store has it: row, transcript, tools, events, approvals
    calls/<callSid>/…              its recorded files, opened where they are sealed; but not the tape, which is this program's own

Calls that go on are left out, and named in person.json.
"""

from __future__ import annotations

import asyncio
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import msgspec

from realtime_bridge.errors import BridgeError
from realtime_bridge.tape import TapeKeys
from realtime_bridge.tape.sealed import SealError, open_unsealed
from telephony.numbers import mask_number
from telephony.privacy.going_on import calls_going_on
from telephony.privacy.retention import folders_of
from telephony.store import Store
from telephony.store.people import Person
from telephony.store.rows import CallRow


class NothingKept(BridgeError):  # noqa: N818 - an answer, not a malfunction
    """There is nothing of this number."""


class Exported(msgspec.Struct, frozen=True):
    """`unread`: files that could not be opened, with the reason. `going_on`: calls that are left out."""

    calls: int
    files: int
    going_on: tuple[str, ...]
    unread: dict[str, str]


async def export(
    store: Store,
    data_dir: Path,
    number: str,
    to: IO[bytes],
    *,
    by: str,
    keys: TapeKeys | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Exported:
    """Write the ZIP file, and into the audit that it was made. `keys`: of sealed files.

    `progress` is told how many calls of how many are done. Raises NothingKept, StoreError, and OSError where `to` cannot
    be written.
    """
    person = await store.people.find(number)
    if not (person.calls or person.attempts or person.suppressed):
        raise NothingKept("nothing is kept of this number")
    going_on = await calls_going_on(store, person.calls)
    rows = [row for row in person.calls if row.call_sid not in going_on]
    folders = await asyncio.to_thread(lambda: dict(folders_of(data_dir)))
    files = 0
    unread: dict[str, str] = {}
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("person.json", _json(_about(number, person, going_on)))
        for done, row in enumerate(rows):
            progress(done, len(rows))
            archive.writestr(f"calls/{row.call_sid}/stored.json", _json(await _stored(store, row)))
            if (folder := folders.get(row.call_sid)) is not None:
                files += await asyncio.to_thread(_add_folder, archive, folder, keys or TapeKeys(), unread)
        progress(len(rows), len(rows))
    await store.access.audit(by, "person.export", mask_number(number), {"calls": len(rows), "files": files})
    return Exported(len(rows), files, going_on, unread)


def _about(number: str, person: Person, going_on: tuple[str, ...]) -> dict[str, Any]:
    return {
        "number": number,
        "must_not_be_called": person.suppressed,
        "attempts": person.attempts,
        "calls": [row.call_sid for row in person.calls],
        "calls_that_go_on": going_on,
    }


async def _stored(store: Store, row: CallRow) -> dict[str, Any]:
    calls = store.calls
    events: list[Any] = []
    while some := await calls.events(row.call_sid, after=events[-1].event_id if events else 0):
        events += some
    return {
        "call": row,
        "transcript": await calls.turns(row.call_sid),
        "tools": await calls.tools(row.call_sid),
        "events": events,
        "approvals": await store.people.approvals(row.call_sid),
    }


def _add_folder(archive: zipfile.ZipFile, folder: Path, keys: TapeKeys, unread: dict[str, str]) -> int:
    """How many files were added."""
    count = 0
    for path in _files(folder):
        name = f"calls/{folder.name}/{path.relative_to(folder).as_posix()}"
        try:
            with open_unsealed(path, keys) as source, archive.open(name, "w", force_zip64=True) as entry:
                shutil.copyfileobj(source, entry)
        except (SealError, FileNotFoundError) as e:  # its key is not at hand; or it was pruned a moment ago
            unread[name] = str(e)
        else:
            count += 1
    return count


def _files(folder: Path) -> Iterator[Path]:
    return (
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.suffix != ".tape"
    )


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
