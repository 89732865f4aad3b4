"""Whole calls from seeds: barge-ins at any moment, tools of any length, late and repeated events, lost models, hand-offs,
edits, approvals answered late or never. `support.session_world` checks the core's promises on each.

    SIMULATED_CALLS=5000 python -m pytest tests/realtime_bridge/session/test_session_simulation.py
"""

import os

import msgspec
import pytest
from support.session_world import World

from realtime_bridge.session import events
from realtime_bridge.session.journal import decode_record, encode_record, replay

CALLS = int(os.environ.get("SIMULATED_CALLS", "320"))
SHARES = 8


def world(seed: int) -> World:
    """Every third call has guardrails; every fifth model forgets the metadata of requests; in every seventh call the
    program plays the audio."""
    return World(seed, guarded=seed % 3 == 0, echoes_metadata=seed % 5 != 0, plays_audio=seed % 7 != 0).run()


@pytest.mark.parametrize("share", range(SHARES))
def test_no_promise_is_broken_in_any_call(share):
    for seed in range(share, CALLS, SHARES):
        assert world(seed).complaints == [], f"seed {seed}"


def test_the_simulated_calls_are_worth_simulating():
    seen: dict[str, int] = {}
    for seed in range(40):
        for event in world(seed).emitted:
            seen[event.type] = seen.get(event.type, 0) + 1
    rare = {kind: seen.get(kind, 0) for kind in (
        events.AgentHandoff.__struct_config__.tag,
        "agent_tool_end",
        "tool_approval_resolved",
        "audio_interrupted",
        "guardrail_tripped",
        "reconnected",
        "session_end",
    )}  # fmt: skip
    assert all(count >= 3 for count in rare.values()), rare


@pytest.mark.parametrize("seed", range(12))
def test_the_same_inputs_give_the_same_commands_byte_for_byte(seed):
    """Also after the inputs were written down and read back."""
    played = world(seed)
    encode = msgspec.json.Encoder().encode
    opening = decode_record(encode_record(played.opening))
    inputs = [(now, decode_record(encode_record(event))) for now, event in played.inputs]
    again = replay(opening, inputs)
    assert [encode(commands) for commands in again] == [encode(commands) for commands in played.commands]
