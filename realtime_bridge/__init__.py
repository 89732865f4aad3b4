"""AI agents over realtime speech models: what an agent is, and one live conversation with a model.

Knows nothing of phones; `telephony` does, and builds on this package.
"""

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
