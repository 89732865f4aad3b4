"""The call's machines as they would be had they been told no more than the tape is.

Once a recording was paused, what went into the machines of the call and what lies on its tape are not the same. What the
tape has for answers must then come from machines that were given what it has for inputs; else it would not replay, and
would tell by its answers what was taken out of its inputs. So from the first input that is blanked on, a copy of its
machine is fed what the tape has, each input at its time, until both are in the same state again.

Pure.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from realtime_bridge.copying import copy_of, is_same
from realtime_bridge.errors import ProtocolError
from realtime_bridge.session.commands import Command
from realtime_bridge.session.journal import Opening, Record
from realtime_bridge.session.machine import SessionMachine
from realtime_bridge.tape.format import Source
from realtime_bridge.wire import decode_server_event
from telephony.bridge import Bridge
from telephony.bridge_commands import ToModel, ToPhone
from telephony.bridge_inputs import BridgeInput, ProgramInput, Tick
from telephony.twilio.media_stream import decode_message

_program_decoder: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(ProgramInput | Tick)


class BridgeShadow:
    """A copy of the bridge. Methods raise what the bridge raises, and ProtocolError for inputs that it does not take."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = copy_of(bridge)

    def answers(self, source: Source, frame: bytes, now: float) -> list[ToPhone | ToModel]:
        """What it sends in answer to this input, as it lies on the tape."""
        event = decode_bridge_input(source, frame)
        if event is None:
            return []
        commands = self._bridge.handle(event, now)
        if source is Source.TIMER:
            self._bridge.take_played(now)  # as the call does: it moves the ledger on
        return [command for command in commands if isinstance(command, ToPhone | ToModel)]

    def is_like(self, bridge: Bridge) -> bool:
        return is_same(self._bridge, bridge)


class SessionShadow:
    """A copy of the session's core; likewise. None: of one that is yet to be opened."""

    def __init__(self, machine: SessionMachine | None) -> None:
        self._machine = copy_of(machine)

    def answers(self, record: Record, now: float) -> list[Command]:
        """What it says to this input."""
        if isinstance(record, Opening):
            self._machine = SessionMachine(record.agent, record.settings)
            self._machine.first_update()
            return []
        return [] if self._machine is None else self._machine.handle(record, now=now)

    def is_like(self, machine: SessionMachine | None) -> bool:
        return is_same(self._machine, machine)


def decode_bridge_input(source: Source, frame: bytes) -> BridgeInput | None:
    """An input of the bridge as it lies on a tape. None for a frame of the model that the call itself could not read.

    Raises ProtocolError for what cannot be there.
    """
    match source:
        case Source.PHONE:
            return decode_message(frame)
        case Source.MODEL:
            try:
                return decode_server_event(frame)
            except ProtocolError:
                return None
        case _:
            try:
                event: ProgramInput | Tick = _program_decoder.decode(frame)
            except (msgspec.DecodeError, UnicodeError, RecursionError) as e:
                raise ProtocolError(f"an input of the program is not understood: {e}") from e
            return event
