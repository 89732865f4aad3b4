"""Simulated phones and callers, for tests, demos and measurements.

`SimulatedPhone` (pure) knows what the caller really heard; `ScriptedCaller` (pure) speaks and listens by a script; `Link`
is a network. `place_call` rings a running server over a real socket, in real time; `place_virtual_call` calls what would
answer in that server, in virtual time (`run_virtual`). `speech` holds a recorded human voice. `twilio` is a whole Twilio on
this machine: REST API, webhooks, media streams, and people who answer.

The names here are those of tests of agents, too: what the fixture `phone_call` takes for its caller (`caller_script`,
`script`), and what can be expected of a call (`telephony.expectations`).
"""

from telephony.expectations import (
    ANYTHING,
    AnswerTimes,
    Ended,
    Expectation,
    HandedOff,
    Interruptions,
    Like,
    Matches,
    NoDeadAir,
    NotHandedOff,
    NotSaid,
    OneOf,
    Said,
    ToolCalled,
    ToolNotCalled,
    ToolsInOrder,
)
from telephony.testing.caller import Stream, fetch_stream, place_call
from telephony.testing.caller_script import CallerStep, InterruptAt, Recorded
from telephony.testing.network import Link
from telephony.testing.phone import Faults, Ids, SimulatedPhone
from telephony.testing.recorded_speech import read_speech
from telephony.testing.result import CallResult
from telephony.testing.script import (
    AfterTurn,
    GoOn,
    HangUp,
    InterruptAfter,
    IntoUtterance,
    Patience,
    Pause,
    Press,
    Say,
    ScriptedCaller,
    StayOnLine,
    Step,
    Until,
    WaitForAgent,
)
from telephony.testing.virtual_call import place_virtual_call
from telephony.testing.virtual_time import VirtualTimeLoop, run_virtual

__all__ = [
    "ANYTHING",
    "AfterTurn",
    "AnswerTimes",
    "CallResult",
    "CallerStep",
    "Ended",
    "Expectation",
    "Faults",
    "GoOn",
    "HandedOff",
    "HangUp",
    "Ids",
    "InterruptAfter",
    "InterruptAt",
    "Interruptions",
    "IntoUtterance",
    "Like",
    "Link",
    "Matches",
    "NoDeadAir",
    "NotHandedOff",
    "NotSaid",
    "OneOf",
    "Patience",
    "Pause",
    "Press",
    "Recorded",
    "Said",
    "Say",
    "ScriptedCaller",
    "SimulatedPhone",
    "StayOnLine",
    "Step",
    "Stream",
    "ToolCalled",
    "ToolNotCalled",
    "ToolsInOrder",
    "Until",
    "VirtualTimeLoop",
    "WaitForAgent",
    "fetch_stream",
    "place_call",
    "place_virtual_call",
    "read_speech",
    "run_virtual",
]
