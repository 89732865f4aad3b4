"""AI agents over realtime speech models: what an agent is, and one live conversation with a model.

Knows nothing of phones; `telephony` does, and builds on this package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from realtime_bridge.agent import Agent, AgentHooks, ModelSettings
    from realtime_bridge.approvals import ApprovalRequest, ApprovalSettings
    from realtime_bridge.context import RunContext, ToolContext
    from realtime_bridge.errors import (
        BridgeError,
        InternalError,
        MisuseError,
        ProtocolError,
        TransportError,
        UserCodeError,
    )
    from realtime_bridge.guardrails import (
        GuardrailResult,
        GuardrailSettings,
        GuardrailTrippedError,
        OutputGuardrail,
        Reject,
        output_guardrail,
        tool_input_guardrail,
        tool_output_guardrail,
    )
    from realtime_bridge.handoffs import Handoff, handoff
    from realtime_bridge.realtime import RealtimeSession
    from realtime_bridge.session.items import HistoryItem
    from realtime_bridge.session.usage import Price, Tokens
    from realtime_bridge.session_work import ToolErrorInfo
    from realtime_bridge.tools import HostedMcpTool, SilentResult, Tool, ToolError, tool

__all__ = [
    "Agent",
    "AgentHooks",
    "ApprovalRequest",
    "ApprovalSettings",
    "BridgeError",
    "GuardrailResult",
    "GuardrailSettings",
    "GuardrailTrippedError",
    "Handoff",
    "HistoryItem",
    "HostedMcpTool",
    "InternalError",
    "MisuseError",
    "ModelSettings",
    "OutputGuardrail",
    "Price",
    "ProtocolError",
    "RealtimeSession",
    "Reject",
    "RunContext",
    "SilentResult",
    "Tokens",
    "Tool",
    "ToolContext",
    "ToolError",
    "ToolErrorInfo",
    "TransportError",
    "UserCodeError",
    "handoff",
    "output_guardrail",
    "tool",
    "tool_input_guardrail",
    "tool_output_guardrail",
]

_HOMES = {
    "Agent": "agent",
    "AgentHooks": "agent",
    "ApprovalRequest": "approvals",
    "ApprovalSettings": "approvals",
    "BridgeError": "errors",
    "GuardrailResult": "guardrails",
    "GuardrailSettings": "guardrails",
    "GuardrailTrippedError": "guardrails",
    "Handoff": "handoffs",
    "HistoryItem": "session.items",
    "HostedMcpTool": "tools",
    "InternalError": "errors",
    "MisuseError": "errors",
    "ModelSettings": "agent",
    "OutputGuardrail": "guardrails",
    "Price": "session.usage",
    "ProtocolError": "errors",
    "RealtimeSession": "realtime",
    "Reject": "guardrails",
    "RunContext": "context",
    "SilentResult": "tools",
    "Tokens": "session.usage",
    "Tool": "tools",
    "ToolContext": "context",
    "ToolError": "tools",
    "ToolErrorInfo": "session_work",
    "TransportError": "errors",
    "UserCodeError": "errors",
    "handoff": "handoffs",
    "output_guardrail": "guardrails",
    "tool": "tools",
    "tool_input_guardrail": "guardrails",
    "tool_output_guardrail": "guardrails",
}


def __getattr__(name: str) -> Any:
    """Import on first use: a command that only prints its help must not wait for a speech model's client."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
