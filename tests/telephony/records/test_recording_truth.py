"""Is call.wav the call? Ten minutes and thirty barge-ins over a network that delays and jitters, in virtual time; the
phone knows what it played and when, and the file is read as anybody would read it.

The agent's voice is noise that never repeats: any 20 ms of it are found again wherever they lie.
"""

import wave
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np
import pytest
from support.scripted_model import LoudnessVad, ScriptedRecognizer, tone

from realtime_bridge import Agent
from realtime_bridge.audio.g711 import mulaw_to_pcm16, pcm16_to_mulaw
from realtime_bridge.localmodel.parts import Say as Speak
from realtime_bridge.tape import InlineDisk
from realtime_bridge.transport.inline_socket import InlineModels
from telephony.calls.answering import Switchboard
from telephony.playout import BYTES_PER_MS, BYTES_PER_S
from telephony.records.folder import CallFolder
from telephony.records.record import CallRecord
from telephony.testing import (
    CallResult,
    HangUp,
    InterruptAfter,
    Link,
    Say,
    SimulatedPhone,
    WaitForAgent,
    place_virtual_call,
    run_virtual,
)

BARGE_INS = 30
BLOCK = 160  # samples: 20 ms
SEARCH = 8000  # samples, to either side of where it should be
WORD_MS = 250


class NoiseVoice:
    """Says every word as 250 ms of noise, each time another."""

    sample_rate = 24_000

    def __init__(self):
        self._noise = np.random.default_rng(5)

    def speak(self, text):
        size = len(text.split()) * WORD_MS * self.sample_rate // 1000
        yield text, self._noise.uniform(-0.5, 0.5, size).astype(np.float32)


class Talkative:
    """A brain that has 15 seconds to say about anything."""

    async def respond(self, turn):
        yield Speak("word " * 59 + "end.")


@dataclass(frozen=True)
class Call:
    result: CallResult
    folder: CallFolder

    @cached_property
    def record(self) -> CallRecord:
        return self.folder.read_record()

    @cached_property
    def channels(self) -> np.ndarray:
        with wave.open(str(self.folder.recording)) as file:
            return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)

    @cached_property
    def truth(self) -> list[tuple[int, bytes]]:
        """What the phone played: (at which sample since the stream began, mu-law)."""
        phone = self.result.phone
        return [
            (
                round((span.played_at - phone.started_at) * BYTES_PER_S),
                self.result.wire[span.wire_start : span.wire_end],
            )
            for span in phone.playback.played_spans(phone.ended_at)
        ]

    def errors_ms(self) -> tuple[np.ndarray, float]:
        """Of each 20 ms that were heard, how much later they lie in call.wav, and how many milliseconds lie nowhere."""
        agent = np.ascontiguousarray(self.channels[:, 1]).tobytes()
        errors, lost = [], 0
        for start, mulaw in self.truth:
            for at in range(0, len(mulaw) - BLOCK + 1, BLOCK):
                expected = start + at
                first = 2 * max(0, expected - SEARCH)
                found = agent.find(mulaw_to_pcm16(mulaw[at : at + BLOCK]), first, 2 * (expected + SEARCH + BLOCK))
                if found < 0:
                    lost += BLOCK
                else:
                    errors.append(found / 2 - expected)
        return np.array(errors) / BYTES_PER_MS, lost / BYTES_PER_MS


def place(data_dir: Path, *, barge_ins: int = BARGE_INS, one_way_ms=(35.0, 60.0), jitter_ms=30.0) -> Call:
    rng = Random(11)
    question = pcm16_to_mulaw(tone(900, rate=8000))
    steps = [WaitForAgent()]
    for n in range(barge_ins):
        steps += [Say(question), InterruptAfter(heard_ms=rng.uniform(300, 12_800), timeout_s=30)]
        if n % 3:
            steps += [Say(question), WaitForAgent(timeout_s=40)]
    steps += [Say(question), WaitForAgent(timeout_s=40), HangUp()]
    models = InlineModels(
        brain_factory=Talkative, recognizer=ScriptedRecognizer(), voice=NoiseVoice(), vad_factory=LoudnessVad
    )
    phone = SimulatedPhone()

    async def talk():
        switchboard = Switchboard(
            Agent("Desk", "Talk."), open_model=models, model="local", audio="pcmu", data_dir=data_dir, disk=InlineDisk()
        )
        result = await place_virtual_call(
            switchboard.answer,
            steps,
            phone=phone,
            to_server=Link(one_way_ms[0], jitter_ms, Random(1)),
            to_phone=Link(one_way_ms[1], jitter_ms, Random(2)),
        )
        await switchboard.close()
        return result

    return Call(run_virtual(talk()), CallFolder(data_dir, phone.ids.call_sid))


@pytest.fixture(scope="module")
def call(tmp_path_factory) -> Call:
    return place(tmp_path_factory.mktemp("data"))


def test_it_is_the_call_that_was_to_be_placed(call):
    assert (call.result.failure, call.result.problems, call.record.problems) == (None, (), ())
    assert call.result.seconds > 600
    assert len(call.record.barge_ins) == len(call.result.clears) == BARGE_INS


def test_the_agent_lies_within_20_ms_of_where_the_phone_played_it_throughout_the_call(call):
    errors_ms, lost_ms = call.errors_ms()
    heard_ms = sum(len(mulaw) for _, mulaw in call.truth) / BYTES_PER_MS
    assert len(errors_ms) * 20 > heard_ms * 0.99
    assert np.abs(errors_ms).max() <= 20
    assert lost_ms <= 20 * BARGE_INS, "what was heard last before a barge-in is known to the truncate's error"


def test_the_agent_is_cut_where_the_caller_stopped_hearing_it(call):
    heard_ms = sum(len(mulaw) for _, mulaw in call.truth) / BYTES_PER_MS
    recorded_ms = np.count_nonzero(call.channels[:, 1]) / BYTES_PER_MS
    silent_ms = sum(np.count_nonzero(np.frombuffer(mulaw_to_pcm16(mulaw), "<i2") == 0) for _, mulaw in call.truth)
    assert recorded_ms == pytest.approx(heard_ms - silent_ms / BYTES_PER_MS, abs=20 * BARGE_INS / 2)


def test_the_caller_lies_where_the_phone_sent_it_to_the_sample(call):
    spoken = np.frombuffer(mulaw_to_pcm16(bytes(call.result.phone.spoken)), "<i2")
    recorded = call.channels[: len(spoken), 0]
    assert len(spoken) - len(recorded) <= 100 * 8, "what was on its way when the phone hung up"
    assert np.array_equal(recorded, spoken[: len(recorded)])


def test_the_transcript_s_times_are_those_of_the_sound(call):
    """Each of the agent's lines begins where the phone began to play it, and ends where it stopped."""
    spans_ms = [(start / BYTES_PER_MS, (start + len(mulaw)) / BYTES_PER_MS) for start, mulaw in call.truth]
    lines = [line for line in call.record.transcript if line.role == "assistant" and line.start_ms is not None]
    assert len(lines) > 50
    for line in lines:
        assert min(abs(line.start_ms - start) for start, _ in spans_ms) <= 40  # steps of 20 ms, and 20 ms
        assert min(abs(line.end_ms - end) for _, end in spans_ms) <= 40
