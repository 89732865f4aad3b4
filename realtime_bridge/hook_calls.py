"""Agents' hooks: called one after the other, in the order things happened, beside the conversation."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from realtime_bridge.context import RunContext, ToolContext
from realtime_bridge.roster import Roster
from realtime_bridge.session import events
from realtime_bridge.session.events import SessionEvent
from realtime_bridge.tools import ArgumentsError, parse_object

log = logging.getLogger(__name__)

HOOK_S_MAX = 10.0
WAITING_MAX = 1000
STOP_S_MAX = 2.0

# Most events call no hook: those are sorted out at once.
_CALLING = {events.AgentStart, events.AgentEnd, events.AgentHandoff, events.AgentToolStart, events.AgentToolEnd}

_Call: TypeAlias = tuple[str, Callable[[], Awaitable[None]]]


class HookCalls:
    """`failed(name, exception)` is told what hooks raise."""

    def __init__(
        self, roster: Roster, run_context: Callable[[str], RunContext[Any]], failed: Callable[[str, Exception], None]
    ) -> None:
        self._roster = roster
        self._run_context = run_context
        self._failed = failed
        self._waiting: deque[_Call] = deque()
        self._worker: asyncio.Task[None] | None = None

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        return set() if self._worker is None else {self._worker}

    def happened(self, event: SessionEvent) -> None:
        """Put the hooks that an event calls in line."""
        if type(event) not in _CALLING:
            return
        match event:
            case events.AgentStart():
                self._add(event.agent, lambda h, a: h.on_start(self._run_context(event.agent), a))
            case events.AgentEnd():
                self._add(event.agent, lambda h, a: h.on_end(self._run_context(event.agent), a, event.output))
            case events.AgentHandoff():
                source, target = self._roster.agent(event.from_agent), self._roster.agent(event.to_agent)
                self._add(event.from_agent, lambda h, a: h.on_leave(self._run_context(event.from_agent), a, target))
                self._add(event.to_agent, lambda h, a: h.on_handoff(self._run_context(event.to_agent), a, source))
            case events.AgentToolStart(server_label=None):
                tool = self._roster.tool(event.agent, event.tool)
                self._add(event.agent, lambda h, a: h.on_tool_start(self._tool_context(event), a, tool))
            case events.AgentToolEnd(server_label=None, outcome="ok" | "failed" | "timeout"):
                tool = self._roster.tool(event.agent, event.tool)
                self._add(event.agent, lambda h, a: h.on_tool_end(self._tool_context(event), a, tool, event.output))
            case _:
                pass

    async def stop(self) -> None:
        """Let those in line have their turn, for a short while."""
        if self._worker is not None and self._worker is not asyncio.current_task():
            await asyncio.wait([self._worker], timeout=STOP_S_MAX)

    def _add(self, name: str, call: Callable[[Any, Any], Awaitable[None]]) -> None:
        agent = self._roster.agent(name)
        hooks = agent.hooks
        if hooks is None:
            return
        if len(self._waiting) >= WAITING_MAX:
            log.error("the hooks of %s are too slow; one was left out", name)
            return
        self._waiting.append((f"a hook of {name}", lambda: call(hooks, agent)))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name="agent hooks")

    async def _work(self) -> None:
        while self._waiting:
            name, call = self._waiting.popleft()
            try:
                async with asyncio.timeout(HOOK_S_MAX):
                    await call()
            except Exception as e:  # noqa: BLE001 -- user code may raise anything; it is reported, not swallowed
                self._failed(name, e)

    def _tool_context(self, event: events.AgentToolStart | events.AgentToolEnd) -> ToolContext[Any]:
        try:
            arguments = parse_object(event.arguments)
        except ArgumentsError:
            arguments = {}
        base = self._run_context(event.agent)
        return ToolContext.of(base, tool_name=event.tool, call_id=event.call_id, arguments=arguments)
