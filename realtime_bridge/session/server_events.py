"""What the model sends: each event to the leaves it concerns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from realtime_bridge.copying import HandlerTable
from realtime_bridge.session.commands import Close
from realtime_bridge.session.core import Core
from realtime_bridge.session.events import (
    AgentEnd,
    AgentStart,
    AudioStopped,
    Dtmf,
    InputTimeout,
    TransportEventSeen,
    UsageUpdated,
)
from realtime_bridge.session.guard_desk import GuardDesk
from realtime_bridge.session.mcp_tools import McpTools
from realtime_bridge.session.recovery import Recovery
from realtime_bridge.session.tool_desk import ToolDesk
from realtime_bridge.session.usage import Tokens, cost, tokens_of, transcription_tokens
from realtime_bridge.transport.base import ItemCut
from realtime_bridge.wire import Item, Response, client, server

# The account cannot go on: https://platform.openai.com/docs/guides/error-codes
_FATAL = frozenset({"insufficient_quota", "invalid_api_key", "account_deactivated", "billing_hard_limit_reached"})
# Part of an ordinary conversation: two sides acting at the same moment.
_HARMLESS = frozenset(
    {
        "response_cancel_not_active",
        "conversation_already_has_active_response",
        "input_audio_buffer_commit_empty",
        "item_retrieve_invalid_item_id",
        "item_truncate_invalid_item_id",
        "item_delete_invalid_item_id",
        "session_expired",
    }
)
_RETRIES_MAX = 2  # responses in a row that the model failed to give


class ServerEvents(HandlerTable):
    def __init__(self, core: Core, tools: ToolDesk, guards: GuardDesk, mcp: McpTools, recovery: Recovery) -> None:
        self._core = core
        self._tools = tools
        self._guards = guards
        self._mcp = mcp
        self._recovery = recovery
        self._aside: set[str] = set()  # out-of-band responses, whose items are not in the conversation
        self._begun: set[str] = set()  # responses whose agent_start was told
        self._failures = 0
        self.usage = Tokens()
        self._handlers = self._table()

    def handle(self, event: Any) -> None:
        """One server event; what is not known here is passed on to the program as it is."""
        self._core.emit(TransportEventSeen(event=event))
        response_id = getattr(event, "response_id", None)
        if response_id is not None:
            self._core.responses.heard_of(response_id, self._core.now)
            if response_id in self._aside:
                return
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)

    def _table(self) -> dict[type, Callable[[Any], None]]:
        core, talk = self._core, self._core.conversation
        return {
            server.SessionCreated: self._session_told,
            server.SessionUpdated: self._session_told,
            server.ConversationItemCreated: self._item,
            server.ConversationItemAdded: self._item,
            server.ConversationItemDone: self._item_done,
            server.ConversationItemRetrieved: lambda e: core.emit(*talk.seen(e.item, None)),
            server.ConversationItemDeleted: lambda e: core.emit(*talk.deleted(e.item_id)),
            server.InputAudioTranscriptionDelta: self._user_words,
            server.InputAudioTranscriptionCompleted: self._user_transcript,
            server.InputAudioTranscriptionFailed: self._user_unheard,
            server.InputAudioBufferSpeechStarted: self._speech_started,
            server.InputAudioBufferSpeechStopped: lambda _: core.line.speech_stopped(core.now),
            server.InputAudioBufferTimeoutTriggered: lambda e: core.emit(InputTimeout(item_id=e.item_id)),
            server.InputAudioBufferDtmfEventReceived: lambda e: core.emit(Dtmf(digit=e.event)),
            server.ResponseCreated: self._response_created,
            server.ResponseDone: self._response_done,
            server.ResponseOutputItemAdded: self._output_item_added,
            server.ResponseOutputItemDone: self._output_item_done,
            server.ResponseOutputAudioTranscriptDelta: lambda e: self._spoke(e, e.delta, whole=False),
            server.ResponseOutputAudioTranscriptDone: lambda e: self._spoke(e, e.transcript, whole=True),
            server.ResponseOutputTextDelta: lambda e: self._wrote(e, e.delta, whole=False),
            server.ResponseOutputTextDone: lambda e: self._wrote(e, e.text, whole=True),
            server.ResponseOutputAudioDone: self._audio_done,
            server.ResponseMcpCallArgumentsDone: self._mcp_arguments,
            server.ResponseMcpCallInProgress: lambda e: self._mcp.call_started(e.item_id),
            server.ErrorEvent: self._error,
        }

    def _session_told(self, event: Any) -> None:
        self._core.line.configured(event.session)
        self._recovery.told(event.session)

    # -- items --

    def _item(self, event: Any) -> None:
        core = self._core
        core.emit(*core.conversation.seen(event.item, event.previous_item_id))
        if event.item.id is not None:
            core.responses.item_known(event.item.id)

    def _item_done(self, event: server.ConversationItemDone) -> None:
        self._item(event)
        self._complete(event.item, None)
        spoken = any(part.type in ("input_audio", "output_audio") for part in event.item.content or ())
        if self._core.settings.keep_audio and spoken and event.item.id is not None:
            # "retrieve: useful … for audio": items come without theirs unless they are asked for.
            event_id = self._core.ids.new("retrieve")
            self._core.send(client.ConversationItemRetrieve(event_id=event_id, item_id=event.item.id))

    def _output_item_added(self, event: server.ResponseOutputItemAdded) -> None:
        self._made(event.item, event.response_id)

    def _output_item_done(self, event: server.ResponseOutputItemDone) -> None:
        self._made(event.item, event.response_id)
        # "act on response.output_item.done with a function_call item whose status is completed"
        if event.item.type == "function_call" and event.item.status in ("completed", None):
            self._tools.called(event.item, event.response_id)
        self._complete(event.item, event.response_id)

    def _made(self, item: Item, response_id: str) -> None:
        core = self._core
        agent = core.agent_of(response_id).name
        core.emit(*core.conversation.seen(item, None, agent=agent, response_id=response_id))

    def _complete(self, item: Item, response_id: str | None) -> None:
        """Items of hosted MCP servers act when they are complete, whichever event says so first."""
        if item.type == "mcp_approval_request":
            self._tools.mcp_wants_approval(item, response_id)
        elif item.type == "mcp_list_tools":
            self._mcp.listed(item)
        elif item.type == "mcp_call":
            self._mcp.call_ended(item)

    def _mcp_arguments(self, event: server.ResponseMcpCallArgumentsDone) -> None:
        self._made(Item(type="mcp_call", id=event.item_id, arguments=event.arguments), event.response_id)

    # -- the caller --

    def _user_words(self, event: server.InputAudioTranscriptionDelta) -> None:
        core = self._core
        words = event.delta or ""
        core.emit(*core.conversation.transcribed(event.item_id, event.content_index or 0, words, whole=False))

    def _user_transcript(self, event: server.InputAudioTranscriptionCompleted) -> None:
        core = self._core
        core.emit(*core.conversation.transcribed(event.item_id, event.content_index, event.transcript, whole=True))
        if event.usage is not None:
            self._add_up(transcription_tokens(event.usage), event.item_id)

    def _user_unheard(self, event: server.InputAudioTranscriptionFailed) -> None:
        message = f"what the caller said was not transcribed: {event.error.get('message', event.error)}"
        self._core.problem(message, "model", code="transcription_failed", level="warning")

    def _speech_started(self, _: server.InputAudioBufferSpeechStarted) -> None:
        core = self._core
        core.line.speech_started(core.now)
        core.latest = None
        self._tools.caller_turn()
        # A transport that plays has reported the barge-in itself, before this event.
        if not core.line.server_interrupts:
            return
        core.interrupted()
        if core.settings.plays_audio:
            return
        if core.responses.active is not None:
            core.silence(core.responses.active)
        if core.stop_program_playback("speech"):
            self._tools.cut_short()

    # -- responses --

    def _response_created(self, event: server.ResponseCreated) -> None:
        core = self._core
        began = core.responses.began(event.response, core.now)
        if began.ask is not None and began.ask.aside:
            self._aside.add(began.response_id)
            return
        core.reply_began(began.response_id)
        speaks = core.line.server_interrupts and core.line.caller_speaks(core.now)
        if began.orphan or (began.ask is not None and speaks):
            if began.ask is not None and not began.orphan:
                core.responses.put_back(began.ask)
            core.drop(began.response_id)
            event_id = core.ids.new("cancel")
            core.send(client.ResponseCancel(event_id=event_id, response_id=began.response_id))
            return
        core.latest = began.response_id
        self._begun.add(began.response_id)
        core.line.reply_came()
        core.emit(AgentStart(agent=core.agent.name, response_id=began.response_id))

    def _response_done(self, event: server.ResponseDone) -> None:
        core, response = self._core, event.response
        response_id = response.id or ""
        self._count(response)
        if response_id in self._aside:
            self._aside.discard(response_id)
            core.responses.ended(response_id)
            return
        for item in response.output:
            self._made(item, response_id)
            if item.type == "function_call" and item.status == "completed":
                self._tools.called(item, response_id)
        core.responses.ended(response_id)
        self._guards.response_ended(response_id)
        # Of one that was dropped, too: it may have been complete before it could be cancelled.
        if response.status == "cancelled" or core.was_interrupted(response_id) or core.is_dropped(response_id):
            self._cut_off(response)
        if response.status == "failed":
            self._failed(response)
        else:
            self._failures = 0
        if response_id in self._begun:
            self._begun.discard(response_id)
            agent = core.agent_of(response_id).name
            output = core.conversation.output_of(response_id)
            core.emit(
                AgentEnd(agent=agent, response_id=response_id, output=output, status=response.status or "completed")
            )

    def _cut_off(self, response: Response) -> None:
        """What was written of a reply that was cut off, but never came as audio, the caller did not hear."""
        core = self._core
        response_id = response.id or ""
        for item in core.conversation.history:
            if item.response_id != response_id or item.cut:
                continue
            for index, _ in enumerate(item.content):
                spoken = core.conversation.spoken(item.item_id, index)
                if spoken is not None and spoken.audio_ms == 0 and spoken.text:
                    cut = ItemCut(
                        response_id=response_id, item_id=item.item_id, content_index=index, heard_ms=0, audio_ms=0
                    )
                    core.cut((cut,))
        if response.status_details is not None and response.status_details.reason == "turn_detected":
            self._tools.cut_short()

    def _failed(self, response: Response) -> None:
        """The model gave up: the caller hears nothing, unless somebody asks again."""
        core = self._core
        error = (response.status_details.error if response.status_details else None) or {}
        code = error.get("code") or error.get("type")
        fatal = code in _FATAL
        message = f"the model failed to answer: {error.get('message', 'no reason given')}"
        core.problem(message, "model", code=code, fatal=fatal)
        if fatal:
            core.do(Close(reason=message, error=message))
            return
        self._failures += 1
        if self._failures <= _RETRIES_MAX and not core.conversation.output_of(response.id or ""):
            core.responses.want()

    def _count(self, response: Response) -> None:
        if response.usage is None:
            return
        self._add_up(tokens_of(response.usage), response.id or "")

    def _add_up(self, turn: Tokens, what: str) -> None:
        self.usage += turn
        price = self._core.settings.price
        spent = None if price is None else cost(self.usage, price)
        self._core.emit(UsageUpdated(response_id=what, turn=turn, total=self.usage, cost=spent))

    # -- an assistant's words --

    def _spoke(self, event: Any, words: str, *, whole: bool) -> None:
        core, key = self._core, (event.item_id, event.content_index)
        core.emit(*core.conversation.spoke(*key, words, whole=whole))
        spoken = core.conversation.spoken(*key)
        if spoken is not None:
            self._guards.spoke(key, event.response_id, spoken.text, whole=whole)

    def _wrote(self, event: Any, words: str, *, whole: bool) -> None:
        core, key = self._core, (event.item_id, event.content_index)
        core.emit(*core.conversation.wrote(*key, words, whole=whole))
        item = core.conversation.get(event.item_id)
        if item is not None and event.content_index < len(item.content):
            text = item.content[event.content_index].text or ""
            self._guards.spoke(key, event.response_id, text, whole=whole)

    def _audio_done(self, event: server.ResponseOutputAudioDone) -> None:
        core = self._core
        core.conversation.audio_complete(event.item_id, event.content_index)
        if not core.settings.plays_audio and not core.is_dropped(event.response_id):
            agent = core.agent_of(event.response_id).name
            core.emit(AudioStopped(agent=agent, response_id=event.response_id, item_id=event.item_id))

    # -- errors --

    def _error(self, event: server.ErrorEvent) -> None:
        """ "Most errors leave the session usable": they are told, and the conversation goes on."""
        core, error = self._core, event.error
        refusal = core.responses.refused(error.event_id, error.code, core.now)
        ours = error.event_id if error.event_id is not None else ""
        if core.conversation.get(ours) is not None:
            core.emit(*core.conversation.deleted(ours))  # a message the model did not take
        fatal = error.code in _FATAL or error.type in _FATAL
        harmless = error.code in _HARMLESS or refusal == "retried"
        level: Literal["warning", "error"] = "warning" if harmless and not fatal else "error"
        core.problem(error.message, "model", code=error.code or error.type, level=level, fatal=fatal)
        if fatal:
            core.do(Close(reason=error.message, error=error.message))
