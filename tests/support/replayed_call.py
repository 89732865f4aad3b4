"""A call, run again from its tape, to be looked at: what came in, and all that bridge and session answered, whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pybase64

from realtime_bridge.session.items import HistoryItem
from realtime_bridge.tape import Source, read_tape
from telephony.records.recorder import CallHead
from telephony.replay.machines import BridgeMachine, SessionCore

Json = dict[str, Any]


@dataclass(frozen=True)
class Moment:
    """One input, and the answers to it."""

    time: float
    source: Source
    given: Json
    answers: list[tuple[Source, Json]]


@dataclass(frozen=True)
class ReplayedCall:
    moments: list[Moment]
    history: tuple[HistoryItem, ...]

    def came(self, source: Source, kind: str) -> list[Moment]:
        """Inputs of this kind: `event` of the phone's messages, `type` of all others."""
        name = "event" if source is Source.PHONE else "type"
        return [m for m in self.moments if m.source is source and m.given.get(name) == kind]

    def _said(self, way: Source) -> Iterator[tuple[float, Json]]:
        return ((m.time, answer) for m in self.moments for source, answer in m.answers if source is way)

    def to_model(self, kind: str) -> list[tuple[float, Json]]:
        return [(at, event) for at, event in self._said(Source.TO_MODEL) if event["type"] == kind]

    def to_phone(self, kind: str) -> list[tuple[float, Json]]:
        return [(at, message) for at, message in self._said(Source.TO_PHONE) if message["event"] == kind]

    def asked(self, deed: str) -> list[tuple[float, Json]]:
        """What the session's core asked of its shell."""
        return [(at, command) for at, command in self._said(Source.FROM_SESSION) if command["do"] == deed]

    def told(self, kind: str) -> list[tuple[float, Json]]:
        """Events of the session."""
        return [(at, command["event"]) for at, command in self.asked("emit") if command["event"]["type"] == kind]

    def caller_audio(self) -> list[tuple[float, bytes]]:
        """As the phone sent it."""
        return [(m.time, pybase64.b64decode(m.given["media"]["payload"])) for m in self.came(Source.PHONE, "media")]

    def appended(self) -> list[tuple[float, bytes]]:
        """Caller audio as the model got it."""
        return [(at, pybase64.b64decode(e["audio"])) for at, e in self.to_model("input_audio_buffer.append")]


def replayed(path: Path) -> ReplayedCall:
    reader = read_tape(path.read_bytes())
    head = msgspec.convert(reader.header.metadata, CallHead)
    bridge, core = BridgeMachine(head), SessionCore(head)
    moments = []
    for record in reader:
        machine = next((m for m in (bridge, core) if record.source in m.inputs), None)
        if machine is not None:
            answers = [(way, msgspec.json.decode(frame)) for way, frame in machine.answers(record)]
            moments.append(Moment(record.time, record.source, msgspec.json.decode(record.payload), answers))
    return ReplayedCall(moments, core._machine.history)
