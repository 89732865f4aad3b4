"""Hand-offs: passing the caller from one agent to another, as a tool call of the model."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from realtime_bridge.agent import Agent, Handoff, HistoryFilter, plain_handoff
from realtime_bridge.context import ToolContext
from realtime_bridge.errors import MisuseError
from realtime_bridge.schema import type_parameters
from realtime_bridge.tools import ArgumentsError, Enabled

__all__ = ["Handoff", "handoff"]


def handoff(
    agent: Agent,
    *,
    name: str | None = None,
    description: str | None = None,
    on_handoff: Callable[..., Any] | None = None,
    input_type: Any = None,
    filter: HistoryFilter | None = None,  # noqa: A002 -- the name users know from OpenAI's SDKs
    is_enabled: Enabled = True,
    message: str | None = None,
) -> Handoff:
    """A hand-off to `agent`, with more said about it than the agent alone says.

    `on_handoff(context)`, or `on_handoff(context, input)` with an `input_type`, runs before the transfer (async or not);
    when it raises, there is no transfer and the model is told so. `input_type`: what the model must hand over: a
    pydantic model, a dataclass, a TypedDict. `filter(history)` gives the history that the next agent shall see.
    `message`: what the model is told instead of the standard transfer message.

    Raises MisuseError when `on_handoff` and `input_type` do not go together.
    """
    _check(agent, on_handoff, input_type)
    plain = plain_handoff(agent)
    adapter, parameters = None, plain.parameters
    if input_type is not None:
        adapter, parameters = type_parameters(input_type, owner=f"hand-off to {agent.name}")

    async def accept(context: ToolContext[Any], arguments_json: str) -> None:
        arguments: tuple[Any, ...] = (context,)
        if adapter is not None:
            try:
                arguments = (context, adapter.validate_json(arguments_json or "{}"))
            except ValidationError as e:
                raise ArgumentsError(f"The hand-off's input does not fit: {e.errors(include_url=False)}") from e
        if on_handoff is not None:
            result = on_handoff(*arguments)
            if inspect.isawaitable(result):
                await result

    return Handoff(
        agent=agent,
        name=name or plain.name,
        description=plain.description if description is None else description,
        parameters=parameters,
        accept=accept,
        filter=filter,
        is_enabled=is_enabled,
        message=message,
    )


def _check(agent: Agent, on_handoff: Callable[..., Any] | None, input_type: Any) -> None:
    if on_handoff is None:
        if input_type is not None:
            raise MisuseError(f"hand-off to {agent.name}: an input_type needs an on_handoff that takes it")
        return
    wanted = 1 if input_type is None else 2
    if len(inspect.signature(on_handoff).parameters) != wanted:
        takes = "(context)" if wanted == 1 else "(context, input)"
        raise MisuseError(f"hand-off to {agent.name}: on_handoff must take {takes}")
