"""Finds the tapes that somebody names: files, folders of calls, SIDs, directories of any of these."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from realtime_bridge.errors import MisuseError
from telephony.records.folder import CALL_SID, CallFolder

SUFFIX = ".tape"


def find_tapes(names: Iterable[str], data_dir: Path) -> list[Path]:
    """The tapes behind these names, each once: those of a directory in the order of their paths.

    Raises MisuseError for a name behind which there is none; the message says what was looked for.
    """
    found: dict[Path, None] = {}
    for name in names:
        found.update(dict.fromkeys(_tapes(name, data_dir)))
    return list(found)


def _tapes(name: str, data_dir: Path) -> list[Path]:
    path = Path(name)
    if CALL_SID.fullmatch(name) and not path.exists():
        path = CallFolder(data_dir, name).path
        if not path.is_dir():
            raise MisuseError(f"there is no recorded call {name} in {path.parent}")
    try:
        if path.is_dir():
            tapes = sorted(_below(path))
            if not tapes:
                raise MisuseError(f"there is no tape (*{SUFFIX}) in {path} or below")
            return tapes
        if path.is_file():
            return [path]
        exists = path.exists()
    except (OSError, ValueError) as e:  # a name that no file can have
        raise MisuseError(f"{name[:200]!r}: {e}") from e
    if exists:
        raise MisuseError(f"{name} is neither a file nor a directory")
    raise MisuseError(f"there is no {name[:200]!r}: give a tape, a call's folder or SID, or a directory of them")


def _below(directory: Path) -> Iterator[Path]:
    """Links to directories are not followed: they may go in circles."""

    def unreadable(error: OSError) -> None:
        raise MisuseError(f"{error.filename} cannot be read: {error.strerror}")

    for where, _, names in os.walk(directory, onerror=unreadable):
        yield from (path for name in names if name.endswith(SUFFIX) and (path := Path(where, name)).is_file())
