"""Who is who in a session: the core knows agents, tools and hand-offs by name, the program as objects.

Names are given once: a second agent of the same name (a clone, say) becomes `Name#2`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from realtime_bridge.agent import Agent, Handoff, ModelSettings, check_names, plain_handoff, reachable, resolve
from realtime_bridge.context import RunContext
from realtime_bridge.errors import MisuseError
from realtime_bridge.guardrails import OutputGuardrail
from realtime_bridge.session.config import merge
from realtime_bridge.session.specs import AgentSpec, HandoffSpec, McpSpec, ToolSpec
from realtime_bridge.tools import HostedMcpTool, Tool

INSTRUCTIONS_S_MAX = 10.0  # for an instructions function, or a predicate, that asks somebody


class Roster:
    """All agents a session has met."""

    def __init__(self, guardrails: Iterable[OutputGuardrail]) -> None:
        self._guardrails = tuple(guardrails)
        self._agents: dict[str, Agent] = {}
        self._tools: dict[tuple[str, str], Tool] = {}
        self._handoffs: dict[tuple[str, str], Handoff] = {}

    def check(self, agent: Agent) -> None:
        """Refuse what could only go wrong in the middle of a call: duplicate names, here or behind any hand-off."""
        for other in reachable(agent):
            handoffs = [h if isinstance(h, Handoff) else plain_handoff(h) for h in other.handoffs]
            check_names(other.tools, handoffs, owner=other.name)

    def name_of(self, agent: Agent) -> str:
        for name, known in self._agents.items():
            if known is agent:
                return name
        name, number = agent.name, 1
        while name in self._agents:
            number += 1
            name = f"{agent.name}#{number}"
        self._agents[name] = agent
        return name

    def agent(self, name: str) -> Agent:
        return self._agents[name]

    def tool(self, agent: str, name: str) -> Tool:
        return self._tools[agent, name]

    def handoff(self, agent: str, name: str) -> Handoff:
        return self._handoffs[agent, name]

    def guardrails_of(self, agent: str) -> list[OutputGuardrail]:
        """The agent's and the session's, each once."""
        guardrails: list[OutputGuardrail] = []
        for guardrail in (*self._agents[agent].output_guardrails, *self._guardrails):
            if not any(guardrail is other for other in guardrails):
                guardrails.append(guardrail)
        return guardrails

    async def spec(self, agent: Agent, context: RunContext[Any]) -> AgentSpec:
        """The agent as it takes over now. Raises what its functions raise, TimeoutError, or MisuseError."""
        name = self.name_of(agent)
        async with asyncio.timeout(INSTRUCTIONS_S_MAX):
            instructions = await agent.system_prompt(context)
            tools = await agent.enabled_tools(context)
            handoffs = await agent.enabled_handoffs(context)
            prompt = await resolve(agent.prompt, context, agent)
        check_names(tools, handoffs, owner=agent.name)
        functions = [tool for tool in tools if isinstance(tool, Tool)]
        self._tools.update({(name, tool.name): tool for tool in functions})
        self._handoffs.update({(name, handoff.name): handoff for handoff in handoffs})
        return AgentSpec(
            name=name,
            instructions=instructions,
            tools=tuple(_tool_spec(tool) for tool in functions),
            handoffs=tuple(
                HandoffSpec(name=h.name, description=h.description, parameters=h.parameters) for h in handoffs
            ),
            mcp=tuple(
                McpSpec(server_label=t.server_label, definition=t.definition(), speak_result=t.speak_result)
                for t in tools
                if isinstance(t, HostedMcpTool)
            ),
            voice=dict(agent.voice) if agent.voice is not None and not isinstance(agent.voice, str) else agent.voice,
            prompt=None if prompt is None else dict(prompt),
            settings=_session_fields(agent.model_settings),
            guarded=bool(self.guardrails_of(name)),
        )


def _tool_spec(tool: Tool) -> ToolSpec:
    return ToolSpec(
        name=tool.name,
        description=tool.description,
        parameters=tool.parameters,
        checked=tool.needs_approval is not False,
        approval_by_caller=tool.approval_by_caller,
        on_barge_in=tool.on_barge_in,
        filler=tool.filler,
        filler_after_s=tool.filler_after_s,
        background=tool.background,
    )


def _session_fields(settings: ModelSettings) -> dict[str, Any]:
    """The fields of a `session.update` that an agent's settings stand for."""
    if settings.speed is not None and not 0.25 <= settings.speed <= 1.5:
        raise MisuseError("ModelSettings: speed must be between 0.25 and 1.5")
    named = {
        "tool_choice": settings.tool_choice,
        "parallel_tool_calls": settings.parallel_tool_calls,
        "max_output_tokens": settings.max_output_tokens,
        "reasoning": settings.reasoning,
        "truncation": settings.truncation,
    }
    fields: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
    if settings.speed is not None:
        fields["audio"] = {"output": {"speed": settings.speed}}
    return merge(fields, settings.realtime)
