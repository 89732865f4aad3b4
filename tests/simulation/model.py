"""A realtime model that does as it is told, in virtual time: a schedule of replies and of the caller's turns.

It speaks the Realtime API's server side as far as audio, barge-in and truncation go. Each item's audio is one steady level
of its own, so that what a phone heard can be told apart by item, byte by byte.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pybase64

from realtime_bridge.audio.g711 import mulaw_to_pcm16
from realtime_bridge.wire import ContentPart, Item, Response, ResponseStatusDetails, ServerEvent, client, server

BYTES_PER_MS = {"pcmu": 8, "pcm": 48}
FORMATS = {"pcmu": {"type": "audio/pcmu"}, "pcm": {"type": "audio/pcm", "rate": 24000}}

# Codes this far apart stay apart through resampling; the loudest 23 of the positive half, silence (0xFF) far away.
_CODE_FIRST, _CODE_STEP, _CODES = 0x80, 5, 23
_CODE_TOLERANCE = 2


@dataclass(frozen=True)
class Reply:
    """`items_ms`: the length of each item. `speed`: generated audio per real time, 1.0 as it is played.

    `latency_ms`: from the reply's turn to its first audio. `delta_ms`: audio per delta. `hiccup_ms`: how long generation
    halts in the middle of each item. A reply waits for the one before.
    """

    items_ms: tuple[int, ...]
    delta_ms: int = 200
    speed: float = 5.0
    latency_ms: float = 300.0
    hiccup_ms: float = 0.0
    in_conversation: bool = True


@dataclass(frozen=True)
class CallerSpeaks:
    """The model's turn detection hears the caller for so long."""

    ms: float = 800.0


@dataclass(frozen=True)
class Scenario:
    """What happens in one call. `events`: at which second of the call."""

    events: tuple[tuple[float, Reply | CallerSpeaks], ...]
    seconds: float
    audio: str = "pcmu"
    interrupt_response: bool = True
    late_deltas: int = 2  # that still come of a reply after it was cancelled
    ready_after_s: float = 0.2  # from the start of the call to the model's socket being open


@dataclass
class SentItem:
    """An item's audio as far as it was sent, and what the client said about it."""

    item_id: str
    response_id: str
    code: int  # of its level, in mu-law
    in_conversation: bool
    planned_ms: int
    sent_bytes: int = 0
    truncated_ms: int | None = None


@dataclass
class _Running:
    response_id: str
    reply: Reply
    steps: deque[tuple[float, ServerEvent, SentItem | None]]
    items: list[SentItem] = field(default_factory=list)
    cancelled: bool = False


class ScriptedModel:
    """`receive` client events, `advance` to collect server events; `next_event_at` says when."""

    def __init__(self, scenario: Scenario, starts_at: float) -> None:
        self.items: list[SentItem] = []
        self.input = bytearray()  # caller audio as appended, in the session's format
        self.errors: list[tuple[float, server.ErrorDetail]] = []
        self.cancels: list[str | None] = []
        self._scenario = scenario
        self._rate = BYTES_PER_MS[scenario.audio]
        self._plan = [(starts_at + at, n, what) for n, (at, what) in enumerate(scenario.events)]
        heapq.heapify(self._plan)
        self._waiting: deque[Reply] = deque()
        self._running: _Running | None = None
        self._outbox: list[tuple[float, int, ServerEvent]] = []
        self._count = 0

    # ---- time --------------------------------------------------------------------------------------------------------

    def next_event_at(self) -> float | None:
        due = [queue[0][0] for queue in (self._plan, self._outbox) if queue]
        if self._running is not None:
            due.append(self._running.steps[0][0])
        return min(due, default=None)

    def advance(self, now: float) -> list[ServerEvent]:
        """All events up to now, in order of time."""
        events: list[ServerEvent] = []
        while (at := self.next_event_at()) is not None and at <= now:
            if self._outbox and self._outbox[0][0] == at:
                events.append(heapq.heappop(self._outbox)[2])
            elif self._running is not None and self._running.steps[0][0] == at:
                events.append(self._step(self._running, at))
            else:
                self._begin(heapq.heappop(self._plan)[2], at)
        return events

    def _begin(self, what: Reply | CallerSpeaks, at: float) -> None:
        if isinstance(what, Reply):
            self._waiting.append(what)
            self._start_next(at)
            return
        item_id = f"caller_{self._number()}"
        heard_ms = len(self.input) // self._rate
        self._say(at, server.InputAudioBufferSpeechStarted(audio_start_ms=heard_ms, item_id=item_id))
        if self._scenario.interrupt_response:
            self._waiting.clear()
            self._cancel(at, "turn_detected")
        end = at + what.ms / 1000
        heard_ms += round(what.ms)
        self._say(end, server.InputAudioBufferSpeechStopped(audio_end_ms=heard_ms, item_id=item_id))
        self._say(end, server.InputAudioBufferCommitted(item_id=item_id))

    def _say(self, at: float, event: ServerEvent) -> None:
        heapq.heappush(self._outbox, (at, self._number(), event))

    def _number(self) -> int:
        self._count += 1
        return self._count

    # ---- replies -----------------------------------------------------------------------------------------------------

    def _start_next(self, at: float) -> None:
        if self._running is None and self._waiting:
            reply = self._waiting.popleft()
            running = _Running(f"resp_{self._number()}", reply, deque())
            running.steps.extend(self._steps(running, at))
            self._running = running

    def _steps(self, running: _Running, at: float) -> Iterator[tuple[float, ServerEvent, SentItem | None]]:
        reply = running.reply
        yield at, server.ResponseCreated(response=self._response(running, "in_progress")), None
        at += reply.latency_ms / 1000
        for index, ms in enumerate(reply.items_ms):
            code = _CODE_FIRST + _CODE_STEP * len(self.items)
            assert len(self.items) < _CODES, "a scenario may have 23 items: levels must not be used twice"
            item = SentItem(f"item_{self._number()}", running.response_id, code, reply.in_conversation, ms)
            running.items.append(item)
            self.items.append(item)
            part = {"response_id": item.response_id, "item_id": item.item_id, "output_index": index, "content_index": 0}
            added = self._item(item, "in_progress")
            yield at, server.ResponseOutputItemAdded(response_id=item.response_id, output_index=index, item=added), None
            if reply.in_conversation:
                yield at, server.ConversationItemAdded(item=added), None
            yield at, server.ResponseContentPartAdded(**part, part=ContentPart(type="audio")), None
            for sent_ms in range(0, ms, reply.delta_ms):
                delta_ms = min(reply.delta_ms, ms - sent_ms)
                yield at, server.ResponseOutputAudioTranscriptDelta(**part, delta="word "), None
                yield at, server.ResponseOutputAudioDelta(**part, delta=self._audio(code, delta_ms)), item
                at += delta_ms / 1000 / reply.speed
                if sent_ms < ms / 2 <= sent_ms + delta_ms:
                    at += reply.hiccup_ms / 1000
            for event in self._item_end(item, index, "completed"):
                yield at, event, None
        yield at, server.ResponseDone(response=self._response(running, "completed")), None

    def _step(self, running: _Running, at: float) -> ServerEvent:
        _, event, item = running.steps.popleft()
        if item is not None:
            assert isinstance(event, server.ResponseOutputAudioDelta)
            item.sent_bytes += len(pybase64.b64decode(event.delta))
        if not running.steps:
            self._running = None
            self._start_next(at)
        return event

    def _cancel(self, at: float, reason: str) -> bool:
        """Stop generating: some deltas are on their way already, then comes `response.done`."""
        running = self._running
        if running is None or running.cancelled:
            return False
        running.cancelled = True
        late: list[tuple[ServerEvent, SentItem | None]] = []
        for _, event, item in running.steps:
            if sum(of is not None for _, of in late) == self._scenario.late_deltas or isinstance(
                event, server.ResponseDone
            ):
                break
            late.append((event, item))
        begun = [item for item in running.items if item.sent_bytes or any(item is of for _, of in late)]
        if begun:
            late += [(event, None) for event in self._item_end(begun[-1], running.items.index(begun[-1]), "incomplete")]
        running.steps.clear()
        details = ResponseStatusDetails(type="cancelled", reason=reason)
        late.append((server.ResponseDone(response=self._response(running, "cancelled", details)), None))
        running.steps.extend((at + 0.002 * (n + 1), event, item) for n, (event, item) in enumerate(late))
        return True

    def _item_end(self, item: SentItem, index: int, status: str) -> Iterator[ServerEvent]:
        part = {"response_id": item.response_id, "item_id": item.item_id, "output_index": index, "content_index": 0}
        yield server.ResponseOutputAudioDone(**part)
        yield server.ResponseContentPartDone(**part, part=ContentPart(type="audio"))
        done = self._item(item, status)
        yield server.ResponseOutputItemDone(response_id=item.response_id, output_index=index, item=done)

    def _response(self, running: _Running, status: str, details: ResponseStatusDetails | None = None) -> Response:
        return Response(
            id=running.response_id,
            status=status,
            status_details=details,
            conversation_id="conv_1" if running.reply.in_conversation else None,
        )

    def _item(self, item: SentItem, status: str) -> Item:
        return Item(type="message", id=item.item_id, role="assistant", status=status)

    def _audio(self, code: int, ms: int) -> str:
        mulaw = bytes([code]) * (ms * 8)
        if self._scenario.audio == "pcmu":
            return pybase64.b64encode(mulaw).decode()
        level = np.frombuffer(mulaw_to_pcm16(mulaw[:1]), np.int16)
        return pybase64.b64encode(np.repeat(level, ms * 24).tobytes()).decode()

    # ---- the client --------------------------------------------------------------------------------------------------

    def receive(self, event: client.ClientEvent, now: float) -> None:
        match event:
            case client.InputAudioBufferAppend():
                self.input += pybase64.b64decode(event.audio, None, True)
            case client.SessionUpdate():
                self._say(now, server.SessionUpdated(session=event.session))
            case client.ConversationItemTruncate():
                self._truncate(event, now)
            case client.ResponseCancel():
                self.cancels.append(event.response_id)
                if not self._cancel(now, "client_cancelled"):
                    self._refuse(event, now, "response_cancel_not_active", "no active response found")
            case client.ResponseCreate():
                if self._running is not None:
                    self._refuse(event, now, "conversation_already_has_active_response", "a response is active")
            case _:
                pass

    def _truncate(self, event: client.ConversationItemTruncate, now: float) -> None:
        item = next((item for item in self.items if item.item_id == event.item_id), None)
        sent_ms = item.sent_bytes // self._rate if item is not None else 0
        if item is None or not item.in_conversation:
            self._refuse(event, now, "invalid_value", f"Item with item_id '{event.item_id}' not found.")
        elif sent_ms == 0:
            self._refuse(event, now, "invalid_value", "Only model output audio messages can be truncated")
        elif event.audio_end_ms > sent_ms:
            message = f"Audio content of {sent_ms}ms is already shorter than {event.audio_end_ms}ms"
            self._refuse(event, now, "invalid_value", message)
        else:
            item.truncated_ms = event.audio_end_ms
            truncated = server.ConversationItemTruncated(
                item_id=event.item_id, content_index=event.content_index, audio_end_ms=event.audio_end_ms
            )
            self._say(now, truncated)

    def _refuse(self, event: client.ClientEvent, now: float, code: str, message: str) -> None:
        detail = server.ErrorDetail(
            type="invalid_request_error", code=code, message=message, event_id=event.event_id or None
        )
        self.errors.append((now, detail))
        self._say(now, server.ErrorEvent(error=detail))


def heard_ms(item: SentItem, heard: bytes) -> float:
    """How much of this item is in these mu-law bytes."""
    codes = np.frombuffer(heard, np.uint8).astype(int)
    return float(np.count_nonzero(np.abs(codes - item.code) <= _CODE_TOLERANCE)) / 8
