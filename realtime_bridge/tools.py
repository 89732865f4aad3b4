"""Tools: functions of the program that a model may call, and tools on hosted MCP servers that the model's side calls.

`@tool` makes a `Tool` of a function: its schema comes from the signature and the docstring, its arguments are checked by
pydantic before it runs. How a call is carried out lies in `invocation`; when, in the session core.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, overload

from pydantic import ValidationError

from realtime_bridge.context import RunContext, ToolContext
from realtime_bridge.errors import MisuseError
from realtime_bridge.guardrails import ToolInputGuardrail, ToolOutputGuardrail
from realtime_bridge.schema import describe, function_parameters, strict_schema

OnBargeIn: TypeAlias = Literal["finish", "cancel", "speak_later"]
NeedsApproval: TypeAlias = "bool | Callable[[ToolContext[Any], dict[str, Any]], bool | Awaitable[bool]]"
Enabled: TypeAlias = "bool | Callable[[RunContext[Any]], bool | Awaitable[bool]]"
ErrorFormatter: TypeAlias = "Callable[[ToolContext[Any], Exception], str | Awaitable[str]]"

# "letters, digits, underscores and dashes, at most 64" (openai/types/shared/function_definition.py)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class ToolError(Exception):
    """Raise it in a tool: the call failed, and the message is meant for the model."""


class ArgumentsError(Exception):
    """The model's arguments do not fit the tool; the message tells the model what to mend."""


@dataclass(frozen=True, slots=True)
class SilentResult:
    """Return it from a tool: record `value` as the result, but do not make the model speak about it now."""

    value: Any


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Tool:
    """A function the model may call. Made by `@tool`, or directly from a JSON schema and a handler.

    `call(context, arguments_json)` runs it; it raises ArgumentsError for arguments that do not fit. `parameters`: JSON
    schema of one object; `strict`: whether it is in strict form.
    `needs_approval`: True, or a predicate `(context, arguments)`; one that fails counts as True.
    `approval_by_caller`: one key of the phone, 0-9 or #, with which the caller may approve a waiting call; * refuses it.
    `filler` should say so. None: only operators decide. On other lines than the phone's, the program sees to it.
    `timeout_s`: after it the call is given up and answered as failed. A synchronous function runs in a thread, which
    cannot be stopped: it runs on, unheard.
    `on_error`: what the model is told when the function raises (default: a sentence without details). "raise": the
    session ends, and the exception comes out of its `async for`.
    `on_barge_in`: what becomes of a running call when the caller cuts the agent short. "finish": it runs on and its
    result is recorded, to be spoken of when the model next replies; "speak_later": the model speaks of it as soon as
    the line is idle; "cancel": it is cancelled.
    `filler`: said to the caller when the call takes longer than `filler_after_s`.
    `background`: record the result and do not speak of it.
    `is_enabled`: False hides the tool from the model; a predicate is asked whenever its agent takes over.
    """

    name: str
    description: str = ""
    parameters: dict[str, Any]
    call: Callable[[ToolContext[Any], str], Awaitable[Any]]
    check: Callable[[str], dict[str, Any]] | None = None
    function: Callable[..., Any] | None = None
    strict: bool = True
    needs_approval: NeedsApproval = False
    approval_by_caller: str | None = None
    timeout_s: float = 60.0
    on_error: ErrorFormatter | Literal["raise"] | None = None
    on_barge_in: OnBargeIn = "finish"
    filler: str | None = None
    filler_after_s: float = 0.8
    background: bool = False
    is_enabled: Enabled = True
    input_guardrails: Sequence[ToolInputGuardrail] = ()
    output_guardrails: Sequence[ToolOutputGuardrail] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise MisuseError(f"tool name {self.name!r}: letters, digits, _ and - only, at most 64 of them")
        if self.timeout_s <= 0:
            raise MisuseError(f"tool {self.name}: timeout_s must be positive")
        if self.approval_by_caller is not None and not re.fullmatch("[0-9#]", self.approval_by_caller):
            raise MisuseError(f"tool {self.name}: approval_by_caller is one key, 0 to 9 or # (* refuses)")
        if self.approval_by_caller is not None and self.needs_approval is False:
            raise MisuseError(f"tool {self.name}: approval_by_caller has no meaning without needs_approval")
        if self.on_barge_in not in ("finish", "cancel", "speak_later"):
            raise MisuseError(f"tool {self.name}: on_barge_in is 'finish', 'cancel' or 'speak_later'")
        if self.strict:
            strict_schema(self.parameters, owner=f"tool {self.name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the decorated function itself, as if it were not a tool."""
        if self.function is None:
            raise MisuseError(f"tool {self.name} was not made from a function; use call(context, arguments_json)")
        return self.function(*args, **kwargs)

    def parse(self, arguments_json: str) -> dict[str, Any]:
        """The arguments as JSON values. Raises ArgumentsError, with a message for the model, when they do not fit."""
        if self.check is not None:
            return self.check(arguments_json)
        return parse_object(arguments_json)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class HostedMcpTool:
    """Tools of an MCP server that the model's side calls itself (`RealtimeToolsConfig`, type "mcp").

    Give `server_url` or `connector_id`. `require_approval`: "always", "never", or the API's filter object; a call that
    needs approval arrives as `tool_approval_requested` with kind "mcp". `allowed_tools`: None allows all.
    `speak_result`: make the model speak when a call has ended.
    """

    server_label: str
    server_url: str | None = None
    connector_id: str | None = None
    server_description: str | None = None
    authorization: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] | None = field(default=None, repr=False)
    allowed_tools: Sequence[str] | Mapping[str, Any] | None = None
    require_approval: Literal["always", "never"] | Mapping[str, Any] = "always"
    speak_result: bool = True

    def __post_init__(self) -> None:
        if (self.server_url is None) == (self.connector_id is None):
            raise MisuseError(f"MCP server {self.server_label}: give server_url or connector_id, one of them")

    def definition(self) -> dict[str, Any]:
        """As it stands in `session.tools`."""
        allowed = list(self.allowed_tools) if isinstance(self.allowed_tools, Sequence) else self.allowed_tools
        fields = {
            "type": "mcp",
            "server_label": self.server_label,
            "server_url": self.server_url,
            "connector_id": self.connector_id,
            "server_description": self.server_description,
            "authorization": self.authorization,
            "headers": dict(self.headers) if self.headers else None,
            "allowed_tools": allowed,
            "require_approval": self.require_approval,
        }
        return {key: value for key, value in fields.items() if value is not None}


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool = True,
    needs_approval: NeedsApproval = False,
    approval_by_caller: str | None = None,
    timeout_s: float = 60.0,
    on_error: ErrorFormatter | Literal["raise"] | None = None,
    on_barge_in: OnBargeIn = "finish",
    filler: str | None = None,
    filler_after_s: float = 0.8,
    background: bool = False,
    is_enabled: Enabled = True,
    input_guardrails: Sequence[ToolInputGuardrail] = (),
    output_guardrails: Sequence[ToolOutputGuardrail] = (),
) -> Callable[[Callable[..., Any]], Tool]: ...
def tool(
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    strict: bool = True,
    **settings: Any,
) -> Tool | Callable[[Callable[..., Any]], Tool]:
    """Make a function a tool. The settings are those of `Tool`.

    The function may be synchronous or asynchronous. A first parameter annotated `ToolContext` (or `RunContext`) gets
    the context; all others become the tool's parameters, described by the docstring (Google, NumPy or reST),
    `Annotated[…, "description"]` or `Field(description=…)`. A string result goes to the model as it is, anything else
    as JSON.

    Raises MisuseError when the signature makes no schema.
    """

    def wrap(decorated: Callable[..., Any]) -> Tool:
        return _from_function(decorated, name, description, strict, settings)

    return wrap(function) if function is not None else wrap


def _from_function(
    function: Callable[..., Any], name: str | None, description: str | None, strict: bool, settings: Mapping[str, Any]
) -> Tool:
    summary, described = describe(function)
    parameters = function_parameters(function, context_types=(RunContext,), descriptions=described, strict=strict)
    asynchronous = inspect.iscoroutinefunction(function) or (
        not inspect.isroutine(function) and inspect.iscoroutinefunction(type(function).__call__)
    )

    async def call(context: ToolContext[Any], arguments_json: str) -> Any:
        try:
            positional, named = parameters.bind(arguments_json)
        except ValidationError as e:
            raise ArgumentsError(_mendable(e)) from e
        first = (context,) if parameters.takes_context else ()
        if asynchronous:
            return await function(*first, *positional, **named)
        return await asyncio.to_thread(function, *first, *positional, **named)

    def check(arguments_json: str) -> dict[str, Any]:
        try:
            parameters.bind(arguments_json)
        except ValidationError as e:
            raise ArgumentsError(_mendable(e)) from e
        return parse_object(arguments_json)

    return Tool(
        name=name or str(getattr(function, "__name__", type(function).__name__)),
        description=summary if description is None else description,
        parameters=parameters.schema,
        call=call,
        check=check,
        function=function,
        strict=strict,
        **settings,
    )


def parse_object(arguments_json: str) -> dict[str, Any]:
    """A call's arguments as a JSON object; the empty string is an empty object (models send it for no arguments).

    Raises ArgumentsError.
    """
    try:
        value = json.loads(arguments_json or "{}")
    except ValueError as e:
        raise ArgumentsError(f"The arguments are not valid JSON: {e}") from e
    except RecursionError as e:
        raise ArgumentsError("The arguments are nested too deeply.") from e
    if not isinstance(value, dict):
        raise ArgumentsError("The arguments must be one JSON object.")
    return value


def _mendable(error: ValidationError) -> str:
    """What is wrong with which argument, without pydantic's links; short, for it is read by a model."""
    problems = [
        f"{'.'.join(str(step) for step in problem['loc']) or 'arguments'}: {problem['msg']}"
        for problem in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    return "The arguments do not fit. " + "; ".join(problems[:10])
