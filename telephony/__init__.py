"""Phones: Twilio's media streams, calls, and the server that answers them.

`create_app(agent=…, settings=…)` is the phone server, `PhoneAgent` an agent with its own ways of recording and steering,
`TwilioTransport` one call for a `RealtimeSession`; `hang_up`, `transfer_call` and the others are tools for agents.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from telephony.agents import PhoneAgent
    from telephony.app import create_app
    from telephony.tools import (
        collect_digits,
        hang_up,
        hold_caller,
        pause_recording,
        press_keys,
        resume_caller,
        resume_recording,
        stop_recording,
        transfer_call,
    )
    from telephony.transport import TwilioTransport

__all__ = [
    "PhoneAgent",
    "TwilioTransport",
    "collect_digits",
    "create_app",
    "hang_up",
    "hold_caller",
    "pause_recording",
    "press_keys",
    "resume_caller",
    "resume_recording",
    "stop_recording",
    "transfer_call",
]

_ELSEWHERE = {
    "PhoneAgent": "telephony.agents",
    "TwilioTransport": "telephony.transport",
    "create_app": "telephony.app",
}
_HOMES = dict.fromkeys(__all__, "telephony.tools") | _ELSEWHERE


def __getattr__(name: str) -> Any:
    """Import on first use: a command that only prints its help must not wait for a web framework."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
