"""Deletes recordings that are too old, and with them what was said: that the calls were made stays.

By when the call ended, as the store knows; of a folder that the store does not know, by its newest file.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from telephony.records.folder import CALL_SID
from telephony.store import Store
from telephony.store.people import CALLS_MAX

log = logging.getLogger(__name__)


class Pruned(msgspec.Struct, frozen=True):
    """`folders`: of recordings that were deleted, or would be; `calls`: whose words were. `failed`: folders that could
    not be deleted."""

    folders: tuple[str, ...]
    size_bytes: int
    calls: int
    failed: tuple[str, ...] = ()


async def prune(store: Store, data_dir: Path, before: datetime, *, dry_run: bool = False) -> Pruned:
    """All that is of calls which ended before then. Raises StoreError; a folder that cannot be deleted is in the result.

    Calls that go on are left alone.
    """
    folders = await asyncio.to_thread(lambda: dict(folders_of(data_dir)))
    rows = await store.people.known(folders)
    old: dict[str, Path] = {}
    for call_sid, path in folders.items():
        row = rows.get(call_sid)
        # What nobody has ended goes by its files: they are fresh as long as the call goes on.
        ended_at = None if row is None else row.ended_at
        if ended_at is None:
            ended_at = await asyncio.to_thread(_newest, path)
        if ended_at < before:
            old[call_sid] = path
    size_bytes = await asyncio.to_thread(lambda: sum(map(_size, old.values())))
    if dry_run:
        return Pruned(tuple(sorted(old)), size_bytes, len(await store.people.wordy(before, limit=CALLS_MAX)))
    failed = [call_sid for call_sid, path in old.items() if not await asyncio.to_thread(delete_folder, path)]
    gone = tuple(sorted(set(old) - set(failed)))
    calls = 0
    while some := await store.people.wordy(before):  # also of calls whose recordings lie on other machines
        await store.people.forget_words(some)
        calls += len(some)
    if gone or calls:
        log.info("recordings of %d calls and words of %d are deleted, since they are too old", len(gone), calls)
    return Pruned(gone, size_bytes, calls, tuple(failed))


def folders_of(data_dir: Path) -> Iterator[tuple[str, Path]]:
    """The folders of recorded calls, by SID. Links are none."""
    calls = data_dir / "calls"
    for path in calls.iterdir() if calls.is_dir() else ():
        if CALL_SID.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            yield path.name, path


def delete_folder(path: Path) -> bool:
    """Whether nothing of it is left."""
    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return True
    except OSError as e:
        log.error("%s cannot be deleted: %s", path, e)  # noqa: TRY400 - the message says it all
        return False
    return True


def _newest(folder: Path) -> datetime:
    times = [path.lstat().st_mtime for path in (folder, *_files(folder))]
    return datetime.fromtimestamp(max(times), UTC)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in _files(folder))


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if not path.is_dir())
