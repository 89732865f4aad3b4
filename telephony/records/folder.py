"""Where a call's records lie: `DATA_DIR/calls/<callSid>/`, for the eyes of this program's user only.

The functions touch the disk and may block: run them in a thread where a call is being served.
"""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import numpy as np

from realtime_bridge.errors import ProtocolError
from realtime_bridge.tape import TapeKey, TapeKeys
from realtime_bridge.tape.sealed import seal, unseal
from telephony.records.heard import STEP_MS, Loudness
from telephony.records.record import CallRecord, decode_record, encode_record
from telephony.records.recording_file import read_envelopes
from telephony.records.timeline import CallTimeline, draw_timeline

CALL_SID = re.compile(r"CA[0-9a-fA-F]{32}")  # Twilio, "Call resource", Sid


class CallFolder:
    """One call's directory. Making one of these makes no directory: `create` does."""

    def __init__(
        self, data_dir: Path, call_sid: str, *, key: TapeKey | None = None, keys: TapeKeys | None = None
    ) -> None:
        """`key` seals what is written here; `keys` open what is read, by default that one.

        Raises ProtocolError for what is no call SID: whatever a request names, its path stays inside `data_dir`.
        """
        if not CALL_SID.fullmatch(call_sid):
            raise ProtocolError(f"{call_sid[:40]!r} is no call SID", where="call_sid")
        self._data_dir = data_dir
        self.key = key
        self.keys = keys or TapeKeys([] if key is None else [key])
        self._own = self.path = data_dir / "calls" / call_sid

    @classmethod
    def of_next_stream(cls, data_dir: Path, call_sid: str, *, key: TapeKey | None = None) -> CallFolder:
        """Of a call that may have had streams before, as one that comes back from a transfer: the first stream's is the
        call's own directory, later ones lie in it, numbered from 2. Raises ProtocolError, as above."""
        folder = cls(data_dir, call_sid, key=key)
        number = 1
        while folder.tape.exists() or folder.record.exists():  # of a deleted recording there is the record alone
            number += 1
            folder.path = folder._own / str(number)
        return folder

    @property
    def place(self) -> str:
        """The directory, below the data directory."""
        return self.path.relative_to(self._data_dir).as_posix()

    @property
    def tape(self) -> Path:
        return self.path / "call.tape"

    @property
    def recording(self) -> Path:
        return self.path / "call.wav"

    @property
    def timeline(self) -> Path:
        return self.path / "timeline.svg"

    @property
    def record(self) -> Path:
        return self.path / "call.json"

    def create(self) -> None:
        """Make the directory, and those above it that are missing, with mode 0700. Raises OSError."""
        self._data_dir.parent.mkdir(parents=True, exist_ok=True)
        for directory in (self._data_dir, self._own.parent, self._own, self.path):
            directory.mkdir(mode=0o700, exist_ok=True)

    def write_record(self, record: CallRecord) -> None:
        """Write call.json, or replace it: a reader finds the old one or the new one, whole. Raises OSError, MisuseError."""
        replace_file(self.record, self._sealed(encode_record(record)))

    def read_record(self) -> CallRecord:
        """Raises OSError, SealError, and ProtocolError for a file that is no record."""
        return decode_record(self.read(self.record))

    def read(self, path: Path) -> bytes:
        """A file of this call as it was before it was sealed, if it was. Raises OSError and SealError.

        A tape is sealed in its own way, and comes as it lies there: `read_tape` opens it.
        """
        return unseal(path.read_bytes(), self.keys)

    def read_loudness(self) -> tuple[Loudness, Loudness]:
        """The caller's and the agent's sound as `as_heard` and the picture want it; empty where there is no recording.

        Raises OSError, SealError, and wave.Error for a call.wav that is no recording.
        """
        try:
            return read_envelopes(self.recording, STEP_MS, self.keys)
        except FileNotFoundError:
            return np.zeros(0), np.zeros(0)

    def write_timeline(self, record: CallRecord, sound: tuple[Loudness, Loudness] | None = None) -> None:
        """Draw timeline.svg, written as `write_record` does. `sound`: default, as `read_loudness` reads it."""
        caller, agent = sound or self.read_loudness()
        svg = draw_timeline(CallTimeline(record=record, caller=caller, agent=agent))
        replace_file(self.timeline, self._sealed(svg.encode()))

    def streams(self) -> list[CallFolder]:
        """The call's streams that have a directory, first to last; the first is the call's own, if it is there."""
        found = [CallFolder(self._data_dir, self._own.name, key=self.key, keys=self.keys)]
        numbers = [int(path.name) for path in self._own.glob("[0-9]*") if path.name.isdecimal() and path.is_dir()]
        for number in sorted(numbers):
            folder = CallFolder(self._data_dir, self._own.name, key=self.key, keys=self.keys)
            folder.path = self._own / str(number)
            found.append(folder)
        return [folder for folder in found if folder.path.is_dir()]

    def _sealed(self, content: bytes) -> bytes:
        return content if self.key is None else seal(content, self.key)


def replace_file(path: Path, content: bytes) -> None:
    """Put `content` in `path`'s place at once, with mode 0600, safe against a crash at any moment. Raises OSError."""
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(number, "wb") as f:
            f.write(content)
            f.flush()
            os.fsync(f.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)  # the new name is on disk only when its directory is
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
