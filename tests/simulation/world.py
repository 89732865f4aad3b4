"""A whole call in virtual time: a phone, a network, a model, and the machine under test between them.

Everything that could vary comes from one seed, so a failing call can be run again: its verdict prints the seed.

    outcome = World(machine, scenario, seed=7, network=Network(one_way_ms=40, jitter_ms=30)).run()
    outcome.check()
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol, TypeAlias

import numpy as np
from simulation.model import BYTES_PER_MS, CallerSpeaks, Scenario, ScriptedModel, SentItem, heard_ms

from realtime_bridge.wire import decode_client_event, encode
from telephony.testing.network import Link
from telephony.testing.phone import FRAME_BYTES, Faults, SimulatedPhone
from telephony.twilio.media_stream import decode_command
from telephony.twilio.messages import PlayMark

START = 1000.0  # any moment of a monotonic clock
TICKS_MAX = 1000  # without time moving on
LOG_LINES_TOLD = 60
LOG_CHARS_TOLD = 140
VOICE = 0x05  # a loud mu-law code: the caller


# --- the machine under test ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class FromPhone:
    """A text frame from the phone."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class FromModel:
    """A text frame from the model."""

    frame: bytes


@dataclass(frozen=True, slots=True)
class ModelOpen:
    """The model's socket is open."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The machine's own deadline is reached."""


@dataclass(frozen=True, slots=True)
class ToPhone:
    frame: bytes


@dataclass(frozen=True, slots=True)
class ToModel:
    frame: bytes


Input: TypeAlias = FromPhone | FromModel | ModelOpen | Tick
Output: TypeAlias = ToPhone | ToModel


class Machine(Protocol):
    """What stands between phone and model; pure."""

    def handle(self, event: Input, now: float) -> Sequence[Output]: ...

    def next_deadline(self) -> float | None: ...


# --- the world -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Network:
    """One-way delays; each frame takes `jitter_ms` more at most. The first pair is the phone's way to us and back."""

    one_way_ms: float = 0.0
    jitter_ms: float = 0.0
    model_one_way_ms: float = 10.0
    model_jitter_ms: float = 0.0


class World:
    """One call. Make it, `run` it once."""

    def __init__(
        self,
        machine: Machine,
        scenario: Scenario,
        *,
        seed: int = 0,
        network: Network | None = None,
        faults: Faults | None = None,
        drift_ppm: float = 0.0,
        hears_all: bool = True,
    ) -> None:
        """`hears_all`: the model is to hear all that the caller says; not so where the machine is told to mute."""
        self.hears_all = hears_all
        self.seed = seed
        self.scenario = scenario
        self.network = network = network or Network()
        self.faults = faults = faults or Faults()
        self.now = START
        self.phone = SimulatedPhone(drift_ppm=drift_ppm, faults=faults, rng=Random(f"{seed} phone"))
        self.model = ScriptedModel(scenario, START + scenario.ready_after_s)
        self.log: list[tuple[float, str, bytes]] = []
        self._machine = machine
        self._links = {
            "phone>": Link(network.one_way_ms, network.jitter_ms, Random(f"{seed} from phone")),
            ">phone": Link(network.one_way_ms, network.jitter_ms, Random(f"{seed} to phone")),
            "model>": Link(network.model_one_way_ms, network.model_jitter_ms, Random(f"{seed} from model")),
            ">model": Link(network.model_one_way_ms, network.model_jitter_ms, Random(f"{seed} to model")),
        }
        self._in_flight: list[tuple[float, int, str, bytes]] = []
        self._count = 0

    def run(self) -> Outcome:
        """Play the scenario to its end, hang up, and judge."""
        end = START + self.scenario.seconds
        voices = [
            (START + self.scenario.ready_after_s + at, what.ms)
            for at, what in self.scenario.events
            if isinstance(what, CallerSpeaks)
        ]
        for frame in self.phone.start(START):
            self._send("phone>", frame)
        self._at(START + self.scenario.ready_after_s, "model open")
        for at, ms in voices:
            self._at(at, "caller", bytes([VOICE]) * round(ms * 8))
        ticks = 0
        while (now := self._next_at()) <= end:
            ticks = ticks + 1 if now == self.now else 0
            assert ticks < TICKS_MAX, f"seed {self.seed}: time stands still at {now - START:.3f} s\n{self.tail()}"
            self.now = now
            self._step()
        self.now = end
        return Outcome(self)

    def _next_at(self) -> float:
        due = [self.phone.next_event_at(), self.model.next_event_at(), self._machine.next_deadline()]
        if self._in_flight:
            due.append(self._in_flight[0][0])
        return max(self.now, min(at for at in due if at is not None))

    def _step(self) -> None:
        """One thing that is due now: what arrives comes first, the machine's own timer last."""
        if self._in_flight and self._in_flight[0][0] <= self.now:
            _, _, way, frame = heapq.heappop(self._in_flight)
            self._arrive(way, frame)
        elif (at := self.model.next_event_at()) is not None and at <= self.now:
            for event in self.model.advance(self.now):
                self._send("model>", encode(event))
        elif (at := self.phone.next_event_at()) is not None and at <= self.now:
            for frame in self.phone.advance(self.now):
                self._send("phone>", frame)
        else:
            self._handle(Tick())

    def _arrive(self, way: str, frame: bytes) -> None:
        self.log.append((self.now, way, frame))
        match way:
            case "phone>":
                self._handle(FromPhone(frame))
            case "model>":
                self._handle(FromModel(frame))
            case ">phone":
                self.phone.receive(frame, self.now)
            case ">model":
                self.model.receive(decode_client_event(frame), self.now)
            case "model open":
                self._handle(ModelOpen())
            case "caller":
                self.phone.speak(frame)

    def _handle(self, event: Input) -> None:
        for output in self._machine.handle(event, self.now):
            self._send(">phone" if isinstance(output, ToPhone) else ">model", output.frame)

    def _send(self, way: str, frame: bytes) -> None:
        self._at(self._links[way].arrival(self.now), way, frame)

    def _at(self, at: float, way: str, frame: bytes = b"") -> None:
        self._count += 1
        heapq.heappush(self._in_flight, (at, self._count, way, frame))

    def tail(self) -> str:
        """The last lines of the log, without the caller's audio and the model's words."""
        noise = (b'"track":"inbound","chunk"', b"input_audio_buffer.append", b"transcript.delta")
        told = [line for line in self.log if line[1] != "caller" and not any(word in line[2] for word in noise)]
        return "\n".join(
            f"{at - START:9.4f} {way:6} {frame[:LOG_CHARS_TOLD].decode(errors='replace')}"
            for at, way, frame in told[-LOG_LINES_TOLD:]
        )


# --- the verdict -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ItemTruth:
    """What became of one item's audio: planned by the model, sent by it, really heard, and truncated (None: was not)."""

    item: SentItem
    sent_ms: float
    heard_ms: float

    @property
    def truncation_error_ms(self) -> float | None:
        """How far the truncate was from the truth; positive: it claimed more than was heard."""
        return None if self.item.truncated_ms is None else self.item.truncated_ms - self.heard_ms


@dataclass
class Outcome:
    """What a call came to, by the phone's truth."""

    world: World
    items: list[ItemTruth] = field(init=False)
    heard: bytes = field(init=False)  # all that the phone played, without the pauses
    model_input_ms: float = field(init=False)

    def __post_init__(self) -> None:
        world = self.world
        self.heard = heard = b"".join(
            world.phone.playback.wire[span.wire_start : span.wire_end]
            for span in world.phone.playback.played_spans(world.now)
        )
        rate = BYTES_PER_MS[world.scenario.audio]
        self.items = [ItemTruth(item, item.sent_bytes / rate, heard_ms(item, heard)) for item in world.model.items]
        self.model_input_ms = len(world.model.input) / rate

    @property
    def truncation_errors_ms(self) -> list[float]:
        return [truth.truncation_error_ms for truth in self.items if truth.truncation_error_ms is not None]

    def problems(self, tolerance_ms: float = 20.0) -> list[str]:
        """Every promise that was broken, in words."""
        return [
            *self._refusals(),
            *(problem for truth in self.items for problem in _item_problems(truth, tolerance_ms)),
            *self._wire_problems(),
            *self._input_problems(),
        ]

    def check(self, tolerance_ms: float = 20.0) -> None:
        """Raises AssertionError, with the seed and the end of the log, if a promise was broken."""
        if problems := self.problems(tolerance_ms):
            told = "\n".join(f"- {problem}" for problem in problems)
            raise AssertionError(f"seed {self.world.seed}, {self.world.scenario}:\n{told}\n{self.world.tail()}")

    def _refusals(self) -> list[str]:
        """`response_cancel_not_active` may cross a reply's end on the way; nothing else may be refused."""
        return [
            f"the model refused {error.event_id}: {error.message}"
            for _, error in self.world.model.errors
            if error.code != "response_cancel_not_active"
        ]

    def _wire_problems(self) -> list[str]:
        """Audio for the phone adds up to whole frames of 20 ms, and marks have names of their own."""
        rest = len(self.world.phone.playback.wire) % FRAME_BYTES
        problems = [f"the phone's audio ends in {rest} bytes that are no whole frame"] if rest else []
        commands = [decode_command(frame) for _, way, frame in self.world.log if way == ">phone"]
        names = Counter(command.name for command in commands if isinstance(command, PlayMark))
        return problems + [f"mark {name!r} was sent {n} times" for name, n in names.items() if n > 1]

    def _input_problems(self) -> list[str]:
        """The model has heard the whole call, once, up to what is on its way."""
        world, network = self.world, self.world.network
        on_its_way_ms = 300 + 4 * (network.one_way_ms + network.jitter_ms + network.model_one_way_ms)
        said_ms = len(world.phone.spoken) / 8
        if not said_ms - on_its_way_ms <= self.model_input_ms <= said_ms + 1:
            return [f"the caller's line was open for {said_ms:.0f} ms, the model heard {self.model_input_ms:.0f} ms"]
        spoken = np.frombuffer(bytes(world.phone.spoken[: int(self.model_input_ms * 8)]), np.uint8)
        if world.scenario.audio == "pcmu" and not world.faults.media_lost and world.hears_all:
            heard = np.frombuffer(bytes(world.model.input), np.uint8)
            if not np.array_equal(heard, spoken):
                return ["what the model heard is not what the caller said"]
        return []


def _item_problems(truth: ItemTruth, tolerance_ms: float) -> list[str]:
    item, error = truth.item, truth.truncation_error_ms
    name = f"{item.item_id} ({truth.sent_ms:.0f} ms sent, {truth.heard_ms:.1f} ms heard)"
    if error is not None:
        if abs(error) > tolerance_ms:
            return [f"{name} was truncated at {item.truncated_ms} ms, off by {error:+.1f} ms"]
        return []
    if item.in_conversation and truth.heard_ms < truth.sent_ms - tolerance_ms:
        return [f"{name} was not wholly heard, and not truncated"]
    return []
