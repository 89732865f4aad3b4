"""What user code is told about the conversation it runs in: instructions, predicates, guardrails, hooks and tools.

A context is a snapshot: it does not change under the code that holds it. The program's own object, passed as
`RealtimeSession(context=…)`, is shared and may change as the program likes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, Protocol

from typing_extensions import TypeVar

from realtime_bridge.session.items import HistoryItem
from realtime_bridge.session.usage import Tokens

C = TypeVar("C", default=Any)


class LiveSession(Protocol):
    """What a tool may do to the conversation it was called in."""

    async def send_message(self, message: str, *, respond: bool = True) -> None: ...

    async def interrupt(self) -> None: ...

    async def close(self, reason: str = ...) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class RunContext(Generic[C]):
    """`context`: the program's own object. `history`: the conversation as heard so far. `session`: None in text runs."""

    context: C = None  # type: ignore[assignment]  # a program that passes none has none
    agent: str = ""
    history: tuple[HistoryItem, ...] = ()
    usage: Tokens = field(default_factory=Tokens)
    session: LiveSession | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext(RunContext[C]):
    """A tool's first parameter, when it is annotated with this type.

    `arguments`: what the model passed, as JSON values, before they became the function's parameters.
    """

    tool_name: str = ""
    call_id: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, base: RunContext[C], *, tool_name: str, call_id: str, arguments: dict[str, Any]) -> ToolContext[C]:
        """The context of one call, in the conversation `base` describes."""
        return cls(
            context=base.context,
            agent=base.agent,
            history=base.history,
            usage=base.usage,
            session=base.session,
            tool_name=tool_name,
            call_id=call_id,
            arguments=arguments,
        )
