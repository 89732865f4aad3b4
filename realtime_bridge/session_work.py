"""Slow work of a session: tools, checks, hand-offs, guardrails and hooks, each in a task of its own.

User code runs here. Nothing it does can stop the session's owner; what it raises is told as an `error` event, with the
exception itself, and where the program asked for it, ends the session.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import msgspec

from realtime_bridge.approvals import REJECTED
from realtime_bridge.context import RunContext, ToolContext
from realtime_bridge.errors import BridgeError, TransportError, UserCodeError
from realtime_bridge.guardrails import GuardrailResult, GuardrailSettings, OutputGuardrail
from realtime_bridge.hook_calls import HookCalls
from realtime_bridge.invocation import FAILED, Outcome, check_call, run_call
from realtime_bridge.roster import Roster
from realtime_bridge.session import commands, inputs
from realtime_bridge.session.events import SessionError, SessionEvent
from realtime_bridge.session.inputs import Input
from realtime_bridge.tools import ArgumentsError, ToolError, parse_object

log = logging.getLogger(__name__)

CALLS_MAX = 256  # tools at once
FORMATTER_S_MAX = 5.0
HANDOFF_S_MAX = 60.0
STOP_S_MAX = 5.0  # for background tools at the end of a session
_EXCEPTIONS_MAX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolErrorInfo:
    """A call that did not do what the model wanted, and what the model is going to be told of it."""

    kind: Literal["approval_rejected", "invalid_arguments", "rejected", "failed", "timeout"]
    tool: str
    call_id: str
    default_message: str
    context: RunContext[Any]


ToolErrorFormatter: TypeAlias = Callable[[ToolErrorInfo], "str | Awaitable[str | None] | None"]


class SessionWork:
    """`put` hands a result to the owner; `tell` gives the program an event; `run_context(agent)` makes a snapshot."""

    def __init__(
        self,
        *,
        roster: Roster,
        guardrails: GuardrailSettings,
        guardrails_first: bool,
        formatter: ToolErrorFormatter | None,
        put: Callable[[Input], None],
        tell: Callable[[SessionEvent], None],
        run_context: Callable[[str], RunContext[Any]],
    ) -> None:
        self._roster = roster
        self._guardrails = guardrails
        self._guardrails_first = guardrails_first
        self._formatter = formatter
        self._put = put
        self._tell = tell
        self._run_context = run_context
        self._hooks = HookCalls(roster, run_context, self._hook_failed)
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._checks: set[asyncio.Task[None]] = set()
        self._exceptions: OrderedDict[str, BaseException] = OrderedDict()
        self._fatal: tuple[str, BaseException] | None = None

    @property
    def tasks(self) -> set[asyncio.Task[None]]:
        """What runs now, user code in it."""
        return {*self._calls.values(), *self._checks, *self._hooks.tasks}

    def start(self, command: commands.Command) -> None:
        """Do what a command asks for, without waiting."""
        match command:
            case commands.CheckCall():
                self._start_call(command.call_id, self._check(command))
            case commands.RunTool():
                self._start_call(command.call_id, self._run(command))
            case commands.RunHandoff():
                self._start_call(command.call_id, self._hand_over(command))
            case commands.RunGuardrails():
                task = asyncio.create_task(self._guard(command), name=f"guardrails {command.run_id}")
                self._checks.add(task)
                task.add_done_callback(self._checks.discard)
            case commands.CancelTool():
                if (running := self._calls.pop(command.call_id, None)) is not None:
                    running.cancel()
            case _:
                raise AssertionError(f"not slow work: {command}")

    def hook(self, event: SessionEvent) -> None:
        """Call the hooks of the agents an event is about."""
        self._hooks.happened(event)

    def with_exception(self, event: SessionEvent) -> SessionEvent:
        """An error about user code, together with what it raised."""
        if isinstance(event, SessionError):
            error = self._exceptions.pop(event.call_id or event.tool or "", None)
            if error is not None:
                return msgspec.structs.replace(event, exception=error)
        return event

    def failure(self, message: str) -> BridgeError:
        """What the session's `async for` is to raise."""
        if self._fatal is None:
            return TransportError(message, retryable=False)
        tool, cause = self._fatal
        error = UserCodeError(message, tool=tool)
        error.__cause__ = cause
        return error

    async def rejection_message(self, tool: str, call_id: str) -> str | None:
        """What the model is told of a rejection without a message of its own; None: the standard words."""
        text = await self._format("approval_rejected", tool, call_id, REJECTED, self._run_context(""))
        return None if text == REJECTED else text

    async def stop(self) -> None:
        """Wait a little for what was left running (background tools), then end all of it."""
        for check in tuple(self._checks):
            check.cancel()
        if self._calls:
            await asyncio.wait(self._calls.values(), timeout=STOP_S_MAX)
        await self._hooks.stop()
        rest = self.tasks - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    # -- calls --

    def _start_call(self, call_id: str, work: Coroutine[Any, Any, Input]) -> None:
        if len(self._calls) >= CALLS_MAX:
            work.close()
            log.warning("more than %s tools run at once; call %s was refused", CALLS_MAX, call_id)
            self._put(inputs.ToolFinished(call_id=call_id, output="Too many tools are running.", outcome="failed"))
            return
        task = asyncio.create_task(self._finish(call_id, work), name=f"call {call_id}")
        self._calls[call_id] = task
        task.add_done_callback(lambda _: self._calls.pop(call_id) if self._calls.get(call_id) is task else None)

    async def _finish(self, call_id: str, work: Coroutine[Any, Any, Input]) -> None:
        try:
            result = await work
        except asyncio.CancelledError as e:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody cancelled us: it was something inside the tool.
            result = self._broken(call_id, e)
        except Exception as e:
            log.exception("call %s failed outside the tool", call_id)
            result = self._broken(call_id, e)
        self._put(result)

    def _broken(self, call_id: str, error: BaseException) -> Input:
        text = self._remember(call_id, "call", error)
        return inputs.ToolFinished(call_id=call_id, output=FAILED, outcome="failed", error=text)

    async def _check(self, command: commands.CheckCall) -> Input:
        tool = self._roster.tool(command.agent, command.tool)
        context = self._tool_context(command.call_id, command.agent, command.tool, command.arguments)
        checked = await check_call(tool, context, command.arguments, guardrails=self._guardrails_first)
        text = None
        if checked.error is not None:
            text = self._remember(command.call_id, f"the approval predicate of {tool.name}", checked.error)
        if checked.refusal is None:
            return inputs.CallChecked(call_id=command.call_id, needs_approval=checked.needs_approval, error=text)
        refusal = await self._outcome(command.call_id, tool.name, checked.refusal, context)
        return inputs.CallChecked(
            call_id=command.call_id,
            refusal=refusal.output,
            outcome=refusal.outcome,
            error=refusal.error or text,
            fatal=refusal.fatal,
        )

    async def _run(self, command: commands.RunTool) -> Input:
        tool = self._roster.tool(command.agent, command.tool)
        context = self._tool_context(command.call_id, command.agent, command.tool, command.arguments)
        outcome = await run_call(tool, context, command.arguments)
        return await self._outcome(command.call_id, tool.name, outcome, context)

    async def _outcome(
        self, call_id: str, tool: str, outcome: Outcome, context: ToolContext[Any]
    ) -> inputs.ToolFinished:
        text, output = None, outcome.output
        if outcome.error is not None:
            text = self._remember(call_id, f"tool {tool}", outcome.error)
            if outcome.fatal:
                self._fatal = (tool, outcome.error)
        if outcome.kind != "ok":
            output = await self._format(outcome.kind, tool, call_id, outcome.output, context)
        return inputs.ToolFinished(
            call_id=call_id,
            output=output,
            outcome=outcome.kind,
            silent=outcome.silent,
            error=text,
            fatal=outcome.fatal,
        )

    async def _hand_over(self, command: commands.RunHandoff) -> Input:
        handoff = self._roster.handoff(command.agent, command.handoff)
        call_id = command.call_id
        context = self._tool_context(call_id, command.agent, command.handoff, command.arguments)
        try:
            async with asyncio.timeout(HANDOFF_S_MAX):
                await handoff.accept(context, command.arguments)
                target = self._roster.name_of(handoff.agent)
                spec = await self._roster.spec(handoff.agent, self._run_context(target))
                history = None if handoff.filter is None else tuple(handoff.filter(context.history))
        except ArgumentsError as e:
            return inputs.ToolFinished(call_id=call_id, output=str(e), outcome="invalid_arguments")
        except ToolError as e:
            return inputs.ToolFinished(call_id=call_id, output=str(e), outcome="failed")
        except Exception as e:  # noqa: BLE001 -- user code may raise anything; it is reported, not swallowed
            text = self._remember(call_id, f"hand-off {handoff.name}", e)
            output = "The transfer could not be made."
            return inputs.ToolFinished(call_id=call_id, output=output, outcome="failed", error=text)
        return inputs.HandoffReady(call_id=call_id, agent=spec, output=handoff.transfer_message(), history=history)

    async def _format(
        self,
        kind: Literal["approval_rejected", "invalid_arguments", "rejected", "failed", "timeout"],
        tool: str,
        call_id: str,
        message: str,
        context: RunContext[Any],
    ) -> str:
        """The program's words for a failed call, where it has any."""
        if self._formatter is None:
            return message
        info = ToolErrorInfo(kind=kind, tool=tool, call_id=call_id, default_message=message, context=context)
        try:
            async with asyncio.timeout(FORMATTER_S_MAX):
                text = self._formatter(info)
                if inspect.isawaitable(text):
                    text = await text
        except Exception as e:  # noqa: BLE001 -- user code may raise anything; it is reported, not swallowed
            self._tell(
                SessionError(message=_told("the tool error formatter", e), source="tool", tool=tool, exception=e)
            )
            return message
        return text if isinstance(text, str) else message

    # -- guardrails --

    async def _guard(self, command: commands.RunGuardrails) -> None:
        context = self._run_context(command.agent)
        guardrails = self._roster.guardrails_of(command.agent)
        results = await asyncio.gather(*(self._one(guardrail, context, command.text) for guardrail in guardrails))
        errors: list[tuple[str, str]] = []
        tripped: tuple[str, GuardrailResult] | None = None
        for guardrail, outcome in zip(guardrails, results, strict=True):
            if isinstance(outcome, Exception):
                errors.append((guardrail.name, self._remember(guardrail.name, f"guardrail {guardrail.name}", outcome)))
                result = GuardrailResult(tripped=self._guardrails.on_failure == "trip", info=str(outcome))
            else:
                result = outcome
            if result.tripped and tripped is None:
                tripped = (guardrail.name, result)
        verdict = inputs.GuardrailVerdict(run_id=command.run_id, errors=tuple(errors))
        if tripped is not None:
            name, result = tripped
            info = "" if result.info is None else str(result.info)
            verdict = msgspec.structs.replace(verdict, tripped=name, feedback=result.feedback, info=info)
        self._put(verdict)

    async def _one(
        self, guardrail: OutputGuardrail, context: RunContext[Any], text: str
    ) -> GuardrailResult | Exception:
        try:
            async with asyncio.timeout(self._guardrails.timeout_s):
                return await guardrail.run(context, text)
        except Exception as e:  # noqa: BLE001 -- user code may raise anything; the verdict carries it
            return e

    # -- inside --

    def _tool_context(self, call_id: str, agent: str, tool: str, arguments_json: str) -> ToolContext[Any]:
        try:
            arguments = parse_object(arguments_json)
        except ArgumentsError:
            arguments = {}  # the tool will not be run with them
        return ToolContext.of(self._run_context(agent), tool_name=tool, call_id=call_id, arguments=arguments)

    def _remember(self, key: str, who: str, error: BaseException) -> str:
        """Keep the exception for the event that the machine will write about it; returns the event's words."""
        self._exceptions[key] = error
        while len(self._exceptions) > _EXCEPTIONS_MAX:
            self._exceptions.popitem(last=False)
        return _told(who, error)

    def _hook_failed(self, hook: str, error: Exception) -> None:
        self._tell(SessionError(message=_told(hook, error), source="hook", exception=error))


def _told(who: str, error: BaseException) -> str:
    return f"{who} raised {type(error).__name__}: {error}" if str(error) else f"{who} raised {type(error).__name__}"
