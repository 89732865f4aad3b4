"""The session's machine: it takes every input to the leaf or desk that knows, and asks the sequencer last what to say.

    commands = machine.handle(input, now=now)   # no await, no clock, no random, no socket
    deadline = machine.next_deadline()          # the shell then hands in a Tick

The state lies in the leaves: `conversation` (history, as heard), `responses` (who may speak), `tool_calls` (calls and
approvals), `guards`, `line`, `config`, `playback`. Three desks hold the flows that touch several of them: `tool_desk`,
`guard_desk`, `recovery`. Nothing is decided here that a leaf could decide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from realtime_bridge.copying import HandlerTable
from realtime_bridge.session import events, inputs
from realtime_bridge.session.commands import Close, Command, Interrupt, Send
from realtime_bridge.session.core import Core
from realtime_bridge.session.guard_desk import GuardDesk
from realtime_bridge.session.inputs import Input
from realtime_bridge.session.items import HistoryItem
from realtime_bridge.session.mcp_tools import McpTools
from realtime_bridge.session.recovery import Recovery
from realtime_bridge.session.reports import Reports
from realtime_bridge.session.server_events import ServerEvents
from realtime_bridge.session.specs import AgentSpec, SessionSettings
from realtime_bridge.session.tool_desk import ToolDesk
from realtime_bridge.session.usage import Tokens
from realtime_bridge.transport.base import TransportClosed
from realtime_bridge.wire import Item, client

_GREETING = "Greet the caller now, in one or two short sentences. Begin with: {words}"


def greeting(words: str = "") -> dict[str, Any] | None:
    """Parameters of the `response.create` by which the agent speaks first, with these words if they are given."""
    return {"instructions": _GREETING.format(words=words)} if words else None


class SessionMachine(HandlerTable):
    """One conversation. `agent` speaks first; see `SessionSettings` for the rest."""

    def __init__(self, agent: AgentSpec, settings: SessionSettings) -> None:
        self._core = Core(agent, settings)
        self._tools = ToolDesk(self._core)
        self._guards = GuardDesk(self._core)
        self._recovery = Recovery(self._core, self._tools)
        self._mcp = McpTools(self._core)
        self._server = ServerEvents(self._core, self._tools, self._guards, self._mcp, self._recovery)
        self._reports = Reports(self._core, self._tools, self._guards, self._recovery)
        self._ended = False
        self._handlers = self._table()

    # -- what the shell may ask --

    def first_update(self) -> dict[str, Any]:
        """The `session` for `transport.connect`. To be called once, before Started."""
        session, _ = self._core.config.update(self._core.agent)
        return session

    @property
    def history(self) -> tuple[HistoryItem, ...]:
        return self._core.conversation.history

    @property
    def agent(self) -> str:
        return self._core.agent.name

    @property
    def usage(self) -> Tokens:
        return self._server.usage

    @property
    def mcp_tools(self) -> dict[str, tuple[str, ...]]:
        return self._mcp.available

    @property
    def quiet(self) -> bool:
        """Nobody speaks, nothing is to be heard, nobody is about to speak."""
        return self._core.quiet

    def next_deadline(self) -> float | None:
        """When to hand in a Tick, unless something else happens before; never in the past once it was handed in."""
        if self._core.closing:
            return None
        times = (
            self._core.responses.next_deadline(),
            self._core.line.next_deadline(self._core.now),
            self._core.playback.next_deadline(self._core.now),
            self._tools.next_deadline(),
            self._recovery.next_deadline(),
        )
        return min((t for t in times if t is not None), default=None)

    def handle(self, event: Input, *, now: float) -> list[Command]:
        """Take one input at the time it happened (`now`: monotonic seconds); returns what to do, in order.

        After the session's end nothing is done any more.
        """
        core = self._core
        core.now = max(now, core.now)
        core.out = []
        if core.closing and not isinstance(event, TransportClosed):
            return []
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)
        elif not self._reports.handle(event):
            self._server.handle(event)
        if not core.closing:
            self._step()
        return core.out

    # -- the program's calls and the shell's answers --

    def _table(self) -> dict[type, Callable[[Any], None]]:
        return {
            inputs.Started: self._started,
            inputs.MessageSent: self._message_sent,
            inputs.ResponseWanted: lambda i: self._demand(i.params),
            inputs.AudioCommitted: self._audio_committed,
            inputs.InterruptWanted: lambda _: self._interrupt(),
            inputs.HistoryEdited: lambda i: self._tools.edit(i.history),
            inputs.AgentSwitched: lambda i: self._tools.switch(i.agent),
            inputs.ApprovalGiven: self._tools.decided,
            inputs.ClientEventWanted: self._client_event,
            inputs.AudioPlayed: lambda i: self._core.playback.reported((i.item_id, i.content_index), i.played_ms),
            inputs.CallChecked: self._tools.checked,
            inputs.ToolFinished: self._tools.finished,
            inputs.HandoffReady: self._tools.handed_over,
            inputs.GuardrailVerdict: self._guards.verdict,
            inputs.Tick: lambda _: None,
            inputs.CloseWanted: self._close,
            TransportClosed: self._closed,
        }

    def _started(self, started: inputs.Started) -> None:
        core = self._core
        core.connected = True
        self._recovery.started(started.unix_s)
        core.emit(events.HistoryUpdated(history=self.history))
        if wanted := core.settings.greeting:
            self._demand(greeting("" if wanted is True else wanted))

    def _message_sent(self, message: inputs.MessageSent) -> None:
        core = self._core
        item_id = core.ids.new("item")
        core.emit(*core.conversation.add_message(item_id, message.role, message.content))
        item = Item(type="message", id=item_id, role=message.role, content=message.content)
        core.send(client.ConversationItemCreate(event_id=item_id, item=item))
        if message.respond:
            self._demand(None)

    def _demand(self, params: dict[str, Any] | None) -> None:
        if not self._core.responses.demand(params):
            self._core.problem("too many responses wait already; this one was not asked for", "session")

    def _audio_committed(self, _: inputs.AudioCommitted) -> None:
        self._core.send(client.InputAudioBufferCommit(event_id=self._core.ids.new("commit")))
        self._tools.caller_turn()
        if not self._core.line.server_replies:
            self._core.responses.want()

    def _interrupt(self) -> None:
        """The program wants silence now."""
        core = self._core
        core.interrupted()
        response_id = core.responses.cancel()
        if core.settings.plays_audio:
            core.do(Interrupt())
            return
        if response_id is not None:
            core.send(client.ResponseCancel(event_id=core.ids.new("cancel"), response_id=response_id))
            core.silence(response_id)
        core.stop_program_playback("program")

    def _client_event(self, wanted: inputs.ClientEventWanted) -> None:
        event = wanted.event
        if isinstance(event, client.ResponseCreate):
            self._demand(event.response)
        elif isinstance(event, client.ResponseCancel):
            if (response_id := self._core.responses.cancel()) is not None:
                cancel = client.ResponseCancel(event_id=event.event_id, response_id=event.response_id or response_id)
                self._core.send(cancel)
        elif self._core.connected:
            self._core.send(event)
        else:
            self._core.problem("there is no model to send to at the moment", "session", level="warning")

    # -- the end --

    def _close(self, wanted: inputs.CloseWanted) -> None:
        self._end()
        self._core.do(Close(reason=wanted.reason))

    def _closed(self, closed: TransportClosed) -> None:
        if not self._core.closing:
            self._end()
        if not self._ended:
            self._core.emit(events.SessionEnd(reason=closed.reason))
        self._ended = True

    def _end(self) -> None:
        """Hang up inside: nothing is asked or run any more, and what nobody heard was not said."""
        core = self._core
        self._reports.line_ended()
        self._tools.end()
        core.responses.clear()
        core.closing = True
        core.connected = False

    # -- after every input --

    def _step(self) -> None:
        core = self._core
        self._reports.program_played()
        self._tools.expire()
        self._mcp.agent_changed()
        for what in core.responses.expire(core.now):
            core.problem(what, "model", code="response_lost", level="warning")
        self._recovery.step()
        if Close in map(type, core.out):
            self._end()
        elif core.connected and core.responses.queued:
            may_speak = not core.line.turn_is_callers(core.now) and not self._tools.handing_over
            wanted = core.responses.pump(core.now, may_speak=may_speak, quiet=not core.line.playing(core.now))
            core.out += [Send(event=event) for event in wanted]
