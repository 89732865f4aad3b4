"""What the bridge tells the session, beside what the session was told in the call.

Reports are no answers on a tape: there they are inputs of the session's core, which takes them later, in order, between
inputs that come from elsewhere (the program, slow work, the shell of the bridge).

Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final, get_args

import msgspec

from realtime_bridge.session import inputs
from realtime_bridge.session.journal import Opening, encode_record
from realtime_bridge.tape.format import Source, TapeRecord
from realtime_bridge.transport import base
from realtime_bridge.transport.base import TransportEvent
from telephony.replay.differences import Difference, behaviour

WAITING_MAX: Final = 20_000  # more than a session's inbox holds
AHEAD_MAX: Final = 200  # reports that may be looked through for one that is on the tape

_own = set(get_args(inputs.Input)) - set(get_args(TransportEvent))
_shell = {base.ModelConnected, base.ModelLost, base.SpareReady, base.TransportClosed}
_ELSEWHERE: Final = {str(kind.__struct_config__.tag) for kind in (*_own, *_shell, Opening)}
_PROBLEM: Final = "transport_problem"  # of the bridge's, or of its shell's


class _Kind(msgspec.Struct):
    type: str = ""


_kind_of = msgspec.json.Decoder(_Kind).decode


class Reports:
    """Feed it both sides in the tape's order; it says what differs.

    A report that is missing on the tape is told of when a later one is found there: a session may end with reports unread.
    """

    def __init__(self) -> None:
        self._told: deque[tuple[TapeRecord, bytes]] = deque()  # by the bridge now, and not found on the tape yet
        self._session_began = False
        self._nobody_listens = False

    def replayed(self, events: Sequence[TransportEvent], given: TapeRecord) -> None:
        """The bridge has reported this, to an input."""
        if len(self._told) + len(events) > WAITING_MAX:
            self._nobody_listens = True
            self._told.clear()
        elif not self._nobody_listens:
            self._told += ((given, encode_record(event)) for event in events)

    def taped(self, record: TapeRecord) -> list[Difference]:
        """The session was given this, in the call."""
        kind = _kind_of(record.payload).type
        self._session_began = self._session_began or kind == "opening"
        if kind in _ELSEWHERE or self._nobody_listens or not self._session_began:
            return []
        place = next((n for n, (_, told) in enumerate(islice(self._told, AHEAD_MAX)) if told == record.payload), None)
        if place is None:
            return [] if kind == _PROBLEM else [self._changed_or_gone(record, kind)]
        not_there = [self._told.popleft() for _ in range(place)]
        self._told.popleft()
        return [_difference(given, None, told) for given, told in not_there]

    def _changed_or_gone(self, record: TapeRecord, kind: str) -> Difference:
        if self._told and _kind_of(self._told[0][1]).type == kind:
            given, told = self._told.popleft()
            return _difference(given, record.payload, told)
        return _difference(record, record.payload, None)


def _difference(given: TapeRecord, taped: bytes | None, told: bytes | None) -> Difference:
    old, new = (None if payload is None else (Source.SESSION, payload) for payload in (taped, told))
    about = new or old
    assert about is not None
    return Difference(behaviour(about), given.time, given.source, given.payload, old, new)
