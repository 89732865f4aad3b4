"""People's say in what tools do: how long a request may wait, and what happens when nobody answers."""

from __future__ import annotations

from typing import Literal

import msgspec

from realtime_bridge.errors import MisuseError

REJECTED = "The call was not approved, and nothing was done."
TIMED_OUT = "Nobody approved the call in time, and nothing was done."


class ApprovalSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`timeout_s`: how long a request waits for an answer (None: until the session ends). `on_timeout`: what then.

    `filler`: what the agent tells the caller when a request begins to wait (None: nothing).
    `guardrails_first`: run a tool's input guardrails before anybody is asked, too.
    """

    timeout_s: float | None = 300.0
    on_timeout: Literal["reject", "approve"] = "reject"
    filler: str | None = None
    guardrails_first: bool = False

    def __post_init__(self) -> None:
        if self.timeout_s is not None and self.timeout_s <= 0:
            raise MisuseError("ApprovalSettings: timeout_s must be positive, or None for no limit")


class ApprovalRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One tool call that waits for a decision. `arguments`: exactly what the tool would be called with, as JSON.

    `kind` "mcp" is a call that a hosted MCP server wants to make; `server_label` names the server.
    `approval_by_caller`: the key by which the caller may approve it themself, where the tool allows that.
    """

    call_id: str
    agent: str
    tool: str
    arguments: str
    kind: Literal["function", "mcp"] = "function"
    server_label: str | None = None
    expires_in_s: float | None = None
    approval_by_caller: str | None = None
