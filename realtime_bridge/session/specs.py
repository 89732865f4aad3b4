"""What the core knows of an agent: plain data, with instructions worked out and disabled tools left out.

The shell makes an `AgentSpec` of an `Agent` when it takes over, and finds the live objects again by their names.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from realtime_bridge.approvals import ApprovalSettings
from realtime_bridge.session.usage import Price


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A function tool. `checked`: the shell must be asked whether a call needs approval; see `tools.Tool` for the rest."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}
    checked: bool = False
    approval_by_caller: str | None = None
    on_barge_in: Literal["finish", "cancel", "speak_later"] = "finish"
    filler: str | None = None
    filler_after_s: float = 0.8
    background: bool = False


class HandoffSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A transfer, offered as a tool."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class McpSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A hosted MCP server; `definition` as it stands in `session.tools`."""

    server_label: str
    definition: dict[str, Any] = {}
    speak_result: bool = True


class AgentSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An agent at the moment it takes over. `settings`: its own fields of the `session.update`, already shaped for it.

    `name` is unique in a session. `guarded`: it, or the session, has output guardrails.
    """

    name: str
    instructions: str = ""
    tools: tuple[ToolSpec, ...] = ()
    handoffs: tuple[HandoffSpec, ...] = ()
    mcp: tuple[McpSpec, ...] = ()
    voice: str | dict[str, str] | None = None
    prompt: dict[str, Any] | None = None
    settings: dict[str, Any] = {}
    guarded: bool = False

    def tool(self, name: str) -> ToolSpec | None:
        return next((tool for tool in self.tools if tool.name == name), None)

    def handoff(self, name: str) -> HandoffSpec | None:
        return next((handoff for handoff in self.handoffs if handoff.name == name), None)


class SessionSettings(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What holds for a whole session.

    `config`: the program's own fields of the `session.update`. `transport_config`: the transport's; they win.
    `plays_audio`: the transport reports what the caller hears; otherwise the program plays.
    `rotate_after_s`: when to change to a fresh model session at the latest; sooner where the model says that it will end
    the session sooner (see `lifetime`). None: never.
    """

    config: dict[str, Any] = {}
    transport_config: dict[str, Any] = {}
    plays_audio: bool = True
    keep_audio: bool = False
    every_chars: int = 100
    holdback_ms: int = 0
    approvals: ApprovalSettings = ApprovalSettings()
    price: Price | None = None
    greeting: str | bool = False
    rotate_after_s: float | None = None
