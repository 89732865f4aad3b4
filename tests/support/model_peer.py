"""A realtime model in virtual time, for the session core's simulation: strict about the protocol, random in what it says.

It keeps the rules of the API (one active response, items by id, each call answered once) and notes every breach. Words
and audio come interleaved, each word just before its own audio, so it is known which words a caller has heard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import msgspec

from realtime_bridge.wire import ContentPart, Item, Response, ResponseStatusDetails, Usage, client, server

WORD_MS = 300
SENTENCE = "the order is on its way and will be there by noon tomorrow if the weather holds so please stay at home"
WORDS = SENTENCE.split()


@dataclass
class Reply:
    """The response in progress."""

    response_id: str
    metadata: dict[str, str] | None
    cancelled: bool = False
    output: list[Item] = field(default_factory=list)
    spoken: dict[str, str] = field(default_factory=dict)  # item id -> words so far


class ModelPeer:
    """`say(event, delay_s)` hands the world an event to deliver; `later(delay_s, action)` has the peer do something."""

    def __init__(
        self,
        random: Random,
        say: Callable[[server.KnownServerEvent], None],
        later: Callable[[float, Callable[[], None]], None],
        new_id: Callable[[str], str],
        tools: Callable[[], list[str]],
        *,
        echoes_metadata: bool = True,
    ) -> None:
        self._random = random
        self._say = say
        self._later = later
        self._new_id = new_id
        self._tools = tools
        self._echoes = echoes_metadata
        self.items: dict[str, Item] = {}
        self.active: Reply | None = None
        self.calls: set[str] = set()
        self.answers: dict[str, int] = {}  # call id -> how often it was answered
        self.audio_ms: dict[str, int] = {}
        self.breaches: list[str] = []
        self.begins = 0
        self.turns_to_answer = 0  # the caller's, with no reply begun since
        self.alive = True
        self._hears_speech = False
        self.tool_share = 0.4

    # -- the caller --

    def speech_started(self, item_id: str) -> None:
        self._hears_speech = True
        self._say(server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id=item_id))
        if self.active is not None:
            self._cancel("turn_detected")

    def speech_stopped(self, item_id: str, transcript: str) -> None:
        self._hears_speech = False
        self._say(server.InputAudioBufferSpeechStopped(audio_end_ms=1, item_id=item_id))
        self._say(server.InputAudioBufferCommitted(item_id=item_id))
        item = Item(
            type="message", id=item_id, role="user", status="completed", content=(ContentPart(type="input_audio"),)
        )
        self._add(item)
        self.turns_to_answer += 1
        self._later(
            self._random.uniform(0.1, 0.9),
            lambda: self._say(
                server.InputAudioTranscriptionCompleted(item_id=item_id, content_index=0, transcript=transcript)
            ),
        )
        self._later(self._random.uniform(0.0, 0.4), self._reply_to_caller)

    def idle_timeout(self) -> None:
        """The caller has been silent for too long: the model speaks up by itself."""
        if self.active is None and not self._hears_speech:
            self._say(server.InputAudioBufferTimeoutTriggered(audio_start_ms=0, audio_end_ms=1, item_id="none"))
            self._begin(None)

    def _reply_to_caller(self) -> None:
        if self.active is None and self.turns_to_answer and not self._hears_speech:
            self._begin(None)

    # -- the client --

    def receive(self, event: Any) -> None:
        match event:
            case client.SessionUpdate():
                self._say(server.SessionUpdated(session=event.session))
            case client.ResponseCreate():
                self._create(event)
            case client.ResponseCancel():
                self._cancel_wanted(event)
            case client.ConversationItemCreate():
                self._create_item(event)
            case client.ConversationItemDelete():
                gone = self.items.pop(event.item_id, None)
                if gone is None:
                    self._error(event, "item_delete_invalid_item_id")
                else:
                    if gone.type == "function_call_output":
                        self.answers[gone.call_id or ""] -= 1
                    self._say(server.ConversationItemDeleted(item_id=event.item_id))
            case client.ConversationItemTruncate():
                self._truncate(event)
            case _:
                raise AssertionError(event)

    def _create(self, event: client.ResponseCreate) -> None:
        if self.active is not None:
            self._error(event, "conversation_already_has_active_response")
            return
        self._begin(
            (event.response or {}).get("metadata"), no_tools=(event.response or {}).get("tool_choice") == "none"
        )

    def _cancel_wanted(self, event: client.ResponseCancel) -> None:
        if self.active is None or event.response_id not in (None, self.active.response_id):
            self._error(event, "response_cancel_not_active")
        else:
            self._cancel("client_cancelled")

    def _create_item(self, event: client.ConversationItemCreate) -> None:
        item = event.item
        assert item.id is not None
        if item.id in self.items:
            self.breaches.append(f"item {item.id} was created twice")
        if item.type == "function_call":
            self.calls.add(item.call_id or "")
        if item.type == "function_call_output":
            call_id = item.call_id or ""
            if call_id not in self.calls:
                self.breaches.append(f"an answer to {call_id}, which was never called")
            self.answers[call_id] = self.answers.get(call_id, 0) + 1
        if event.previous_item_id not in (None, "root", *self.items):
            self.breaches.append(f"item {item.id} put behind {event.previous_item_id}, which is not there")
        self._add(item, event.previous_item_id)

    def _truncate(self, event: client.ConversationItemTruncate) -> None:
        if event.item_id not in self.items:
            self._error(event, "item_truncate_invalid_item_id")
        elif event.audio_end_ms > self.audio_ms.get(event.item_id, 0):
            self.breaches.append(
                f"{event.item_id} truncated at {event.audio_end_ms} of {self.audio_ms.get(event.item_id)}"
            )

    # -- replies --

    def _begin(self, metadata: dict[str, str] | None, *, no_tools: bool = False) -> None:
        self.turns_to_answer = 0
        self.begins += 1
        reply = self.active = Reply(self._new_id("resp"), metadata if self._echoes else None)
        self._say(
            server.ResponseCreated(
                response=Response(
                    id=reply.response_id, status="in_progress", conversation_id="conv", metadata=reply.metadata
                )
            )
        )
        steps: list[Callable[[], None]] = []
        if self._random.random() < 0.85:
            steps += self._speech(reply)
        names = [] if no_tools else self._tools()
        if names and self._random.random() < self.tool_share:
            for _ in range(self._random.choice((1, 1, 2))):
                steps.append(self._call(reply, self._random.choice(names)))
        steps.append(lambda: self._end(reply, "completed", None))
        self._run(reply, steps)

    def _run(self, reply: Reply, steps: list[Callable[[], None]]) -> None:
        if reply.cancelled or not self.alive or not steps:
            return
        steps.pop(0)()
        self._later(self._random.uniform(0.01, 0.12), lambda: self._run(reply, steps))

    def _speech(self, reply: Reply) -> list[Callable[[], None]]:
        item_id = self._new_id("item")
        words = [self._random.choice(WORDS) for _ in range(self._random.randint(3, 25))]
        where: dict[str, Any] = {"response_id": reply.response_id, "output_index": 0}
        part: dict[str, Any] = {**where, "item_id": item_id, "content_index": 0}

        def start() -> None:
            item = Item(type="message", id=item_id, role="assistant", status="in_progress", content=())
            reply.output.append(item)
            self._say(server.ResponseOutputItemAdded(item=item, **where))
            self._add(item)

        def word(index: int) -> Callable[[], None]:
            def step() -> None:
                delta = words[index] if index == 0 else " " + words[index]
                reply.spoken[item_id] = reply.spoken.get(item_id, "") + delta
                self.audio_ms[item_id] = self.audio_ms.get(item_id, 0) + WORD_MS
                self._say(server.ResponseOutputAudioTranscriptDelta(delta=delta, **part))
                self._say(server.ResponseOutputAudioDelta(delta="AAAA", **part))

            return step

        def finish() -> None:
            text = reply.spoken[item_id]
            item = Item(
                type="message",
                id=item_id,
                role="assistant",
                status="completed",
                content=(ContentPart(type="output_audio", transcript=text),),
            )
            reply.output[-1] = item
            self._say(server.ResponseOutputAudioTranscriptDone(transcript=text, **part))
            self._say(server.ResponseOutputAudioDone(**part))
            self._say(server.ResponseOutputItemDone(item=item, **where))
            self._say(server.ConversationItemDone(item=item))

        return [start, *(word(index) for index in range(len(words))), finish]

    def _call(self, reply: Reply, name: str) -> Callable[[], None]:
        def step() -> None:
            item = Item(
                type="function_call",
                id=self._new_id("item"),
                call_id=self._new_id("call"),
                name=name,
                arguments=f'{{"n":{self._random.randint(0, 9)}}}',
                status="completed",
            )
            self.calls.add(item.call_id or "")
            where: dict[str, Any] = {"response_id": reply.response_id, "output_index": len(reply.output)}
            reply.output.append(item)
            growing = msgspec.structs.replace(item, status="in_progress", arguments="")
            self._say(server.ResponseOutputItemAdded(item=growing, **where))
            self._add(item)
            self._say(server.ResponseOutputItemDone(item=item, **where))
            if self._random.random() < 0.1:  # the same call delivered twice
                self._say(server.ResponseOutputItemDone(item=item, **where))

        return step

    def _cancel(self, reason: str) -> None:
        assert self.active is not None
        reply = self.active
        reply.cancelled = True
        if reply.output and reply.output[-1].status == "in_progress":
            growing = reply.output[-1]
            text = reply.spoken.get(growing.id or "", "")
            content = (ContentPart(type="output_audio", transcript=text),)
            reply.output[-1] = msgspec.structs.replace(growing, status="incomplete", content=content)
        self._end(reply, "cancelled", reason)

    def _end(self, reply: Reply, status: Any, reason: str | None) -> None:
        if self.active is reply:
            self.active = None
        details = None if reason is None else ResponseStatusDetails(type="cancelled", reason=reason)
        response = Response(
            id=reply.response_id,
            status=status,
            status_details=details,
            conversation_id="conv",
            metadata=reply.metadata,
            output=tuple(reply.output),
            usage=Usage(total_tokens=3, input_tokens=2, output_tokens=1),
        )
        self._say(server.ResponseDone(response=response))
        if self.turns_to_answer:
            self._later(0.1, self._reply_to_caller)

    # -- inside --

    def _add(self, item: Item, previous: str | None = None) -> None:
        assert item.id is not None
        if previous is None:
            previous = next(reversed(self.items), None)
        self.items[item.id] = item
        self._say(server.ConversationItemAdded(item=item, previous_item_id=previous))

    def _error(self, event: Any, code: str) -> None:
        detail = server.ErrorDetail(type="invalid_request_error", message=code, code=code, event_id=event.event_id)
        self._say(server.ErrorEvent(error=detail))
