"""Erases what is kept of one person, by their number: recordings, rows, and records that still wait in the spool.

What stays: that the number must not be called, where it is on that list, since that is what they asked for; and in the
audit, who did what and when. Rows go last, so that an erasure which fails half-way can be begun again.

Of recordings whose calls the store does not know, the record beside them tells whose they are: their rows may have been
erased from another machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from realtime_bridge.errors import BridgeError, ProtocolError
from realtime_bridge.tape import TapeKeys
from realtime_bridge.tape.sealed import SealError
from telephony.numbers import mask_number
from telephony.privacy.going_on import LASTS_MAX, attempts_going_on, calls_going_on
from telephony.privacy.retention import delete_folder, folders_of
from telephony.records.folder import CallFolder
from telephony.store import Store
from telephony.store.records import Begun, Finished, call_sid_of, decode_record
from telephony.store.spool import Spool

SPOOL: Final = "spool"  # below DATA_DIR


class CallsGoOn(BridgeError):  # noqa: N818 - a refusal is an answer, not a malfunction
    """Nothing is erased while a call of this number goes on. `call_sids`: which; or attempts to call them."""

    def __init__(self, going_on: tuple[str, ...]) -> None:
        super().__init__(
            f"a call with this number goes on ({', '.join(going_on[:5])}): nothing has been erased; "
            "wait for its end, or hang it up, and ask again"
        )
        self.call_sids = going_on


class Found(msgspec.Struct, frozen=True):
    """What an erasure would take. `elsewhere`: calls whose recordings are not on this machine."""

    call_sids: tuple[str, ...]
    attempt_ids: tuple[str, ...]
    folders: int
    spooled: int
    elsewhere: tuple[str, ...]
    suppressed: bool

    def __bool__(self) -> bool:
        return bool(self.call_sids or self.attempt_ids)


class Erased(msgspec.Struct, frozen=True):
    """What has been erased. `failed`: calls whose folders could not be deleted, with which their rows stay."""

    calls: int
    attempts: int
    recordings: int
    spooled: int
    failed: tuple[str, ...]
    elsewhere: tuple[str, ...]
    suppressed: bool


async def look(store: Store, data_dir: Path, number: str, *, keys: TapeKeys | None = None) -> Found:
    """What is kept of this number (E.164). `keys`: of sealed recordings.

    Raises CallsGoOn, StoreError, and OSError for a spool that cannot be read.
    """
    person = await store.people.find(number)
    spooled = await asyncio.to_thread(_spooled, data_dir, number, {row.call_sid for row in person.calls})
    going_on = (
        *await calls_going_on(store, person.calls),
        *attempts_going_on(store, person.attempts),
        *spooled.going_on(store.now(), {row.call_sid for row in person.calls}),
    )
    if going_on:
        raise CallsGoOn(going_on)
    folders = await asyncio.to_thread(lambda: dict(folders_of(data_dir)))
    strange = set(folders) - set(await store.people.known(folders))
    theirs = await asyncio.to_thread(lambda: {sid for sid in strange if _is_of(data_dir, sid, number, keys)})
    call_sids = {row.call_sid for row in person.calls} | spooled.call_sids | theirs
    return Found(
        call_sids=tuple(sorted(call_sids)),
        attempt_ids=tuple(row.attempt_id for row in person.attempts),
        folders=sum(call_sid in folders for call_sid in call_sids),
        spooled=len(spooled.paths),
        elsewhere=tuple(row.call_sid for row in person.calls if row.recording and row.call_sid not in folders),
        suppressed=person.suppressed,
    )


async def erase(
    store: Store,
    data_dir: Path,
    number: str,
    *,
    by: str,
    keys: TapeKeys | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Erased:
    """Take it all away, and write into the audit that it was done, without the number. Raises as `look` does.

    `progress` is told how many recordings of how many are done.
    """
    found = await look(store, data_dir, number, keys=keys)
    spooled = await asyncio.to_thread(_spooled, data_dir, number, set(found.call_sids))
    for path in spooled.paths:
        await asyncio.to_thread(path.unlink, missing_ok=True)
    folders = await asyncio.to_thread(lambda: dict(folders_of(data_dir)))
    theirs = {call_sid: folders[call_sid] for call_sid in found.call_sids if call_sid in folders}
    failed = []
    for done, (call_sid, path) in enumerate(theirs.items()):
        progress(done, len(theirs))
        if not await asyncio.to_thread(delete_folder, path):
            failed.append(call_sid)
    progress(len(theirs), len(theirs))
    gone = [call_sid for call_sid in found.call_sids if call_sid not in failed]
    await store.people.erase(number, gone, found.attempt_ids)
    erased = Erased(
        calls=len(gone),
        attempts=len(found.attempt_ids),
        recordings=len(theirs) - len(failed),
        spooled=len(spooled.paths),
        failed=tuple(failed),
        elsewhere=found.elsewhere,
        suppressed=found.suppressed,
    )
    counts = {"calls": erased.calls, "attempts": erased.attempts, "recordings": erased.recordings}
    await store.access.audit(by, "person.erase", mask_number(number), counts)
    return erased


def _is_of(data_dir: Path, call_sid: str, number: str, keys: TapeKeys | None) -> bool:
    """Whether a record in this call's folder names the person. One that cannot be read names nobody."""
    for stream in CallFolder(data_dir, call_sid, keys=keys).streams():
        try:
            record = stream.read_record()
        except (OSError, SealError, ProtocolError):
            continue
        if number == (record.from_number if record.direction == "inbound" else record.to_number):
            return True
    return False


class _Spooled(msgspec.Struct):
    """Records in the spool that are a person's: `begun` without `ended` may be of calls that go on."""

    paths: list[Path]
    begun: dict[str, datetime]
    ended: set[str]

    @property
    def call_sids(self) -> set[str]:
        return set(self.begun) | self.ended

    def going_on(self, now: datetime, known: Iterable[str]) -> tuple[str, ...]:
        """Calls that the store knows are judged by it."""
        judged = {*self.ended, *known}
        return tuple(sid for sid, at in self.begun.items() if sid not in judged and now - at < LASTS_MAX)


def _spooled(data_dir: Path, number: str, call_sids: set[str]) -> _Spooled:
    found = _Spooled([], {}, set())
    directory = data_dir / SPOOL
    if not directory.is_dir():
        return found
    records = []
    for path, data in Spool(directory).everything():
        try:
            records.append((path, decode_record(data)))
        except ProtocolError:  # damaged: whose it is nobody can tell, unless it says the number
            if number.encode() in data:
                found.paths.append(path)
    for _, record in records:
        call = record.call if isinstance(record, Begun | Finished) else None
        if call is not None and number == (call.from_number if call.direction == "inbound" else call.to_number):
            found.begun.setdefault(call.call_sid, call.created_at)
            if isinstance(record, Finished):
                found.ended.add(call.call_sid)
    theirs = call_sids | found.call_sids
    found.ended |= {call_sid_of(record) for _, record in records if isinstance(record, Finished)} & theirs
    found.paths += [path for path, record in records if call_sid_of(record) in theirs]
    return found
