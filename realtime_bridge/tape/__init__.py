"""Recorded calls: a tape holds every input of a call's machines, so that the call can be run again from it."""

from realtime_bridge.tape.background import BackgroundFile, InlineDisk, write_whole
from realtime_bridge.tape.file import TapeFile
from realtime_bridge.tape.format import (
    PAYLOAD_BYTES_MAX,
    Source,
    TapeError,
    TapeHeader,
    TapeReader,
    TapeRecord,
    TapeWriter,
    TornTail,
    read_tape,
)
from realtime_bridge.tape.keys import TapeKey, TapeKeys
from realtime_bridge.tape.sealed import SealedFile, SealError, open_unsealed, seal, unseal

__all__ = [
    "PAYLOAD_BYTES_MAX",
    "BackgroundFile",
    "InlineDisk",
    "SealError",
    "SealedFile",
    "Source",
    "TapeError",
    "TapeFile",
    "TapeHeader",
    "TapeKey",
    "TapeKeys",
    "TapeReader",
    "TapeRecord",
    "TapeWriter",
    "TornTail",
    "open_unsealed",
    "read_tape",
    "seal",
    "unseal",
    "write_whole",
]
