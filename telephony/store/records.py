"""What is told of a call, as values that can wait in a file: see `keeping.py`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from realtime_bridge.errors import ProtocolError
from telephony.store.calls import Calls
from telephony.store.rows import CallEnd, CallRow, CallStatus


class Begun(msgspec.Struct, frozen=True, tag="begin"):
    """`Calls.begin`."""

    call: CallRow


class StatusTold(msgspec.Struct, frozen=True, tag="status"):
    """`Calls.status`."""

    call_sid: str
    status: CallStatus
    at: datetime
    sequence: int | None


class Answered(msgspec.Struct, frozen=True, tag="answered"):
    """`Calls.answered`."""

    call_sid: str
    node: str
    at: datetime


class Happened(msgspec.Struct, frozen=True, tag="event"):
    """`Calls.event`. `event_key` makes its repetition harmless."""

    call_sid: str
    kind: str
    data: dict[str, Any]
    at: datetime
    event_key: str


class Finished(msgspec.Struct, frozen=True, tag="finish"):
    """`Calls.finish`."""

    call_sid: str
    end: CallEnd
    call: CallRow | None


Record = Begun | StatusTold | Answered | Happened | Finished

_decoder: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)


def encode_record(record: Record) -> bytes:
    """Raises TypeError or ValueError for data that is no JSON."""
    return msgspec.json.encode(record)


def decode_record(data: bytes) -> Record:
    """Raises ProtocolError for what is no record."""
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as e:
        raise ProtocolError(f"not a record of a call: {e}") from None


def call_sid_of(record: Record) -> str:
    return record.call.call_sid if isinstance(record, Begun) else record.call_sid


async def store_record(calls: Calls, record: Record) -> None:
    """Bears repetition: what was stored already changes nothing. Raises StoreError."""
    match record:
        case Begun():
            await calls.begin(record.call)
        case StatusTold():
            await calls.status(record.call_sid, record.status, record.at, record.sequence)
        case Answered():
            await calls.answered(record.call_sid, record.node, record.at)
        case Happened():
            await calls.event(record.call_sid, record.kind, record.data, record.at, event_key=record.event_key)
        case Finished():
            await calls.finish(record.call_sid, record.end, call=record.call)
