"""How a session reaches a model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from realtime_bridge.transport.base import RealtimeTransport
    from realtime_bridge.transport.scripted import ScriptedTransport
    from realtime_bridge.transport.websocket import WebSocketTransport

__all__ = ["RealtimeTransport", "ScriptedTransport", "WebSocketTransport"]

_HOMES = {"RealtimeTransport": "base", "ScriptedTransport": "scripted", "WebSocketTransport": "websocket"}


def __getattr__(name: str) -> Any:
    """Import on first use: the session core needs the protocol, and no socket."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
