"""The flow of tool calls: from the model's call to its answer, through checks, people, hand-offs, barge-in and fillers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from realtime_bridge.approvals import REJECTED, TIMED_OUT
from realtime_bridge.session.commands import CancelTool, CheckCall, Close, RunHandoff, RunTool
from realtime_bridge.session.core import Core
from realtime_bridge.session.edits import difference
from realtime_bridge.session.events import (
    AgentHandoff,
    AgentToolEnd,
    AgentToolStart,
    ToolApprovalRequested,
    ToolApprovalResolved,
)
from realtime_bridge.session.inputs import ApprovalGiven, CallChecked, HandoffReady, ToolFinished
from realtime_bridge.session.items import HistoryItem
from realtime_bridge.session.specs import AgentSpec
from realtime_bridge.session.tool_calls import Call, ToolCalls
from realtime_bridge.wire import Item, client

_SIBLINGS_S_MAX = 3.0  # results of one response are spoken of together if they come within this time
_FILLER_RETRY_S = 0.5
_MENDS_MAX = 5  # answers in a row that only tell the model what it did wrong
_FILLER = (
    "Tell the caller, in the language of the conversation and in one short sentence: {words!r} "
    "Say nothing else, and do not say or suggest that anything has been done yet."
)
_CANCELLED = "The call was cancelled because the caller interrupted. It is not known whether anything was done."
_NOT_RUN = "The reply this call belonged to was cancelled. The tool was not run."
_ONE_TRANSFER = "Only one transfer can be made at a time; this one was ignored."


@dataclass(slots=True)
class _Held:
    """Answers of one response that wait for its other calls, to be spoken of in one go."""

    until: float
    items: list[str] = field(default_factory=list)
    when_idle: bool = True


class ToolDesk:
    def __init__(self, core: Core) -> None:
        self._core = core
        self._calls = ToolCalls(core.settings.approvals)
        self._held: dict[str, _Held] = {}
        self._mends = 0

    # -- calls come --

    def called(self, item: Item, response_id: str) -> None:
        """A complete function call of a response."""
        call_id, name = item.call_id or "", item.name or ""
        agent = self._core.agent_of(response_id)
        call = Call(call_id, name, item.arguments or "", agent.name, response_id, spec=agent.tool(name))
        call.handoff = call.spec is None and agent.handoff(name) is not None
        transfer = call.handoff and self._calls.handoff_under_way(response_id)
        admitted = self._calls.admit(call)
        if admitted == "reused":
            message = f"the model used call id {call_id} for two different calls; the second was ignored"
            self._core.problem(message, "model", code="call_id_reused", tool=name, call_id=call_id)
        if admitted != "new":
            return
        self._core.conversation.call_made(call_id)
        if self._core.is_dropped(response_id):
            self._answer(call, _NOT_RUN, "cancelled", speak=False)
        elif transfer:
            self._answer(call, _ONE_TRANSFER, "rejected", speak=False)
        elif call.handoff:
            self._run(call)
        elif call.spec is None:
            self._unknown(call, agent)
        elif call.spec.checked:
            self._core.do(CheckCall(call_id=call_id, agent=agent.name, tool=name, arguments=call.arguments))
        else:
            self._run(call)

    def mcp_wants_approval(self, item: Item, response_id: str | None) -> None:
        """A hosted MCP server wants to make a call; the item's id stands for the call's."""
        agent = self._core.agent_of(response_id or "").name
        call = Call(item.id or "", item.name or "", item.arguments or "", agent, response_id or "")
        call.server_label = item.server_label or ""
        if self._calls.admit(call) != "new":
            return
        decided = self._calls.decided_before(call)
        if decided is not None:
            self._answer_mcp(call, approved=decided[0], reason=decided[1])
        else:
            self._ask(call)

    def checked(self, result: CallChecked) -> None:
        call = self._calls.get(result.call_id, "checking")
        if call is None:
            return
        if result.error is not None:
            self._core.problem(result.error, "approval", tool=call.name, call_id=call.call_id)
        if result.refusal is not None:
            self._answer(call, result.refusal, result.outcome, speak=True)
            self._end_if(fatal=result.fatal, error=result.error)
        elif not result.needs_approval:
            self._run(call)
        elif (decided := self._calls.decided_before(call)) is None:
            self._ask(call)
        elif decided[0]:
            self._run(call)
        else:
            self._answer(call, decided[1] or REJECTED, "rejected", speak=True)

    # -- people decide --

    def decided(self, decision: ApprovalGiven) -> None:
        call = self._calls.get(decision.call_id, "waiting")
        if call is None:
            message = f"no call {decision.call_id} waits for approval (any more)"
            self._core.problem(message, "session", code="approval_unknown", level="warning", call_id=decision.call_id)
            return
        self._calls.decide(call, approved=decision.approved, always=decision.always, message=decision.message)
        self._resolve(call, approved=decision.approved, by="program", message=decision.message or REJECTED)

    def expire(self) -> None:
        """Time limits: approvals nobody gave, results that waited for others, fillers."""
        if not (self._calls.any_open or self._held):
            return
        now = self._core.now
        for call in self._calls.expired(now):
            approved = self._core.settings.approvals.on_timeout == "approve"
            self._resolve(call, approved=approved, by="timeout", message=TIMED_OUT)
        for response_id in [r for r, held in self._held.items() if now >= held.until]:
            self._speak_held(response_id)
        for call in self._calls.fillers_due(now):
            if self._core.quiet and call.spec is not None and call.spec.filler is not None:
                call.filler_at = None
                self._say(call, call.spec.filler)
            else:
                call.filler_at = now + _FILLER_RETRY_S

    # -- results come --

    def finished(self, result: ToolFinished) -> None:
        call = self._calls.get(result.call_id, "running")
        if call is None:
            return
        if result.error is not None:
            source = "handoff" if call.handoff else "tool"
            self._core.problem(result.error, source, tool=call.name, call_id=call.call_id, fatal=result.fatal)
        quietly = result.silent or (call.spec is not None and call.spec.background)
        self._answer(call, result.output, result.outcome, speak=not quietly)
        self._end_if(fatal=result.fatal, error=result.error)

    def handed_over(self, result: HandoffReady) -> None:
        call = self._calls.get(result.call_id, "running")
        if call is None:
            return
        self.switch(result.agent, call_id=call.call_id)
        if result.history is not None:
            self.edit(result.history)
        self._answer(call, result.output, "ok", speak=True)

    def switch(self, agent: AgentSpec, *, call_id: str | None = None) -> None:
        """Another agent takes over: instructions, tools, hand-offs and formats in one update."""
        core = self._core
        before, core.agent = core.agent.name, agent
        session, warning = core.config.update(agent)
        if warning is not None:
            core.problem(warning, "session", code="voice_frozen", level="warning")
        core.send(client.SessionUpdate(event_id=core.ids.new("update"), session=session))
        core.emit(AgentHandoff(from_agent=before, to_agent=agent.name, call_id=call_id))

    def edit(self, history: tuple[HistoryItem, ...]) -> None:
        """Make the conversation this; calls without an answer stay in it."""
        core = self._core
        edit = difference(
            core.conversation.history,
            history,
            output_ids=core.conversation.output_ids,
            keep=frozenset(
                item.item_id
                for item in core.conversation.history
                if item.type == "function_call" and item.output is None
            ),
            absent=core.conversation.absent,
            ids=core.ids,
        )
        if edit.events:
            core.send(*edit.events)
            core.emit(*core.conversation.replace(edit))

    # -- the line --

    def cut_short(self) -> None:
        """The caller interrupted the agent."""
        for call in self._calls.cut_short():
            self._core.do(CancelTool(call_id=call.call_id))
            self._answer(call, _CANCELLED, "cancelled", speak=False)

    @property
    def handing_over(self) -> bool:
        """Another agent is about to take over: what is to be said now, it says."""
        return self._calls.handing_over(self._core.now)

    def caller_turn(self) -> None:
        self._mends = 0

    def model_lost(self) -> None:
        """A hosted server's call lives in the model session it was wanted in; the next one will want it anew."""
        for call in self._calls.open():
            if call.server_label is not None:
                request = self._calls.request(call)
                self._core.emit(ToolApprovalResolved(request=request, approved=False, by="model_lost"))
                self._core.responses.withdraw(call.call_id)
                self._calls.answer(call)

    @property
    def hosted_call_waits(self) -> bool:
        """Somebody has been asked about a hosted server's call, which lives in this model session."""
        return any(call.server_label is not None for call in self._calls.open())

    def end(self) -> None:
        """The session is over: nobody is asked any more, and what runs is stopped, but for background tools."""
        for call in self._calls.open():
            if call.state == "waiting":
                request = self._calls.request(call)
                self._core.emit(ToolApprovalResolved(request=request, approved=False, by="session_end"))
            elif call.spec is None or not call.spec.background:
                self._core.do(CancelTool(call_id=call.call_id))
            self._calls.answer(call)
        self._held.clear()

    def next_deadline(self) -> float | None:
        times = [held.until for held in self._held.values()]
        if (deadline := self._calls.next_deadline(self._core.now)) is not None:
            times.append(deadline)
        return min(times, default=None)

    # -- inside --

    def _run(self, call: Call) -> None:
        core = self._core
        self._calls.run(call, core.now)
        if call.handoff:
            core.do(RunHandoff(call_id=call.call_id, agent=call.agent, handoff=call.name, arguments=call.arguments))
            return
        core.emit(AgentToolStart(agent=call.agent, tool=call.name, call_id=call.call_id, arguments=call.arguments))
        core.do(RunTool(call_id=call.call_id, agent=call.agent, tool=call.name, arguments=call.arguments))

    def _ask(self, call: Call) -> None:
        request = self._calls.wait(call, self._core.now)
        self._core.emit(ToolApprovalRequested(request=request))
        words = (call.spec.filler if call.spec is not None else None) or self._core.settings.approvals.filler
        if words is not None:
            self._say(call, words)

    def _say(self, call: Call, words: str) -> None:
        params = {"instructions": _FILLER.format(words=words), "tool_choice": "none"}
        self._core.responses.demand(params, when_idle=True, about=call.call_id)

    def _resolve(self, call: Call, *, approved: bool, by: Literal["program", "timeout"], message: str) -> None:
        self._core.emit(ToolApprovalResolved(request=self._calls.request(call), approved=approved, by=by))
        if call.server_label is not None:
            self._answer_mcp(call, approved=approved, reason=None if approved else message)
        elif approved:
            self._core.responses.withdraw(call.call_id)
            self._run(call)
        else:
            self._answer(call, message, "rejected", speak=True)

    def _unknown(self, call: Call, agent: AgentSpec) -> None:
        known = ", ".join([*(t.name for t in agent.tools), *(h.name for h in agent.handoffs)]) or "none"
        self._core.problem(
            f"the model called {call.name}, which {agent.name} does not have",
            "model",
            code="tool_not_found",
            tool=call.name,
            call_id=call.call_id,
        )
        self._answer(call, f"There is no tool called {call.name}. There are: {known}.", "not_found", speak=True)

    def _answer(self, call: Call, output: str, outcome: str, *, speak: bool) -> None:
        """Tell the model, once, what came of a call; have it speak of that where it should."""
        core = self._core
        self._calls.answer(call)
        core.responses.withdraw(call.call_id)
        output_id = core.ids.new("item")
        core.emit(*core.conversation.answered(call.call_id, output_id, output))
        item = Item(type="function_call_output", id=output_id, call_id=call.call_id, output=output)
        core.send(client.ConversationItemCreate(event_id=output_id, item=item))
        if not call.handoff or outcome != "ok":
            core.emit(
                AgentToolEnd(
                    agent=call.agent,
                    tool=call.name,
                    call_id=call.call_id,
                    arguments=call.arguments,
                    output=output,
                    outcome=outcome,
                )
            )
        if speak and self._may_mend(outcome):
            self._hold(call, output_id)
        self._release_held(call.response_id)

    def _answer_mcp(self, call: Call, *, approved: bool, reason: str | None) -> None:
        core = self._core
        self._calls.answer(call)
        core.responses.withdraw(call.call_id)
        item_id = core.ids.new("item")
        answer = Item(
            type="mcp_approval_response",
            id=item_id,
            approval_request_id=call.call_id,
            approve=approved,
            reason=reason,
        )
        core.send(client.ConversationItemCreate(event_id=item_id, item=answer))
        if not approved:
            core.responses.want(items=(item_id,))

    def _may_mend(self, outcome: str) -> bool:
        """A model that only makes mistakes must not talk to itself for ever."""
        self._mends = self._mends + 1 if outcome in ("invalid_arguments", "not_found") else 0
        return self._mends <= _MENDS_MAX

    def _hold(self, call: Call, output_id: str) -> None:
        if call.speak == "no":
            return
        held = self._held.setdefault(call.response_id, _Held(self._core.now + _SIBLINGS_S_MAX))
        held.items.append(output_id)
        held.when_idle = held.when_idle and call.speak == "when_idle"

    def _release_held(self, response_id: str) -> None:
        """Speak, unless another call of the same response is about to be answered."""
        siblings = (
            c
            for c in self._calls.open()
            if c.response_id == response_id and c.state != "waiting" and not (c.spec is not None and c.spec.background)
        )
        if response_id in self._held and not any(siblings):
            self._speak_held(response_id)

    def _speak_held(self, response_id: str) -> None:
        held = self._held.pop(response_id)
        self._core.responses.want(items=tuple(held.items), when_idle=held.when_idle)

    def _end_if(self, *, fatal: bool, error: str | None) -> None:
        if fatal:
            self._core.do(Close(reason="user code ended the session", error=error or ""))
