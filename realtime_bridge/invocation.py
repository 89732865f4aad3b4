"""How a tool call is carried out: checked, guarded, timed, and its result made text. Shared by voice and text.

User code runs here and nowhere else; whatever it raises becomes an `Outcome`, never an exception in the session.
"""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from pydantic_core import to_json

from realtime_bridge.context import ToolContext
from realtime_bridge.guardrails import GuardrailTrippedError, Reject
from realtime_bridge.tools import ArgumentsError, SilentResult, Tool, ToolError

FAILED = "The tool failed with an internal error, and it is not known whether anything was done."
REFUSED = "A safety check refused this call."
OUTPUT_CHARS_MAX = 100_000  # a result is read by a model, and sent over the session's socket

Kind: TypeAlias = Literal["ok", "invalid_arguments", "rejected", "failed", "timeout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`output`: what the model is told. `silent`: do not speak of it now. `error`: what user code raised, if it did.

    `fatal`: the program wants the session to end with `error`.
    """

    kind: Kind
    output: str
    silent: bool = False
    error: BaseException | None = None
    fatal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """`refusal` is set when the call must not run; otherwise `needs_approval` tells whether somebody must be asked."""

    needs_approval: bool = False
    refusal: Outcome | None = None
    error: BaseException | None = None


async def check_call(tool: Tool, context: ToolContext[Any], arguments_json: str, *, guardrails: bool) -> Checked:
    """Whether a call may run, before it does. Fails closed: a predicate that raises, or takes longer than the tool may,
    means that approval is needed. `guardrails`: run the tool's input guardrails too, should approval be needed.
    """
    try:
        arguments = tool.parse(arguments_json)
    except ArgumentsError as e:
        return Checked(refusal=Outcome(kind="invalid_arguments", output=str(e)))
    needs_approval, error = await _needs_approval(tool, context, arguments)
    if not (needs_approval and guardrails):
        return Checked(needs_approval=needs_approval, error=error)
    return Checked(needs_approval=True, error=error, refusal=await _input_guardrails(tool, context))


async def run_call(tool: Tool, context: ToolContext[Any], arguments_json: str) -> Outcome:
    """Run a call that may run: input guardrails, the function within its time, output guardrails, result as text."""
    try:
        tool.parse(arguments_json)
    except ArgumentsError as e:
        return Outcome(kind="invalid_arguments", output=str(e))
    if (refusal := await _input_guardrails(tool, context)) is not None:
        return refusal
    try:
        async with asyncio.timeout(tool.timeout_s) as limit:
            value = await tool.call(context, arguments_json)
    except ArgumentsError as e:
        return Outcome(kind="invalid_arguments", output=str(e))
    except ToolError as e:
        return Outcome(kind="failed", output=str(e))
    except TimeoutError as e:
        if limit.expired():
            return Outcome(
                kind="timeout", output=f"The tool did not answer within {tool.timeout_s:g} seconds.", error=e
            )
        return await _failed(tool, context, e)
    except Exception as e:  # noqa: BLE001 -- user code may raise anything; it is reported, not swallowed
        return await _failed(tool, context, e)
    return await _result(tool, context, value)


async def _needs_approval(
    tool: Tool, context: ToolContext[Any], arguments: dict[str, Any]
) -> tuple[bool, BaseException | None]:
    if isinstance(tool.needs_approval, bool):
        return tool.needs_approval, None
    try:
        async with asyncio.timeout(tool.timeout_s):
            verdict = tool.needs_approval(context, arguments)
            if inspect.isawaitable(verdict):
                verdict = await verdict
    except Exception as e:  # noqa: BLE001 -- fails closed, and the error is reported
        return True, e
    # Anything but a plain False asks somebody: None from a forgotten `return` must not let a call through.
    return verdict is not False, None


async def _input_guardrails(tool: Tool, context: ToolContext[Any]) -> Outcome | None:
    for guardrail in tool.input_guardrails:
        try:
            async with asyncio.timeout(tool.timeout_s):
                verdict = guardrail.check(context)
                if inspect.isawaitable(verdict):
                    verdict = await verdict
        except Exception as e:  # noqa: BLE001 -- fails closed, and the error is reported
            return Outcome(kind="rejected", output=REFUSED, error=e, fatal=isinstance(e, GuardrailTrippedError))
        if isinstance(verdict, Reject):
            return Outcome(kind="rejected", output=verdict.message)
    return None


async def _result(tool: Tool, context: ToolContext[Any], value: Any) -> Outcome:
    silent = isinstance(value, SilentResult)
    plain = value.value if isinstance(value, SilentResult) else value
    for guardrail in tool.output_guardrails:
        try:
            async with asyncio.timeout(tool.timeout_s):
                verdict = guardrail.check(context, plain)
                if inspect.isawaitable(verdict):
                    verdict = await verdict
        except Exception as e:  # noqa: BLE001 -- fails closed, and the error is reported
            return Outcome(kind="rejected", output=REFUSED, error=e, fatal=isinstance(e, GuardrailTrippedError))
        if isinstance(verdict, Reject):
            return Outcome(kind="rejected", output=verdict.message)
    try:
        output = as_text(plain)
    except Exception as e:  # noqa: BLE001 -- a result's own serializers are user code
        return await _failed(tool, context, e)
    if len(output) > OUTPUT_CHARS_MAX:
        return Outcome(kind="failed", output=f"The result is longer than {OUTPUT_CHARS_MAX} characters.")
    return Outcome(kind="ok", output=output, silent=silent)


async def _failed(tool: Tool, context: ToolContext[Any], error: Exception) -> Outcome:
    if tool.on_error == "raise":
        return Outcome(kind="failed", output=FAILED, error=error, fatal=True)
    if tool.on_error is None:
        return Outcome(kind="failed", output=FAILED, error=error)
    try:
        text = tool.on_error(context, error)
        if inspect.isawaitable(text):
            text = await text
    except Exception as e:  # noqa: BLE001 -- a formatter that fails falls back to the standard words
        e.__context__ = error
        return Outcome(kind="failed", output=FAILED, error=e)
    return Outcome(kind="failed", output=as_text(text), error=error)


def as_text(value: Any) -> str:
    """A tool's result as the model reads it: strings as they are, the rest as JSON (pydantic models, dataclasses,
    dates and the like included), and `str()` of what has no JSON form."""
    if isinstance(value, str):
        return value
    return to_json(value, fallback=str).decode()
