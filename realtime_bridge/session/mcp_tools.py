"""Tools on hosted MCP servers: which there are for the current agent, and what became of their calls."""

from __future__ import annotations

from typing import Any

from realtime_bridge.session.core import Core
from realtime_bridge.session.events import AgentToolEnd, AgentToolStart, McpToolsChanged
from realtime_bridge.wire import Item

_REMEMBERED_MAX = 256


class McpTools:
    """The model's side lists the tools and makes the calls; here they are told to the program."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._listed: dict[str, tuple[str, ...]] = {}
        self._available: dict[str, tuple[str, ...]] = {}
        self._started: dict[str, None] = {}
        self._ended: dict[str, None] = {}

    @property
    def available(self) -> dict[str, tuple[str, ...]]:
        """`{server_label: (tool name, …)}` of the current agent's servers, as far as they are listed."""
        return dict(self._available)

    def listed(self, item: Item) -> None:
        """A server's tools were fetched (`mcp_list_tools`)."""
        names = (tool.get("name") for tool in item.tools or ())
        self._listed[item.server_label or ""] = tuple(name for name in names if isinstance(name, str))
        self.agent_changed()

    def agent_changed(self) -> None:
        """Another agent may have other servers."""
        available = {}
        for server in self._core.agent.mcp:
            if server.server_label in self._listed:
                allowed = _allowed(server.definition.get("allowed_tools"))
                names = self._listed[server.server_label]
                available[server.server_label] = tuple(n for n in names if allowed is None or n in allowed)
        if available != self._available:
            self._available = available
            self._core.emit(McpToolsChanged(tools=dict(available)))

    def call_started(self, item_id: str) -> None:
        item = self._core.conversation.get(item_id)
        if item is None or item_id in self._started:
            return
        _remember(self._started, item_id)
        self._core.emit(
            AgentToolStart(
                agent=item.agent or self._core.agent.name,
                tool=item.name or "",
                call_id=item_id,
                arguments=item.arguments or "",
                server_label=item.server_label,
            )
        )

    def call_ended(self, item: Item) -> None:
        """The item is complete. The server does not make the model speak of it: that is asked for."""
        item_id = item.id or ""
        if item_id in self._ended or (item.output is None and item.error is None):
            return
        self.call_started(item_id)
        _remember(self._ended, item_id)
        known = self._core.conversation.get(item_id)
        failed = item.error is not None
        self._core.emit(
            AgentToolEnd(
                agent=(known.agent if known else None) or self._core.agent.name,
                tool=item.name or "",
                call_id=item_id,
                arguments=item.arguments or "",
                output=str((item.error or {}).get("message", item.error)) if failed else item.output or "",
                outcome="failed" if failed else "ok",
                server_label=item.server_label,
            )
        )
        server = next((s for s in self._core.agent.mcp if s.server_label == item.server_label), None)
        if server is None or server.speak_result:
            self._core.responses.want(items=(item_id,))
            self._core.responses.item_known(item_id)


def _allowed(filter_: Any) -> list[str] | None:
    if isinstance(filter_, dict):
        filter_ = filter_.get("tool_names")
    return filter_ if isinstance(filter_, list) else None


def _remember(known: dict[str, None], item_id: str) -> None:
    known[item_id] = None
    if len(known) > _REMEMBERED_MAX:
        known.pop(next(iter(known)))
