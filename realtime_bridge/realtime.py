"""RealtimeSession: the shell around the session core.

One task owns the machine. What the transport reports, what the program calls and what slow work brings goes into one
bounded inbox; the owner hands it to the machine in order and does what the machine says. No state changes across an
`await`. Slow work (tools, guardrails, instructions, hooks) runs in tasks of its own and comes back through the inbox.

    agent = Agent(name="Front desk", instructions="…", tools=[refund])
    async with RealtimeSession(agent, transport=transport) as session:
        async for event in session:
            if event.type == "tool_approval_requested":
                await session.approve(event.request)
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Self

from realtime_bridge.agent import Agent
from realtime_bridge.alarm import Alarm
from realtime_bridge.approvals import ApprovalRequest, ApprovalSettings
from realtime_bridge.context import RunContext
from realtime_bridge.errors import MisuseError, TransportError
from realtime_bridge.guardrails import GuardrailSettings, OutputGuardrail
from realtime_bridge.roster import Roster
from realtime_bridge.session import commands, inputs
from realtime_bridge.session.config import merge
from realtime_bridge.session.events import SessionEnd, SessionError, SessionEvent
from realtime_bridge.session.inputs import Input
from realtime_bridge.session.items import HistoryItem, Role
from realtime_bridge.session.journal import Opening, SessionTap
from realtime_bridge.session.machine import SessionMachine
from realtime_bridge.session.specs import SessionSettings
from realtime_bridge.session.usage import Price, Tokens
from realtime_bridge.session_audio import ProgramAudio
from realtime_bridge.session_work import SessionWork, ToolErrorFormatter
from realtime_bridge.transport.base import RealtimeTransport, TransportClosed, TransportEvent
from realtime_bridge.transport.websocket import WebSocketTransport
from realtime_bridge.wire import ClientEvent, ContentPart, server

log = logging.getLogger(__name__)

INBOX_MAX = 10_000
EVENTS_MAX = 8192  # not yet iterated over; the oldest are dropped beyond that
EVENTS_BEFORE_MAX = 1024  # the same, as long as nobody iterates
CLOSE_S_MAX = 10.0
DEFAULT_MODEL = "gpt-realtime"
# Without transcription the history has no words of the caller.
_DEFAULT_CONFIG = {"audio": {"input": {"transcription": {"model": "gpt-4o-mini-transcribe"}}}}

Listener = Callable[[SessionEvent], None]


class RealtimeSession:
    """A live conversation between a caller and a model. An async context manager, and an async iterator of its events.

    `transport`: default, a WebSocket to `model` with the `openai` package's settings. `config`: fields of the
    `session.update` (`RealtimeSessionCreateRequest`) that override every agent's. `greeting`: True makes the agent speak
    first, a string tells it with what. `rotate_after_s`: when to change to a fresh model session, unheard, at the latest
    (OpenAI ends one after 60 minutes); sooner where the model says that the session ends sooner; None: never. `tap`: sees what
    the core is given and what it says, for recordings. `price`: for costs.

    Raises MisuseError at once for duplicate names; entering raises TransportError when the model cannot be had.
    The iterator ends after `session_end`; it raises UserCodeError for a tool with `on_error="raise"` and for a
    GuardrailTrippedError of a tool guardrail, and TransportError when the session could not go on.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        transport: RealtimeTransport | None = None,
        model: str | None = None,
        context: Any = None,
        output_guardrails: Iterable[OutputGuardrail] = (),
        guardrail_settings: GuardrailSettings | None = None,
        config: Mapping[str, Any] | None = None,
        approvals: ApprovalSettings | None = None,
        greeting: str | bool = False,
        keep_audio: bool = False,
        tool_error_formatter: ToolErrorFormatter | None = None,
        price: Price | None = None,
        rotate_after_s: float | None = 55 * 60.0,
        tap: SessionTap | None = None,
    ) -> None:
        self._roster = Roster(output_guardrails)
        self._roster.check(agent)
        self._roster.name_of(agent)
        self._agent = agent
        self._transport: RealtimeTransport = transport or WebSocketTransport(model=model or DEFAULT_MODEL)
        self._context = context
        self._guardrails = guardrail_settings or GuardrailSettings()
        self._config = merge(_DEFAULT_CONFIG, config or {})
        if model is not None:
            self._config["model"] = model
        self._settings = SessionSettings(
            config=self._config,
            transport_config=self._transport.session_config,
            plays_audio=self._transport.plays_audio,
            keep_audio=keep_audio,
            every_chars=self._guardrails.every_chars,
            holdback_ms=self._guardrails.holdback_ms,
            approvals=approvals or ApprovalSettings(),
            price=price,
            greeting=greeting,
            rotate_after_s=rotate_after_s,
        )
        self._work = SessionWork(
            roster=self._roster,
            guardrails=self._guardrails,
            guardrails_first=self._settings.approvals.guardrails_first,
            formatter=tool_error_formatter,
            put=self._put,
            tell=self._deliver,
            run_context=self.run_context,
        )
        self._audio = ProgramAudio(self._settings)
        self._tap = tap
        self._machine: SessionMachine | None = None
        self._owner: asyncio.Task[None] | None = None
        self._inbox: deque[tuple[Input, asyncio.Future[None] | None]] = deque()
        self._arrived = asyncio.Event()
        self._alarm: Alarm | None = None
        self._listeners: list[tuple[str | None, Listener]] = []
        self._events: deque[SessionEvent] = deque()
        self._events_arrived = asyncio.Event()
        self._iterated = False
        self._dropped_events = 0
        self._failure: Exception | None = None
        self._closing: asyncio.Task[None] | None = None
        self._over = False
        self._end_told = False
        self._muted = False

    # -- what it is --

    @property
    def current_agent(self) -> Agent:
        return self._agent if self._machine is None else self._roster.agent(self._machine.agent)

    @property
    def history(self) -> tuple[HistoryItem, ...]:
        """The conversation as heard; see `HistoryItem`."""
        return () if self._machine is None else self._machine.history

    @property
    def usage(self) -> Tokens:
        return Tokens() if self._machine is None else self._machine.usage

    @property
    def context(self) -> Any:
        """What the program passed as `context`."""
        return self._context

    @property
    def muted(self) -> bool:
        return self._muted

    @property
    def transport(self) -> RealtimeTransport:
        return self._transport

    @property
    def mcp_tools(self) -> dict[str, tuple[str, ...]]:
        """Tools that hosted MCP servers offer the current agent, by server label."""
        return {} if self._machine is None else self._machine.mcp_tools

    @property
    def quiet(self) -> bool:
        """Nobody speaks, nothing is left to be heard, nobody is about to speak."""
        return self._machine is None or self._machine.quiet

    def run_context(self, agent: str = "") -> RunContext[Any]:
        """What user code is told at this moment."""
        name = agent or self.current_agent.name
        return RunContext(context=self._context, agent=name, history=self.history, usage=self.usage, session=self)

    # -- its life --

    async def __aenter__(self) -> Self:
        if self._machine is not None:
            raise MisuseError("a session can be entered once; make a new one")
        spec = await self._roster.spec(self._agent, self.run_context())
        machine = self._machine = SessionMachine(spec, self._settings)
        if self._tap is not None:
            self._tap.session_made(machine)
            self._tap.session_input(Opening(agent=spec, settings=self._settings), asyncio.get_running_loop().time())
        try:
            if self._settings.holdback_ms:
                self._transport.hold_back(self._settings.holdback_ms)
            await self._transport.connect(self._from_transport, session=machine.first_update())
        except BaseException:
            self._over = True
            await self._transport.close("the session could not begin")
            raise
        self._alarm = Alarm(lambda: self._put(inputs.Tick()))
        self._put(inputs.Started(unix_s=time.time()))
        self._owner = asyncio.create_task(self._own(), name="realtime-session")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def initial_config(self) -> dict[str, Any]:
        """What the first `session.update` is going to be. A SIP call wants it when it is accepted. Changes nothing."""
        spec = await self._roster.spec(self._agent, self.run_context())
        return SessionMachine(spec, self._settings).first_update()

    async def close(self, reason: str = "closed by the program") -> None:
        """End in order; idempotent. Waits until everything is done, at most a few seconds."""
        if self._owner is None:
            return
        if not self._over:
            self._put(inputs.CloseWanted(reason=reason))
        owner = self._owner
        if asyncio.current_task() in (owner, *self._work.tasks):
            return  # a tool that hangs up is itself waited for
        await asyncio.wait([owner], timeout=CLOSE_S_MAX)
        if not owner.done():
            log.error("the session did not end within %s s; it is given up", CLOSE_S_MAX)
            owner.cancel()
            await asyncio.wait([owner], timeout=1.0)

    # -- what the program may do --

    async def send_message(
        self, message: str | Iterable[ContentPart] | Mapping[str, Any], *, role: Role = "user", respond: bool = True
    ) -> None:
        """Say something to the model: text, content parts, or a message as the API writes it.

        `respond`: it is to answer, in a response of its own, after what it is saying now.
        """
        if isinstance(message, Mapping):
            role = message.get("role", role)
            parts = tuple(ContentPart(**part) for part in message["content"])
        elif isinstance(message, str):
            parts = (ContentPart(type="input_text", text=message),)
        else:
            parts = tuple(message)
        if not parts:
            raise MisuseError("send_message: the message is empty")
        await self._do(inputs.MessageSent(content=parts, role=role, respond=respond))

    async def add_image(self, image_url: str, *, detail: str | None = None, respond: bool = True) -> None:
        """Show the model an image: a `data:` or `https:` URL."""
        await self.send_message([ContentPart(type="input_image", image_url=image_url, detail=detail)], respond=respond)

    async def send_audio(self, audio: bytes, commit: bool = False) -> None:
        """Caller audio, in the session's input format. `commit` ends the caller's turn, where the model does not find its
        end itself, and has it answered. Raises MisuseError on a transport that has a caller of its own."""
        self._transport.send_audio(audio)
        if commit:
            await self._do(inputs.AudioCommitted())

    async def create_response(self, params: Mapping[str, Any] | None = None) -> None:
        """Make the model speak; `params` as in `response.create`."""
        await self._do(inputs.ResponseWanted(params=None if params is None else dict(params)))

    async def send_event(self, event: ClientEvent) -> None:
        """Any client event of the Realtime API; `response.create` and `response.cancel` still take their turn."""
        await self._do(inputs.ClientEventWanted(event=event))

    async def interrupt(self) -> None:
        """Stop the reply now."""
        await self._do(inputs.InterruptWanted())

    async def mute(self, muted: bool = True) -> None:
        """While muted, the model hears silence instead of the caller."""
        self._muted = muted
        self._transport.set_muted(muted)

    async def update_history(
        self, history: Iterable[HistoryItem] | Callable[[tuple[HistoryItem, ...]], Iterable[HistoryItem]]
    ) -> None:
        """Make the conversation this, or what this function makes of it. Changed items get new ids."""
        new = history(self.history) if callable(history) else history
        await self._do(inputs.HistoryEdited(history=tuple(new)))

    async def update_agent(self, agent: Agent) -> None:
        """Let another agent take over, as a hand-off does. Raises what its instructions function raises."""
        self._roster.check(agent)
        spec = await self._roster.spec(agent, self.run_context(self._roster.name_of(agent)))
        await self._do(inputs.AgentSwitched(agent=spec))

    async def approve(self, request: ApprovalRequest | str, always: bool = False) -> None:
        """Let a waiting call run. `request`: from the event, or its call id. `always`: this agent's tool, from now on."""
        await self._do(inputs.ApprovalGiven(call_id=_call_id(request), approved=True, always=always))

    async def reject(self, request: ApprovalRequest | str, always: bool = False, message: str | None = None) -> None:
        """Refuse a waiting call; the model is told `message`."""
        call_id = _call_id(request)
        if message is None:
            message = await self._work.rejection_message(self._tool_of(request), call_id)
        await self._do(inputs.ApprovalGiven(call_id=call_id, approved=False, always=always, message=message))

    async def audio_played(self, item_id: str, played_ms: int, content_index: int = 0) -> None:
        """Where the program plays: so much of this item has been heard. Without it, real time is assumed."""
        await self._do(inputs.AudioPlayed(item_id=item_id, content_index=content_index, played_ms=played_ms))

    def on(self, event_type: str | None, listener: Listener) -> Callable[[], None]:
        """Call `listener(event)` for each event of a type (None: all), at once, beside the iterator; it must return at
        once. Returns a function that ends this."""
        entry = (event_type, listener)
        self._listeners.append(entry)
        return lambda: self._listeners.remove(entry) if entry in self._listeners else None

    async def __aiter__(self) -> AsyncIterator[SessionEvent]:
        """Every event since the session began, in order; ends after `session_end`. For one loop at a time."""
        self._iterated = True
        while True:
            while self._events:
                event = self._events.popleft()
                yield event
                if isinstance(event, SessionEnd):
                    if self._failure is not None:
                        raise self._failure
                    return
            if self._over:
                return
            self._events_arrived.clear()
            await self._events_arrived.wait()

    def _tool_of(self, request: ApprovalRequest | str) -> str:
        if isinstance(request, ApprovalRequest):
            return request.tool
        return next((item.name or "" for item in self.history if item.call_id == request), "")

    # -- inside: in --

    def _from_transport(self, event: TransportEvent) -> None:
        self._put(event)

    def _put(self, event: Input, done: asyncio.Future[None] | None = None) -> None:
        if self._over:
            _set(done)
            return
        if len(self._inbox) >= INBOX_MAX and not isinstance(event, TransportClosed | inputs.CloseWanted):
            _set(done)
            self._fail(TransportError(f"more than {INBOX_MAX} events wait: the session cannot keep up"))
            return
        self._inbox.append((event, done))
        self._arrived.set()

    async def _do(self, event: Input) -> None:
        """Hand something to the machine, and wait until it is done."""
        if self._owner is None:
            raise MisuseError("enter the session first: `async with session:`")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._put(event, done)
        await done

    async def _own(self) -> None:
        """The owner: hands every input to the machine, in order, and does what it says."""
        try:
            while not self._over:
                if self._inbox:
                    event, done = self._inbox.popleft()
                    try:
                        self._step(event, asyncio.get_running_loop().time())
                    finally:
                        _set(done)
                else:
                    self._arrived.clear()
                    await self._wait()
        except Exception as e:
            log.exception("the session has failed")
            self._failure = e
        finally:
            await self._finish()

    async def _wait(self) -> None:
        """Until something arrives; at the next deadline, a Tick does."""
        assert self._machine is not None
        assert self._alarm is not None
        deadlines = (self._machine.next_deadline(), self._audio.next_deadline())
        self._alarm.set(min((d for d in deadlines if d is not None), default=None))
        await self._arrived.wait()

    def _step(self, event: Input, now: float) -> None:
        assert self._machine is not None
        if isinstance(event, server.ResponseOutputAudioDelta):
            # Audio goes past the machine: it is told how much, not what.
            event = self._audio.received(event, now)
        if self._tap is not None:
            self._tap.session_input(event, now)
        wanted = self._machine.handle(event, now=now)
        if self._tap is not None and wanted:
            self._tap.session_commands(wanted, now)  # all of them, before the first has consequences
        for command in wanted:
            self._perform(command, now)
        for audio in self._audio.take(now):
            self._deliver(audio)

    # -- inside: out --

    def _perform(self, command: commands.Command, now: float) -> None:
        match command:
            case commands.Emit():
                self._deliver(self._work.with_exception(command.event))
            case commands.Send():
                self._transport.send(command.event)
            case commands.Interrupt():
                self._transport.interrupt()
            case commands.Discard():
                self._transport.discard(command.response_id)
                self._audio.discard(command.response_id)
            case commands.Release():
                self._transport.release(command.item_id, command.content_index, command.audio_ms)
                self._audio.release((command.item_id, command.content_index), command.audio_ms, now)
            case commands.Rotate():
                self._transport.rotate()
            case commands.Switch():
                self._transport.switch()
            case commands.Resume():
                self._transport.resume()
            case commands.Close():
                self._close_transport(command)
            case _:
                self._work.start(command)

    def _deliver(self, event: SessionEvent) -> None:
        for kind, listener in tuple(self._listeners):
            if kind is None or kind == event.type:
                try:
                    listener(event)
                except Exception:
                    log.exception("a listener for %s failed", event.type)
        if isinstance(event, SessionEnd):
            self._over = self._end_told = True
        elif len(self._events) >= (EVENTS_MAX if self._iterated else EVENTS_BEFORE_MAX):
            self._events.popleft()
            self._dropped_events += 1
            if self._iterated and self._dropped_events == 1:
                log.warning("the program iterates too slowly over the session's events; the oldest are dropped")
        self._events.append(event)
        self._events_arrived.set()
        self._work.hook(event)

    def _close_transport(self, command: commands.Close) -> None:
        if command.error is not None:
            self._failure = self._work.failure(command.error)
        if self._closing is None:
            self._closing = asyncio.create_task(self._close_now(command.reason), name="realtime-close")

    async def _close_now(self, reason: str) -> None:
        try:
            async with asyncio.timeout(CLOSE_S_MAX / 2):
                await self._transport.close(reason)
        except Exception:
            log.exception("the transport did not close in order")
        self._put(TransportClosed(reason=reason))  # where it has said so itself, this changes nothing

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
            self._put(inputs.CloseWanted(reason=str(error)))

    async def _finish(self) -> None:
        """Whatever ended the session: nothing of it is left running."""
        self._over = True
        if self._alarm is not None:
            self._alarm.cancel()
        await self._work.stop()
        await (self._closing or self._close_now("the session has ended"))
        for _, done in self._inbox:
            _set(done)
        self._inbox.clear()
        if not self._end_told:
            if isinstance(self._failure, Exception):
                self._deliver(SessionError(message=str(self._failure), source="session", fatal=True))
            self._deliver(SessionEnd(reason="the session has failed"))
        self._events_arrived.set()


def _set(done: asyncio.Future[None] | None) -> None:
    if done is not None and not done.done():
        done.set_result(None)


def _call_id(request: ApprovalRequest | str) -> str:
    return request if isinstance(request, str) else request.call_id
