"""Agents: who speaks, with what instructions and tools, and to whom it may pass the caller on.

One declaration serves voice (`RealtimeSession`) and text (`Runner`); each takes the settings it knows.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from realtime_bridge.context import RunContext, ToolContext
from realtime_bridge.errors import MisuseError
from realtime_bridge.guardrails import OutputGuardrail
from realtime_bridge.session.items import HistoryItem
from realtime_bridge.tools import Enabled, HostedMcpTool, Tool

Instructions: TypeAlias = "str | Callable[..., str | Awaitable[str]]"
HistoryFilter: TypeAlias = Callable[[tuple[HistoryItem, ...]], "tuple[HistoryItem, ...] | list[HistoryItem]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """How the model is to be asked; None leaves the model's default.

    `speed`, 0.25 to 1.5, is for voice, `temperature` and `top_p` for text. `realtime` and `responses` are added to the
    `session.update` and to the Responses API's request as they are, for fields this project does not name.
    """

    tool_choice: str | Mapping[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | Literal["inf"] | None = None
    reasoning: Mapping[str, Any] | None = None
    truncation: str | Mapping[str, Any] | None = None
    speed: float | None = None
    temperature: float | None = None
    top_p: float | None = None
    realtime: Mapping[str, Any] = field(default_factory=dict)
    responses: Mapping[str, Any] = field(default_factory=dict)


class AgentHooks:
    """Called as things happen to an agent; override what you need. What a hook raises is reported and goes no further."""

    async def on_start(self, context: RunContext[Any], agent: Agent) -> None:
        """The agent begins a response."""

    async def on_end(self, context: RunContext[Any], agent: Agent, output: str) -> None:
        """The response is complete; `output` is its text."""

    async def on_handoff(self, context: RunContext[Any], agent: Agent, source: Agent) -> None:
        """The agent takes over from `source`."""

    async def on_leave(self, context: RunContext[Any], agent: Agent, target: Agent) -> None:
        """The agent has handed over to `target`."""

    async def on_tool_start(self, context: ToolContext[Any], agent: Agent, tool: Tool) -> None:
        """A tool of the agent is about to run."""

    async def on_tool_end(self, context: ToolContext[Any], agent: Agent, tool: Tool, output: str) -> None:
        """A tool of the agent has been answered with `output`."""


@dataclass(slots=True, eq=False)
class Agent:
    """Who speaks. Agents are told apart by identity; their lists may be filled later, so two may refer to each other.

    `instructions`: text, or a (async) function of the context (`RunContext`), or of the context and the agent.
    `voice`: cannot change once audio was heard; a later agent's differing voice is ignored, with a warning.
    `output_type`: text only: a type the final answer must have.
    `prompt`: a reference to a stored prompt (`{"id": …, "version": …, "variables": …}`), or a (async) function that
    gives one. `handoff_description`: for other agents: when to pass a caller to this one.
    """

    name: str
    instructions: Instructions | None = None
    tools: list[Tool | HostedMcpTool] = field(default_factory=list)
    handoffs: list[Agent | Handoff] = field(default_factory=list)
    output_guardrails: list[OutputGuardrail] = field(default_factory=list)
    voice: str | Mapping[str, str] | None = None
    model_settings: ModelSettings = field(default_factory=ModelSettings)
    output_type: Any = None
    hooks: AgentHooks | None = None
    prompt: Mapping[str, Any] | Callable[..., Any] | None = None
    handoff_description: str = ""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise MisuseError("Agent: name must be a non-empty string")
        self.tools, self.handoffs = list(self.tools), list(self.handoffs)
        self.output_guardrails = list(self.output_guardrails)
        _check_members(self)

    def clone(self, **changes: Any) -> Agent:
        """A copy with these fields changed. Its lists are its own, their entries are shared."""
        return replace(self, **changes)

    async def system_prompt(self, context: RunContext[Any]) -> str:
        """The instructions in this context; "" when there are none."""
        prompt = await resolve(self.instructions, context, self)
        if prompt is None:
            return ""
        if not isinstance(prompt, str):
            raise MisuseError(f"Agent {self.name}: instructions gave {type(prompt).__name__}, not a string")
        return prompt

    async def enabled_tools(self, context: RunContext[Any]) -> list[Tool | HostedMcpTool]:
        """The tools the model is to see in this context."""
        return [t for t in self.tools if isinstance(t, HostedMcpTool) or await is_enabled(t.is_enabled, context)]

    async def enabled_handoffs(self, context: RunContext[Any]) -> list[Handoff]:
        """The hand-offs the model is to see in this context; plain agents become hand-offs here."""
        handoffs = [h if isinstance(h, Handoff) else plain_handoff(h) for h in self.handoffs]
        return [h for h in handoffs if await is_enabled(h.is_enabled, context)]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Handoff:
    """A way to pass the caller to another agent, offered to the model as a tool. Made by `handoff()`.

    `accept(context, arguments_json)` checks the input and calls the program's `on_handoff`; it raises ArgumentsError
    for input that does not fit. `filter`: what of the history the next agent gets to see. `message`: what the model is
    told when the transfer is made.
    """

    agent: Agent
    name: str
    description: str
    parameters: dict[str, Any]
    accept: Callable[[ToolContext[Any], str], Awaitable[None]]
    filter: HistoryFilter | None = None
    is_enabled: Enabled = True
    message: str | None = None

    def transfer_message(self) -> str:
        return self.message if self.message is not None else f'{{"assistant": {_quoted(self.agent.name)}}}'


def plain_handoff(agent: Agent) -> Handoff:
    """The hand-off that an agent in `Agent.handoffs` stands for."""

    async def accept(context: ToolContext[Any], arguments_json: str) -> None:
        pass

    return Handoff(
        agent=agent,
        name=handoff_name(agent),
        description=handoff_description(agent),
        parameters={"type": "object", "properties": {}, "required": [], "additionalProperties": False},
        accept=accept,
    )


def handoff_name(agent: Agent) -> str:
    """The tool name of a transfer to `agent`, unless it is renamed: `transfer_to_front_desk`."""
    letters = "".join(c if c.isascii() and c.isalnum() else "_" for c in agent.name.strip().lower())
    return f"transfer_to_{letters}"[:64]


def handoff_description(agent: Agent) -> str:
    """The tool description of a transfer to `agent`, unless another is given."""
    return f"Pass the conversation on to {agent.name}. {agent.handoff_description}".strip()


def reachable(agent: Agent) -> list[Agent]:
    """`agent` and everyone it can lead to by hand-offs, each once, in a fixed order."""
    found = [agent]
    for known in found:  # grows while it is walked
        for target in known.handoffs:
            other = target.agent if isinstance(target, Handoff) else target
            if not any(other is seen for seen in found):
                found.append(other)
    return found


def check_names(tools: Iterable[Tool | HostedMcpTool], handoffs: Iterable[Handoff], *, owner: str) -> None:
    """Refuse two tools, hand-offs or MCP servers of one name: the model could not tell them apart.

    Raises MisuseError that names each.
    """
    names = Counter(t.name if isinstance(t, Tool) else f"MCP server {t.server_label}" for t in tools)
    names.update(h.name for h in handoffs)
    if twice := sorted(name for name, count in names.items() if count > 1):
        raise MisuseError(f"agent {owner}: more than one tool or hand-off is called {', '.join(twice)}; rename one")


async def is_enabled(enabled: Enabled, context: RunContext[Any]) -> bool:
    if isinstance(enabled, bool):
        return enabled
    verdict = enabled(context)
    return bool(await verdict if inspect.isawaitable(verdict) else verdict)


async def resolve(value: Any, context: RunContext[Any], agent: Agent) -> Any:
    """A value, or what a (async) function of `(context)` or `(context, agent)` gives."""
    if not callable(value):
        return value
    takes_agent = len(inspect.signature(value).parameters) > 1
    result = value(context, agent) if takes_agent else value(context)
    return await result if inspect.isawaitable(result) else result


def _check_members(agent: Agent) -> None:
    for kind, members, allowed in (
        ("tools", agent.tools, (Tool, HostedMcpTool)),
        ("handoffs", agent.handoffs, (Agent, Handoff)),
        ("output_guardrails", agent.output_guardrails, (OutputGuardrail,)),
    ):
        for member in members:
            if not isinstance(member, allowed):
                hint = "; decorate the function with @tool" if kind == "tools" and callable(member) else ""
                raise MisuseError(f"Agent {agent.name}: {kind} holds {member!r}{hint}")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
