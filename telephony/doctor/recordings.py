"""Checks of what is recorded: that callers are told, that the keys fit, and that nothing is kept longer than it should be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Final

from realtime_bridge.tape import TapeKeys
from realtime_bridge.tape.sealed import SealError, open_unsealed
from telephony.doctor.findings import Finding, failed, ok, warning
from telephony.settings import Settings, recording_keys

LOOKED_AT_MAX: Final = 200  # of the newest recordings
LATE: Final = timedelta(days=2)  # deleted once an hour, by a server that runs
MAKE_KEY: Final = "make one with `openssl rand -base64 32`"


async def check_recordings(settings: Settings) -> list[Finding]:
    """Without looking into what was said."""
    found = []
    if settings.record_calls and not settings.recording_notice:
        what = "callers are not told that they are recorded, unless their agent has a notice of its own"
        found.append(warning("recordings", "RECORDING_NOTICE", what, "set it, where the law asks for it"))
    if settings.record_calls and settings.recording_key is None:
        what = "not set: whoever gets hold of the disk can hear the recordings"
        found.append(warning("recordings", "RECORDING_KEY", what, f"{MAKE_KEY}, and keep it elsewhere, too"))
    unread, late = await asyncio.to_thread(_look, settings)
    if unread:
        what = f"{len(unread)} recordings cannot be opened, such as {unread[0]}"
        found.append(failed("recordings", "RECORDING_KEYS_OLD", what, "add the key that they were sealed with"))
    if late:
        what = f"{late} recordings are older than RECORDING_DAYS_MAX allows"
        found.append(
            warning("recordings", "DATA_DIR", what, "let the server run, or run `realtime-bridge calls prune`")
        )
    return found or [ok("recordings", "DATA_DIR", "callers are told, recordings are sealed, and the keys open them")]


def _look(settings: Settings) -> tuple[list[str], int]:
    """Recordings that no key opens, and how many are too old."""
    keys = recording_keys(settings)
    paths = sorted(_recordings(settings.data_dir), key=lambda path: path.stat().st_mtime, reverse=True)
    unread = [why for path in islice(paths, LOOKED_AT_MAX) if (why := _trouble(path, keys))]
    if settings.recording_days_max is None:
        return unread, 0
    oldest = (datetime.now(UTC) - timedelta(days=settings.recording_days_max) - LATE).timestamp()
    return unread, sum(path.stat().st_mtime < oldest for path in paths)


def _recordings(data_dir: Path) -> Iterator[Path]:
    return (path for path in (data_dir / "calls").glob("CA*/**/call.wav") if path.is_file())


def _trouble(path: Path, keys: TapeKeys) -> str:
    try:
        with open_unsealed(path, keys):
            return ""
    except (SealError, OSError) as e:
        return f"{path.parent.name}: {e}"
