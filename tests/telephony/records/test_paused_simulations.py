"""Simulated calls with all that can happen in them, paused anywhere: their tapes replay."""

import asyncio
from datetime import UTC, datetime
from random import Random

import msgspec
import pytest
from simulation.bridge_machine import BridgeMachine
from simulation.scenarios import FAST, random_scenario
from simulation.world import FromModel, FromPhone, Network, World
from support.session_world import World as SessionWorld

from realtime_bridge.audio.transcode import transcoder
from realtime_bridge.session.machine import SessionMachine
from realtime_bridge.tape import InlineDisk, Source, TapeFile, read_tape
from telephony.bridge_commands import ToModel, ToPhone
from telephony.bridge_inputs import Tick
from telephony.records.blanking import Blanking
from telephony.records.call_tape import CallTape, on_tape
from telephony.records.recorder import CallHead
from telephony.replay.machines import SessionCore
from telephony.replay.verify import verify_tape


class PausedTape:
    """The tape of a simulated call; at each of the inputs `pauses` it is paused, or resumed if it is."""

    def __init__(self, path, *, audio="pcmu", stream_sid="MZ1", began=0.0, pauses=()):
        self._path = path
        self._inputs = 0
        self._pauses = pauses
        self._problems = []
        self._head = head = CallHead(
            call_sid="CA1", stream_sid=stream_sid, direction="inbound", from_number="", to_number="", agent="Desk",
            model="m", audio=audio, clock_s=began,
        )  # fmt: skip
        file = TapeFile(
            path,
            InlineDisk(),
            created_at=datetime.now(UTC),
            metadata=msgspec.to_builtins(head),
            on_problem=self._problems.append,
        )
        self.tape = CallTape(file, Blanking(audio), began=began)

    def next_input(self):
        self._inputs += 1
        if self._inputs in self._pauses:
            (self.tape.resume if self.tape.paused else self.tape.pause)()

    def session_verified(self):
        """The session alone, which nothing reports to. Returns how many answers were compared."""
        self.close()
        core, answers, compared = SessionCore(self._head), [], 0
        for record in read_tape(self._path.read_bytes()):
            if record.source is Source.SESSION:
                assert answers == []
                answers = [on_tape(answer) for _, answer in core.answers(record)]
            elif record.source is Source.FROM_SESSION:
                assert answers.pop(0) == record.payload
                compared += 1
        assert answers == []
        return compared

    def close(self):
        asyncio.run(self.tape.close())
        assert self._problems == []

    def verified(self):
        self.close()
        verification = verify_tape(self._path)
        assert [str(difference) for difference in verification.differences] == []
        return verification


class TapedMachine(BridgeMachine):
    """The simulation's machine, with a tape between it and its bridge."""

    def __init__(self, path, audio, pauses):
        super().__init__(transcoder(audio))
        self.paused = None
        self._path, self._audio, self._pauses = path, audio, pauses
        self.came = None

    def handle(self, event, now):
        self.came = event
        outputs = super().handle(event, now)
        if self._bridge is not None and self.paused is None:
            sid = msgspec.json.decode(event.frame)["streamSid"]
            self.paused = PausedTape(self._path, audio=self._audio, stream_sid=sid, began=now, pauses=self._pauses)
            self._bridge = TapedBridge(self, self._bridge, self.paused)
        return outputs


class TapedBridge:
    def __init__(self, machine, bridge, paused):
        self._machine, self._bridge, self._paused = machine, bridge, paused
        paused.tape.bridge_made(bridge)

    @property
    def next_deadline(self):
        return self._bridge.next_deadline

    def handle(self, event, now):
        self._paused.next_input()
        tape = self._paused.tape
        match self._machine.came:
            case FromPhone(frame=frame):
                tape.phone_frame(frame, now)
            case FromModel(frame=frame):
                tape.model_frame(frame, now)
            case _:
                tape.program_input(event, now)
        commands = self._bridge.handle(event, now)
        for command in commands:
            if isinstance(command, ToPhone | ToModel):
                tape.bridge_answer(command, now)
        if isinstance(event, Tick):
            self._bridge.take_played(now)
        return commands


def moments(seed, inputs):
    """Two pauses; the last one may outlast the call."""
    return sorted(Random(f"{seed} pauses").sample(range(1, inputs), 4))


@pytest.mark.parametrize("audio", ["pcm", "pcmu"])
@pytest.mark.parametrize("seed", range(2))
def test_a_bridge_replays_wherever_its_tape_was_paused(seed, audio, tmp_path):
    machine = TapedMachine(tmp_path / "call.tape", audio, moments(seed, 1500))
    scenario = random_scenario(seed, audio=audio, speeds=FAST)
    World(machine, scenario, seed=seed, network=Network(one_way_ms=40, jitter_ms=30)).run().check(tolerance_ms=60)
    assert machine.paused.verified().answers > 100


@pytest.mark.parametrize("pauses", [0, 4])
@pytest.mark.parametrize("seed", range(10))
def test_a_session_replays_wherever_its_tape_was_paused(seed, pauses, tmp_path):
    """Through tools, approvals, hand-offs, guardrails, lost models and fresh ones."""
    world = SessionWorld(seed, guarded=seed % 2 == 0).run()
    paused = PausedTape(tmp_path / "call.tape", pauses=moments(seed, len(world.inputs))[:pauses])
    machine = SessionMachine(world.opening.agent, world.opening.settings)
    machine.first_update()
    paused.tape.session_made(machine)
    paused.tape.session_input(world.opening, world.inputs[0][0])
    for now, event in world.inputs:
        paused.next_input()
        paused.tape.session_input(event, now)
        commands = machine.handle(event, now=now)
        if commands:
            paused.tape.session_commands(commands, now)
    assert paused.session_verified() > 10
