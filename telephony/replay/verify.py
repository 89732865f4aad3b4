"""Does this program still do what it did in a recorded call?

A tape holds every input of a call's machines with its time, and what they answered. Fresh machines are given the same
inputs at the same times; where they answer otherwise, this program is not the one that made the call, or a machine is not
pure. No clock runs, so an hour of calls takes seconds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from realtime_bridge.errors import ProtocolError
from realtime_bridge.tape import Source, TapeKeys, TapeReader, TapeRecord, read_tape
from telephony.records.call_tape import on_tape
from telephony.records.recorder import CallHead
from telephony.replay.differences import Answer, Difference, differences
from telephony.replay.machines import BridgeMachine, Machine, SessionCore
from telephony.replay.reports import Reports

DIFFERENCES_KEPT: Final = 200  # one change may alter every answer that follows; the rest are counted
ANSWERS_MAX: Final = 100_000  # to one input
# Machines fill with silence what is missing; on a forged tape that could be years. Real ones have a timer's tick a second.
GAP_S_MAX: Final = 600.0
CALL_S_MAX: Final = 25 * 3600.0  # Twilio ends calls after 24 hours at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A call beside its replay. `inputs` were replayed and `answers` compared in `seconds` of the call.

    `counts`: all differences by what changed; `differences`: the first `DIFFERENCES_KEPT` of them, in order. `torn`: why
    the tape ends before the call did (a killed process), or None.
    """

    call: CallHead
    seconds: float
    inputs: int
    answers: int
    torn: str | None
    counts: dict[str, int]
    differences: list[Difference]

    @property
    def identical(self) -> bool:
        return not self.counts


def verify_tape(path: Path, keys: TapeKeys | None = None) -> Verification:
    """Run a call again from its tape. `keys`: for tapes that are sealed.

    On a tape that was not written to its end, answers to the last input may be missing. Raises OSError and TapeError for
    a tape that cannot be read, ProtocolError for one that is not of a call, InternalError when a machine fails.
    """
    with path.open("rb") as file:
        tape = read_tape(file, keys=keys)
        replay = _Replay(tape)
        for record in tape:
            replay.take(record)
        return replay.end()


class _Replay:
    def __init__(self, tape: TapeReader) -> None:
        self._tape = tape
        self._head = _head(tape.header.metadata)
        self._by_input: dict[Source, _Comparison] = {}
        self._by_output: dict[Source, _Comparison] = {}
        self._bridge = BridgeMachine(self._head)
        self._reports = Reports()
        machines: tuple[Machine, ...] = (self._bridge, SessionCore(self._head))
        for machine in machines:
            comparison = _Comparison(machine)
            self._by_input.update(dict.fromkeys(machine.inputs, comparison))
            self._by_output.update(dict.fromkeys(machine.outputs, comparison))
        self._seconds = 0.0
        self._inputs = self._answers = 0
        self._counts: Counter[str] = Counter()
        self._differences: list[Difference] = []

    def take(self, record: TapeRecord) -> None:
        if record.time > CALL_S_MAX or record.time - self._seconds > GAP_S_MAX:
            raise ProtocolError(f"a record at {record.time:g} s, after one at {self._seconds:.3f} s, is of no call")
        self._seconds = max(self._seconds, record.time)
        if (comparison := self._by_output.get(record.source)) is not None:
            self._answers += 1
            comparison.answered(record)
        elif (comparison := self._by_input.get(record.source)) is not None:
            self._inputs += 1
            self._note(comparison.next(record))
            if record.source is Source.SESSION:
                self._note(self._reports.taped(record))
            elif self._bridge.reports:
                self._reports.replayed(self._bridge.reports, record)

    def end(self) -> Verification:
        torn = self._tape.torn
        for comparison in dict.fromkeys(self._by_input.values()):
            self._note(comparison.end(torn=torn is not None))
        return Verification(
            call=self._head,
            seconds=self._seconds,
            inputs=self._inputs,
            answers=self._answers,
            torn=None if torn is None else torn.reason,
            counts=dict(self._counts),
            differences=self._differences,
        )

    def _note(self, found: list[Difference]) -> None:
        for difference in found:
            self._counts[difference.what] += 1
            if len(self._differences) < DIFFERENCES_KEPT:
                self._differences.append(difference)


class _Comparison:
    """One machine beside its answers in the call."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._input: TapeRecord | None = None
        self._taped: list[Answer] = []  # answers to it, in the call
        self._replayed: list[Answer] = []  # answers to it, now

    def answered(self, record: TapeRecord) -> None:
        if self._input is None:
            raise ProtocolError("the tape begins with an answer: it is not of a call")
        if len(self._taped) >= ANSWERS_MAX:
            raise ProtocolError(f"more than {ANSWERS_MAX} answers to one input, at {record.time:.3f} s of the tape")
        self._taped.append((record.source, record.payload))

    def next(self, record: TapeRecord) -> list[Difference]:
        """All answers to the input before are there: what differs. Then this input."""
        found = self._compare(self._taped)
        self._input = record
        self._replayed = [(source, on_tape(frame)) for source, frame in self._machine.answers(record)]
        self._taped = []
        return found

    def end(self, *, torn: bool) -> list[Difference]:
        missing = self._replayed[len(self._taped) :] if torn else []
        return self._compare([*self._taped, *missing])

    def _compare(self, taped: list[Answer]) -> list[Difference]:
        given = self._input
        if given is None or taped == self._replayed:
            return []
        return differences(given.time, given.source, given.payload, taped, self._replayed)


def _head(metadata: dict[str, Any]) -> CallHead:
    try:
        return msgspec.convert(metadata, CallHead)
    except msgspec.ValidationError as e:
        raise ProtocolError(f"not the tape of a call: {e}", where="metadata") from e
