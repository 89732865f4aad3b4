"""The tools of an agent on trial: they answer as on the tape, as a test says, or do what they really do.

An agent is copied with all that it can hand over to, and its tools answer otherwise; what the model is told of them, their
approvals and guardrails stay. Tools that steer the call itself are always what they are: on trial, they steer that call.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Final, Literal, TypeAlias

import msgspec

from realtime_bridge.agent import Agent, Handoff, reachable
from realtime_bridge.context import ToolContext
from realtime_bridge.errors import BridgeError, MisuseError
from realtime_bridge.tools import HostedMcpTool, SilentResult, Tool, ToolError, parse_object
from telephony import tools as phone_tools
from telephony.trials.taped_call import TapedDeeds, TapedTool

Mock: TypeAlias = Any  # what the tool answers, or a (async) function of its arguments that says so
Tools: TypeAlias = Literal["recorded", "live"] | Mapping[str, Mock]

JOIN_S_MAX: Final = 5.0
_ANSWERS: Final = ("ok", "failed", "timeout")  # outcomes of calls that the tool itself has answered
_STEERING: Final = frozenset(
    tool.function
    for tool in (
        phone_tools.hang_up,
        phone_tools.press_keys,
        phone_tools.collect_digits,
        phone_tools.hold_caller,
        phone_tools.resume_caller,
        phone_tools.pause_recording,
        phone_tools.resume_recording,
        phone_tools.stop_recording,
    )
)


class UnknownCallError(BridgeError):
    """A tool was called in a way of which the recorded call knows nothing: there is no answer to give."""


class TrialTools:
    """The tools of one run. `problems`: calls for which there was no answer; each of them has ended the call."""

    def __init__(self, tools: Tools, deeds: TapedDeeds, real_world: RealWorld | None = None) -> None:
        """`tools`: a mapping mocks those it names; the others are recorded, or live where there is no record. `real_world`:
        where live tools run, of a call in virtual time."""
        self.problems: list[str] = []
        self._mocks: Mapping[str, Mock] = tools if isinstance(tools, Mapping) else {}
        self._live = some_are_live(tools, deeds)
        self._deeds = deeds
        self._real_world = real_world
        self._used: set[int] = set()  # answers on the tape, by their place

    def equip(self, agent: Agent) -> Agent:
        """A copy of the agent and of all others it leads to, with these tools."""
        originals = reachable(agent)
        copies = {id(original): original.clone() for original in originals}
        for original in originals:
            copy = copies[id(original)]
            copy.tools = [tool if isinstance(tool, HostedMcpTool) else self._equipped(tool) for tool in original.tools]
            copy.handoffs = [
                replace(way, agent=copies[id(way.agent)]) if isinstance(way, Handoff) else copies[id(way)]
                for way in original.handoffs
            ]
        return copies[id(agent)]

    def _equipped(self, tool: Tool) -> Tool:
        if tool.name in self._mocks:
            return replace(tool, call=_mocked(self._mocks[tool.name]), function=None)
        if tool.function in _STEERING:
            return tool
        if self._live:
            return tool if self._real_world is None else replace(tool, call=self._real_world.around(tool))
        return replace(tool, call=self._recorded(tool.name), function=None, on_error="raise")

    def _recorded(self, name: str) -> Callable[[ToolContext[Any], str], Coroutine[Any, Any, Any]]:
        async def call(_context: ToolContext[Any], arguments_json: str) -> Any:
            answer = self._answer(name, parse_object(arguments_json))
            await asyncio.sleep(answer.took_s)
            if answer.outcome != "ok":
                raise ToolError(answer.output)
            return SilentResult(answer.output) if answer.silent else answer.output

        return call

    def _answer(self, name: str, arguments: dict[str, Any]) -> TapedTool:
        """The tape's answers to the same call in their order; the last of them stands for all later ones."""
        fitting = [
            (place, taped)
            for place, taped in enumerate(self._deeds.tools)
            if taped.name == name and taped.arguments == arguments and taped.outcome in _ANSWERS
        ]
        if not fitting:
            self.problems.append(self._unknown(name, arguments))
            raise UnknownCallError(self.problems[-1])
        place, answer = next(((p, t) for p, t in fitting if p not in self._used), fitting[-1])
        self._used.add(place)
        return answer

    def _unknown(self, name: str, arguments: dict[str, Any]) -> str:
        known = [taped for taped in self._deeds.tools if taped.name == name]
        if not self._deeds.is_known:
            taped = "this caller was not recorded with an agent's tools"
        elif not known:
            taped = f"in the recorded call {name} was never called"
        else:
            taped = "in the recorded call there was " + ", ".join(shown_call(t.name, t.arguments) for t in known)
            if any(t.arguments == arguments for t in known):
                taped += ", and it got no answer"
        called = shown_call(name, arguments)
        return f"{called} was called, and no recorded answer fits: {taped}. Mock {name}, or let tools be live."


def some_are_live(tools: Tools, deeds: TapedDeeds) -> bool:
    """Whether tools that are not mocked do what they really do."""
    return tools == "live" or (isinstance(tools, Mapping) and not deeds.is_known)


def require_mocked(tools: Tools, agent: Agent) -> None:
    """Raises MisuseError for a mock of no tool: the one that was meant would not be mocked."""
    if not isinstance(tools, Mapping):
        return
    names = {tool.name for each in reachable(agent) for tool in each.tools if not isinstance(tool, HostedMcpTool)}
    if unknown := sorted(set(tools) - names):
        known = ", ".join(sorted(names)) or "none"
        raise MisuseError(
            f"tools: {agent.name} and those it hands over to have no tool {unknown[0]!r} (they have {known})"
        )


class RealWorld:
    """An event loop on real time in a thread of its own, for tools that reach out of a call in virtual time.

    The call's time stands still while a tool works, and then goes on by as much as it has taken.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name="live tools", daemon=True)
        self._thread.start()

    def around(self, tool: Tool) -> Callable[[ToolContext[Any], str], Coroutine[Any, Any, Any]]:
        """The tool's call, which runs there."""

        async def call(context: ToolContext[Any], arguments_json: str) -> Any:
            began = self._loop.time()
            running = asyncio.run_coroutine_threadsafe(self._run(tool, context, arguments_json), self._loop)
            try:
                return running.result(tool.timeout_s + JOIN_S_MAX)
            finally:
                await asyncio.sleep(self._loop.time() - began)

        return call

    def close(self) -> None:
        """What still runs there is given up."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(JOIN_S_MAX)

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.get_loop().run_forever()

    async def _run(self, tool: Tool, context: ToolContext[Any], arguments_json: str) -> Any:
        async with asyncio.timeout(tool.timeout_s):
            return await tool.call(context, arguments_json)


def shown_call(name: str, arguments: Mapping[str, Any]) -> str:
    """A call, as people write one."""
    return f"{name}({msgspec.json.encode(arguments, order='sorted').decode()})"


def _mocked(mock: Mock) -> Callable[[ToolContext[Any], str], Coroutine[Any, Any, Any]]:
    async def call(_context: ToolContext[Any], arguments_json: str) -> Any:
        if not callable(mock):
            return mock
        result = mock(**parse_object(arguments_json))
        return await result if inspect.isawaitable(result) else result

    return call
