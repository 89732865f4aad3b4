"""The machines of a call, fed from its tape: the bridge, and the session's core.

They are the production code, made as the call made them. Each takes its own inputs, and gives its answers whole: frames
for the phone and the model, and the commands of the session's core as JSON. No clock runs.
"""

from __future__ import annotations

from typing import Protocol

from realtime_bridge.audio.transcode import transcoder
from realtime_bridge.errors import InternalError, ProtocolError
from realtime_bridge.session.commands import Command
from realtime_bridge.session.journal import Opening, Record, decode_record, encode_command
from realtime_bridge.session.machine import SessionMachine
from realtime_bridge.tape import Source, TapeRecord
from realtime_bridge.transport.base import TransportEvent
from telephony.bridge import Bridge
from telephony.bridge_commands import Report, ToModel, ToPhone
from telephony.bridge_inputs import BridgeInput
from telephony.records.recorder import CallHead
from telephony.records.shadow import decode_bridge_input
from telephony.replay.differences import Answer


class Machine(Protocol):
    """`inputs`: the sources it is fed from; `outputs`: those under which its answers lie on the tape."""

    inputs: frozenset[Source]
    outputs: frozenset[Source]

    def answers(self, record: TapeRecord) -> list[Answer]:
        """What it answers to this input. Raises ProtocolError for an input that cannot be, InternalError when it fails."""
        ...


class BridgeMachine:
    inputs = frozenset({Source.PHONE, Source.MODEL, Source.PROGRAM, Source.TIMER})
    outputs = frozenset({Source.TO_PHONE, Source.TO_MODEL})

    def __init__(self, head: CallHead) -> None:
        self._clock_s = head.clock_s
        self._bridge = Bridge(head.stream_sid, transcoder(head.audio), now=head.clock_s)
        self.reports: list[TransportEvent] = []  # to the session, of the latest input

    def answers(self, record: TapeRecord) -> list[Answer]:
        self.reports = []
        event = _decode(record)
        if event is None:
            return []
        now = self._clock_s + record.time
        try:
            commands = self._bridge.handle(event, now)
            if record.source is Source.TIMER:
                self._bridge.take_played(now)  # as in the call: it moves the ledger on
        except Exception as e:
            raise InternalError(f"the bridge fails at {record.time:.3f} s of the tape: {e!r}") from e
        answers: list[Answer] = []
        for command in commands:
            if isinstance(command, ToPhone):
                answers.append((Source.TO_PHONE, command.frame))
            elif isinstance(command, ToModel):
                answers.append((Source.TO_MODEL, command.frame))
            elif isinstance(command, Report):
                self.reports.append(command.event)
        return answers


class SessionCore:
    inputs = frozenset({Source.SESSION})
    outputs = frozenset({Source.FROM_SESSION})

    def __init__(self, head: CallHead) -> None:
        self._clock_s = head.clock_s
        self._machine: SessionMachine | None = None

    def answers(self, record: TapeRecord) -> list[Answer]:
        event = _decode_session(record)
        if self._machine is None and not isinstance(event, Opening):
            raise ProtocolError(f"a session's input before its opening, at {record.time:.3f} s of the tape")
        try:
            commands = self._handle(event, self._clock_s + record.time)
        except Exception as e:
            raise InternalError(f"the session's core fails at {record.time:.3f} s of the tape: {e!r}") from e
        return [(Source.FROM_SESSION, encode_command(command)) for command in commands]

    def _handle(self, event: Record, now: float) -> list[Command]:
        if isinstance(event, Opening):
            self._machine = SessionMachine(event.agent, event.settings)
            self._machine.first_update()
            return []
        assert self._machine is not None
        return self._machine.handle(event, now=now)


def _decode(record: TapeRecord) -> BridgeInput | None:
    try:
        return decode_bridge_input(record.source, record.payload)
    except ProtocolError as e:
        raise ProtocolError(f"an input at {record.time:.3f} s of the tape is not understood: {e}") from e


def _decode_session(record: TapeRecord) -> Record:
    try:
        return decode_record(record.payload)
    except (ProtocolError, UnicodeError, RecursionError) as e:
        raise ProtocolError(f"an input of the session, at {record.time:.3f} s, is not understood: {e}") from e
