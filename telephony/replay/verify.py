"""Does the bridge still do what it did in a recorded call?

A tape holds every input of a call's bridge with its time, and what the bridge answered (audio as a digest). A fresh
bridge is given the same inputs at the same times; where it answers otherwise, this program is not the one that made the
call, or the bridge is not pure. No clock runs, so an hour of calls takes seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from realtime_bridge.audio.transcode import transcoder
from realtime_bridge.errors import InternalError, ProtocolError
from realtime_bridge.tape import Source, TapeRecord, read_tape
from realtime_bridge.wire import decode_server_event
from telephony.bridge import Bridge
from telephony.bridge_commands import ToModel, ToPhone
from telephony.bridge_inputs import BridgeInput, ProgramInput, Tick
from telephony.records.recorder import CallHead, on_tape
from telephony.twilio.media_stream import decode_message

SHOWN_CHARS = 160

Output: TypeAlias = tuple[Source, bytes]  # TO_PHONE or TO_MODEL, and the frame as `on_tape` keeps it

_program_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(ProgramInput | Tick)


@dataclass(frozen=True, slots=True)
class Difference:
    """To this input, `time` seconds after the tape began, the bridge answered `taped` in the call and `replayed` now."""

    time: float
    source: Source
    payload: bytes
    taped: tuple[Output, ...]
    replayed: tuple[Output, ...]

    def __str__(self) -> str:
        lines = [f"at {self.time:.3f} s, from the {self.source.name.lower()}: {_shown(self.payload)}"]
        for who, outputs in (("the tape has", self.taped), ("the bridge answers", self.replayed)):
            lines += [f"  {who} {_direction(source)}: {_shown(frame)}" for source, frame in outputs]
            if not outputs:
                lines.append(f"  {who} nothing")
        return "\n".join(lines)


def verify_tape(path: Path) -> list[Difference]:
    """Every input that a fresh bridge answers otherwise than on the tape, in order. Empty: it is the same call.

    Of the last input on the tape, answers may be missing there: a tape may end anywhere. Inputs of other machines than
    the bridge are passed over. Raises OSError and TapeError for a tape that cannot be read, ProtocolError for one that
    is not of a call, InternalError when the bridge fails.
    """
    with path.open("rb") as file:
        tape = read_tape(file)
        replay = _Replay(_head(tape.header.metadata))
        for record in tape:
            replay.take(record)
        return replay.end()


class _Replay:
    def __init__(self, head: CallHead) -> None:
        self._clock_s = head.clock_s
        self._bridge = Bridge(head.stream_sid, transcoder(head.audio), now=head.clock_s)
        self._differences: list[Difference] = []
        self._input: TapeRecord | None = None
        self._taped: list[Output] = []  # answers to it, in the call
        self._replayed: list[Output] = []  # answers to it, now

    def take(self, record: TapeRecord) -> None:
        if record.source in (Source.TO_PHONE, Source.TO_MODEL):
            self._taped.append((record.source, record.payload))
        elif record.source not in (Source.SESSION, Source.FROM_SESSION, Source.NOTE):
            self._compare(self._taped)
            self._input = record
            self._replayed = self._answers(record)
            self._taped = []

    def end(self) -> list[Difference]:
        self._compare([*self._taped, *self._replayed[len(self._taped) :]])
        return self._differences

    def _compare(self, taped: list[Output]) -> None:
        if taped == self._replayed:
            return
        if self._input is None:
            raise ProtocolError("the tape begins with an answer: it is not of a call")
        given = self._input
        self._differences.append(
            Difference(given.time, given.source, given.payload, tuple(taped), tuple(self._replayed))
        )

    def _answers(self, record: TapeRecord) -> list[Output]:
        event = _decode(record)
        if event is None:
            return []
        now = self._clock_s + record.time
        try:
            commands = self._bridge.handle(event, now)
            if record.source is Source.TIMER:
                self._bridge.take_played(now)  # as the call's recorder does: it moves the ledger on
        except Exception as e:
            raise InternalError(f"the bridge fails at {record.time:.3f} s of the tape: {e}") from e
        answers: list[Output] = []
        for command in commands:
            if isinstance(command, ToPhone):
                answers.append((Source.TO_PHONE, on_tape(command.frame)))
            elif isinstance(command, ToModel):
                answers.append((Source.TO_MODEL, on_tape(command.frame)))
        return answers


def _head(metadata: dict[str, Any]) -> CallHead:
    try:
        return msgspec.convert(metadata, CallHead)
    except msgspec.ValidationError as e:
        raise ProtocolError(f"not the tape of a call: {e}", where="metadata") from e


def _decode(record: TapeRecord) -> BridgeInput | None:
    """None for a frame of the model that the call itself could not read."""
    match record.source:
        case Source.PHONE:
            return decode_message(record.payload)
        case Source.MODEL:
            try:
                return decode_server_event(record.payload)
            except ProtocolError:
                return None
        case _:
            try:
                event: ProgramInput | Tick = _program_decoder.decode(record.payload)
            except msgspec.DecodeError as e:
                raise ProtocolError(f"an input of the program, at {record.time:.3f} s, is not understood: {e}") from e
            return event


def _direction(source: Source) -> str:
    return "to the phone" if source is Source.TO_PHONE else "to the model"


def _shown(frame: bytes) -> str:
    text = frame.decode(errors="replace")
    return text if len(text) <= SHOWN_CHARS else text[:SHOWN_CHARS] + "…"
