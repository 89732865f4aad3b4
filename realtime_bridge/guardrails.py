"""Checks on what an agent says and on what its tools are given and give back.

An output guardrail sees the reply's words while they grow and once they are whole. A tool guardrail sees one call's
arguments, or its result. All may be synchronous or asynchronous; what they raise is reported with their name.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, overload

from realtime_bridge.context import RunContext, ToolContext
from realtime_bridge.errors import BridgeError, MisuseError


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailResult:
    """`feedback` is told to the model when the guardrail trips; None takes a standard sentence with its name."""

    tripped: bool
    info: Any = None
    feedback: str | None = None


OutputCheck: TypeAlias = Callable[[RunContext[Any], str], "GuardrailResult | bool | Awaitable[GuardrailResult | bool]"]


@dataclass(frozen=True, slots=True, eq=False)
class OutputGuardrail:
    """A named check of an agent's words; `check(context, text)` returns a GuardrailResult, or True when it trips."""

    name: str
    check: OutputCheck

    async def run(self, context: RunContext[Any], text: str) -> GuardrailResult:
        result = self.check(context, text)
        if inspect.isawaitable(result):
            result = await result
        if isinstance(result, GuardrailResult):
            return result
        if isinstance(result, bool):
            return GuardrailResult(tripped=result)
        raise MisuseError(f"guardrail {self.name} must return a bool or a GuardrailResult, not {type(result).__name__}")


@overload
def output_guardrail(check: OutputCheck, /) -> OutputGuardrail: ...
@overload
def output_guardrail(*, name: str | None = None) -> Callable[[OutputCheck], OutputGuardrail]: ...
def output_guardrail(
    check: OutputCheck | None = None, /, *, name: str | None = None
) -> OutputGuardrail | Callable[[OutputCheck], OutputGuardrail]:
    """Make a function `(context, text) -> bool | GuardrailResult` an output guardrail, named like the function."""

    def wrap(function: OutputCheck) -> OutputGuardrail:
        return OutputGuardrail(name or str(getattr(function, "__name__", type(function).__name__)), function)

    return wrap(check) if check is not None else wrap


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailSettings:
    """How output guardrails run in a session.

    `every_chars`: on the growing words whenever they have grown by so many characters; 0 checks whole replies only.
    `holdback_ms`: the reply's audio is kept back up to so long, until its words have passed (0: not at all).
    `timeout_s`: a check that takes longer counts as failed. `on_failure`: what a failed check means.
    """

    every_chars: int = 100
    holdback_ms: int = 0
    timeout_s: float = 5.0
    on_failure: Literal["pass", "trip"] = "pass"

    def __post_init__(self) -> None:
        if self.every_chars < 0 or self.holdback_ms < 0 or self.timeout_s <= 0:
            raise MisuseError("GuardrailSettings: every_chars and holdback_ms must not be negative, timeout_s positive")


@dataclass(frozen=True, slots=True)
class Reject:
    """What a tool guardrail returns to refuse: the model gets `message` instead of the call's result."""

    message: str


class GuardrailTrippedError(BridgeError):
    """Raise it in a tool guardrail to end the session: it comes out of the session's `async for`."""


InputCheck: TypeAlias = Callable[[ToolContext[Any]], "Reject | Awaitable[Reject | None] | None"]
ResultCheck: TypeAlias = Callable[[ToolContext[Any], Any], "Reject | Awaitable[Reject | None] | None"]


@dataclass(frozen=True, slots=True, eq=False)
class ToolInputGuardrail:
    """`check(context)` before the tool runs; `context.arguments` holds what it would be given."""

    name: str
    check: InputCheck


@dataclass(frozen=True, slots=True, eq=False)
class ToolOutputGuardrail:
    """`check(context, result)` after the tool ran, before anybody sees the result."""

    name: str
    check: ResultCheck


def tool_input_guardrail(check: InputCheck) -> ToolInputGuardrail:
    """Make `(context) -> Reject | None` a guardrail for tools' arguments."""
    return ToolInputGuardrail(getattr(check, "__name__", type(check).__name__), check)


def tool_output_guardrail(check: ResultCheck) -> ToolOutputGuardrail:
    """Make `(context, result) -> Reject | None` a guardrail for tools' results."""
    return ToolOutputGuardrail(getattr(check, "__name__", type(check).__name__), check)
