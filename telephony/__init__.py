"""Phones: Twilio's media streams, calls, and the server that answers them.

`create_app(agent=…, settings=…)` is the phone server, `TwilioTransport` one call for a `RealtimeSession`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from telephony.app import create_app
    from telephony.transport import TwilioTransport

__all__ = ["TwilioTransport", "create_app"]

_HOMES = {"create_app": "telephony.app", "TwilioTransport": "telephony.transport"}


def __getattr__(name: str) -> Any:
    """Import on first use: a command that only prints its help must not wait for a web framework."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
