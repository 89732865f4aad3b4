"""One session of the Realtime API, server side: a client's events in, the API's events and requests for work out.

Pure. Time is an argument (`now`: monotonic seconds), ids come from `new_id`, and what takes time is asked for (see
`work`), so the same inputs give the same commands. Drive it like this:

    commands = session.open(now)
    commands = session.receive(frame, now)      # a client's text frame; `receive_event` for one already decoded
    commands = session.take(result, now)        # what became of a `Recognise`, `Ask` or `Speak`
    commands = session.tick(now)                # whenever `session.next_deadline()` has come

`InlineModel` does so in virtual time, `connection` on a socket.

This module routes. The conversation's items are in `conversation`, one response's events in `reply`, the caller's audio
in `input_audio`, settings in `session_config`, what a client brings in `brought`, and refusals in `refusals`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Any, assert_never

import msgspec

from realtime_bridge.errors import ProtocolError
from realtime_bridge.localmodel import whole
from realtime_bridge.localmodel.brought import audio_bytes, entry_of, item_from
from realtime_bridge.localmodel.conversation import Conversation, Entry, Part, Sound
from realtime_bridge.localmodel.formats import FormatName, bytes_per_ms
from realtime_bridge.localmodel.input_audio import InputAudio
from realtime_bridge.localmodel.parts import Vad
from realtime_bridge.localmodel.refusals import Refusal, refusal_of
from realtime_bridge.localmodel.replies import Replies
from realtime_bridge.localmodel.reply import Pace
from realtime_bridge.localmodel.semantic import patience_ms
from realtime_bridge.localmodel.session_config import (
    ResponseParams,
    SemanticVad,
    ServerVad,
    SessionConfig,
    response_params,
)
from realtime_bridge.localmodel.turns import SpeechPaused, SpeechStarted, SpeechStopped, TurnEvent, TurnSettings
from realtime_bridge.localmodel.usage import transcription_usage
from realtime_bridge.localmodel.work import (
    Close,
    Command,
    Recognise,
    Recognised,
    RecognitionFailed,
    Result,
    Send,
)
from realtime_bridge.wire import ClientEvent, Item, ServerEvent, client, decode_client_event, server

COMMIT_MS_MIN = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """What one session may hold and how long it may last.

    `items_max`, `audio_bytes_max`: of the conversation; the oldest goes first. `input_seconds_max`: of audio in the
    buffer; a turn that grows so long is ended, other audio refused. `out_of_band_max`: responses at a time.
    """

    session_seconds: float = 3600.0
    items_max: int = 2000
    audio_bytes_max: int = 64 * 1024 * 1024
    input_seconds_max: int = 300
    out_of_band_max: int = 8


@dataclass(frozen=True, slots=True)
class _Listening:
    """A recognition under way: of one part of an item, or (`pause`) of a turn that may be over.

    `tell`: the client is to have the words too, if it wants transcripts: of what came through the buffer.
    """

    entry: Entry | None = None
    index: int = 0
    tell: bool = False
    pause: SpeechPaused | None = None


class ModelSession:
    """See the module. `expires_at`: Unix seconds, as told to the client."""

    def __init__(
        self,
        *,
        model: str,
        vad: Vad,
        new_id: Callable[[str], str],
        now: float,
        expires_at: int = 0,
        pace: Pace | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._new_id = new_id
        self._id = new_id("sess")
        self._conversation_id = new_id("conv")
        self._expires_at = expires_at
        self._config = SessionConfig(model=model)
        self._conversation = Conversation(
            items_max=self._limits.items_max, audio_bytes_max=self._limits.audio_bytes_max
        )
        self._input = InputAudio(vad, self._config.input_format, self._turn_settings())
        self._turn_id: str | None = None  # id of the item that the open turn will become
        self._turn_start_ms = 0
        self._pause: SpeechPaused | None = None  # the open turn's last
        self._words_at_pause: str | None = None
        self._listening: dict[str, _Listening] = {}
        self._expiry = now + self._limits.session_seconds
        self._idle_at: float | None = None
        self._out: list[Command] = []
        self._replies = Replies(
            self._conversation,
            self._conversation_id,
            out_of_band_max=self._limits.out_of_band_max,
            pace=pace or Pace(),
            give=self._out.append,
            new_id=new_id,
        )

    # The four inputs

    def open(self, now: float) -> list[Command]:
        """The events with which a session begins."""
        self._send(server.SessionCreated(session=self._session_object()))
        conversation = {"id": self._conversation_id, "object": "realtime.conversation"}
        self._send(server.ConversationCreated(conversation=conversation))
        return self._settle(now)

    def receive(self, frame: str | bytes, now: float) -> list[Command]:
        """Take one text frame. Never raises: what is wrong with it is told to the client."""
        try:
            event = decode_client_event(frame)
        except ProtocolError as e:
            self._refuse(refusal_of(str(e.__cause__)), _event_id_in(frame))
        except (RecursionError, UnicodeError):
            self._refuse(Refusal("Invalid event: failed to parse JSON value.", code="invalid_json"), None)
        else:
            return self.receive_event(event, now)
        return self._settle(now)

    def receive_event(self, event: ClientEvent, now: float) -> list[Command]:
        """Take one client event."""
        try:
            self._obey(event)
        except Refusal as refusal:
            self._refuse(refusal, event.event_id)
        except RecursionError:
            self._refuse(Refusal("Invalid event: nested too deeply.", code="invalid_value"), event.event_id)
        return self._settle(now)

    def refuse_frame(self, problem: str, now: float) -> list[Command]:
        """Tell the client that a frame was no text."""
        self._refuse(Refusal(problem, code="invalid_event"), None)
        return self._settle(now)

    def take(self, result: Result, now: float) -> list[Command]:
        """Take what became of a command. Results that came too late are ignored."""
        match result:
            case Recognised(key, text):
                self._recognised(key, text, None)
            case RecognitionFailed(key, message):
                self._recognised(key, "", message)
            case _:
                self._replies.take(result, now)
        return self._settle(now)

    def next_deadline(self) -> float:
        """When `tick` must be called, unless an input comes before."""
        return min(self._expiry, *self._replies.due, inf if self._idle_at is None else self._idle_at)

    def tick(self, now: float) -> list[Command]:
        """Do what has become due. Calling it too early does no harm."""
        self._replies.tick(now)
        if self._idle_at is not None and self._idle_at <= now:
            self._idle_timeout()
        if self._expiry <= now:
            self._expire()
        return self._settle(now)

    # Client events

    def _obey(self, event: ClientEvent) -> None:
        match event:
            case client.InputAudioBufferAppend(audio=audio):
                self._append(audio_bytes(audio, self._input.format, param="audio"))
            case client.SessionUpdate(session=changes):
                self._update(changes)
            case client.InputAudioBufferCommit():
                self._commit()
            case client.InputAudioBufferClear():
                self._input.take_all()
                self._turn_id = None
                self._send(server.InputAudioBufferCleared())
            case client.ConversationItemCreate(item=item, previous_item_id=after):
                self._create_item(item, after)
            case client.ConversationItemRetrieve(item_id=item_id):
                self._send(server.ConversationItemRetrieved(item=self._conversation.retrieve(item_id)))
            case client.ConversationItemDelete(item_id=item_id):
                self._conversation.delete(item_id)
                self._send(server.ConversationItemDeleted(item_id=item_id))
            case client.ConversationItemTruncate(item_id=item_id, content_index=index, audio_end_ms=end_ms):
                self._conversation.truncate(item_id, index, end_ms)
                truncated = server.ConversationItemTruncated(item_id=item_id, content_index=index, audio_end_ms=end_ms)
                self._send(truncated)
            case client.ResponseCreate(response=raw):
                self._respond(response_params(raw))
            case client.ResponseCancel(response_id=response_id):
                self._cancel(response_id)
            case client.OutputAudioBufferClear():
                message = "'output_audio_buffer.clear' is for WebRTC and SIP connections only."
                raise Refusal(message, code="invalid_value", param="type")
            case _:
                assert_never(event)

    def _update(self, changes: dict[str, Any]) -> None:
        turn_settings = self._turn_settings()
        self._config = self._config.updated(changes, voice_is_set=self._replies.assistant_spoke)
        self._input.configure(self._config.input_format, self._turn_settings())
        if turn_settings != self._turn_settings():
            self._pause = self._words_at_pause = None  # the new detector may end the turn without another pause
        if not self._input.speaking:
            self._turn_id = None
        if self._idle_timeout_ms is None:
            self._idle_at = None
        self._send(server.SessionUpdated(session=self._session_object()))

    def _append(self, audio: bytes) -> None:
        seconds = (self._input.ms + len(audio) / bytes_per_ms(self._input.format)) / 1000
        if seconds > self._limits.input_seconds_max:
            if not self._input.speaking:
                message = f"Input audio buffer is full: it holds {self._limits.input_seconds_max} seconds at most."
                raise Refusal(message, code="input_audio_buffer_full", param="audio")
            self._end_turn(self._input.end_ms)
            self._input.take_all()
        self._turn_events(self._input.append(audio))

    def _commit(self) -> None:
        if self._input.ms < COMMIT_MS_MIN:
            message = (
                f"Error committing input audio buffer: buffer too small. Expected at least {COMMIT_MS_MIN}ms of audio, "
                f"but buffer only has {self._input.ms:.2f}ms of audio."
            )
            raise Refusal(message, code="input_audio_buffer_commit_empty")
        self._listen_to(self._add_spoken_item(self._input.take_all()), is_speech=False, tell=True)

    def _create_item(self, item: Item, after: str | None) -> None:
        entry = entry_of(item, self._input.format, self._new_id)
        if item.type == "function_call_output" and not self._has_call(item.call_id):
            message = f"Tool call ID '{item.call_id}' not found in conversation."
            raise Refusal(message, code="invalid_tool_call_id", param="item.call_id")
        self._add_item(entry, after)
        self._listen_to(entry, is_speech=False, tell=False)

    def _cancel(self, response_id: str | None) -> None:
        reply = self._replies.current if response_id is None else self._replies.find(response_id)
        if reply is None:
            raise Refusal("Cancellation failed: no active response found", code="response_cancel_not_active")
        reply.cancel("client_cancelled")

    # The caller's turns

    def _turn_events(self, events: Iterable[TurnEvent]) -> None:
        for event in events:
            match event:
                case SpeechStarted(start_ms):
                    self._begin_turn(start_ms)
                case SpeechPaused(start_ms, end_ms):
                    self._pause, self._words_at_pause = event, None
                    said = self._input.peek(start_ms, end_ms)
                    self._recognise(said, self._input.format, _Listening(pause=event), is_speech=True)
                case SpeechStopped(end_ms):
                    self._end_turn(end_ms)
                case _:
                    assert_never(event)

    def _begin_turn(self, start_ms: int) -> None:
        self._idle_at = self._pause = self._words_at_pause = None
        self._turn_id = self._new_id("item")
        self._turn_start_ms = start_ms
        self._send(server.InputAudioBufferSpeechStarted(audio_start_ms=start_ms, item_id=self._turn_id))
        detection = self._config.audio.input.turn_detection
        reply = self._replies.current
        if reply is not None and detection is not None and detection.interrupt_response:
            reply.cancel("turn_detected")

    def _end_turn(self, end_ms: int) -> None:
        assert self._turn_id is not None
        self._send(server.InputAudioBufferSpeechStopped(audio_end_ms=end_ms, item_id=self._turn_id))
        entry = self._add_spoken_item(self._input.take(self._turn_start_ms, end_ms))
        detection = self._config.audio.input.turn_detection
        if detection is not None and detection.create_response:
            self._respond_unasked()
        if self._words_at_pause is None:
            self._listen_to(entry, is_speech=True, tell=True)
        else:  # nothing was said since
            self._heard(_Listening(entry, tell=True), self._words_at_pause, None)

    def _add_spoken_item(self, audio: bytes) -> Entry:
        """Make an item of audio from the buffer, under the id that was announced when its turn began."""
        item_id, self._turn_id = self._turn_id or self._new_id("item"), None
        self._idle_at = None
        base = Item(type="message", id=item_id, object="realtime.item", role="user")
        sound = Sound(self._input.format, bytearray(audio), len(audio))
        entry = Entry(base, "completed", [Part("input_audio", sound=sound)])
        self._send(whole.Committed(item_id=item_id, previous_item_id=self._conversation.last_id))
        self._add_item(entry, None)
        return entry

    def _idle_timeout(self) -> None:
        """Nothing was said for `idle_timeout_ms`: "The empty audio will be committed to the conversation as an
        `input_audio` item […] and a model response will be generated" (input_audio_buffer_timeout_triggered.py)."""
        timeout_ms = self._idle_timeout_ms
        assert timeout_ms is not None
        end_ms = self._input.end_ms
        start_ms = max(end_ms - timeout_ms, 0)
        self._turn_id = self._new_id("item")
        triggered = server.InputAudioBufferTimeoutTriggered(
            audio_start_ms=start_ms, audio_end_ms=end_ms, item_id=self._turn_id
        )
        self._send(triggered)
        entry = self._add_spoken_item(self._input.take(start_ms, end_ms))
        self._respond_unasked()
        self._heard(_Listening(entry, tell=True), "", None)

    @property
    def _idle_timeout_ms(self) -> int | None:
        detection = self._config.audio.input.turn_detection
        return detection.idle_timeout_ms if isinstance(detection, ServerVad) else None

    # What was said, in words

    def _listen_to(self, entry: Entry, *, is_speech: bool, tell: bool) -> None:
        for index, part in enumerate(entry.parts):
            if part.type == "input_audio" and part.sound is not None:
                listening = _Listening(entry, index, tell)
                self._recognise(bytes(part.sound.audio), part.sound.format, listening, is_speech=is_speech)

    def _recognise(self, audio: bytes, audio_format: FormatName, listening: _Listening, *, is_speech: bool) -> None:
        key = self._new_id("words")
        self._listening[key] = listening
        self._out.append(Recognise(key, audio, audio_format, is_speech))

    def _recognised(self, key: str, text: str, failure: str | None) -> None:
        listening = self._listening.pop(key, None)
        if listening is None:
            return
        if listening.entry is not None:
            self._heard(listening, text, failure)
        elif listening.pause is self._pause and failure is None:
            assert listening.pause is not None
            self._words_at_pause = text
            detection = self._config.audio.input.turn_detection
            if isinstance(detection, SemanticVad):
                patience = patience_ms(text, detection.eagerness)
                self._turn_events(self._input.wait_for_more(listening.pause, patience))

    def _heard(self, listening: _Listening, text: str, failure: str | None) -> None:
        entry, index = listening.entry, listening.index
        assert entry is not None
        entry.parts[index].words = text
        if listening.tell and self._config.audio.input.transcription is not None:
            self._tell_transcript(entry.id, index, entry.parts[index], failure)
        self._replies.ask()

    def _tell_transcript(self, item_id: str, index: int, part: Part, failure: str | None) -> None:
        if failure is not None:
            error = {"type": "server_error", "code": "transcription_failed", "message": failure, "param": None}
            self._send(server.InputAudioTranscriptionFailed(item_id=item_id, content_index=index, error=error))
            return
        assert part.words is not None
        assert part.sound is not None
        part.transcript = part.words
        for number, word in enumerate(part.words.split()):
            delta = f" {word}" if number else word
            self._send(server.InputAudioTranscriptionDelta(item_id=item_id, content_index=index, delta=delta))
        usage = transcription_usage(part.sound.ms, part.words)
        self._send(
            server.InputAudioTranscriptionCompleted(
                item_id=item_id, content_index=index, transcript=part.words, usage=usage
            )
        )

    # Responses

    def _respond_unasked(self) -> None:
        try:
            self._respond(ResponseParams())
        except Refusal as refusal:  # "this may fail to create a response if the model is already responding"
            self._refuse(refusal, None)

    def _respond(self, params: ResponseParams) -> None:
        given = None if params.input is None else self._given(params.input)
        reply = self._replies.start(params, self._config, given)
        if reply.belongs:
            self._idle_at = None

    def _given(self, raw_items: tuple[dict[str, Any], ...]) -> tuple[Entry, ...]:
        """The context that a `response.create` brings instead of the conversation."""
        entries = []
        for number, raw in enumerate(raw_items):
            path = f"response.input[{number}]"
            item = item_from(raw, path=path)
            if item.type == "item_reference":
                entry = self._conversation.find(item.id or "")
                if entry is None:
                    message = f"Item with id '{item.id}' not found in conversation."
                    raise Refusal(message, code="invalid_value", param=f"{path}.id")
            else:
                entry = entry_of(item, self._input.format, self._new_id, path=path)
                self._listen_to(entry, is_speech=False, tell=False)
            entries.append(entry)
        return tuple(entries)

    # The rest

    def _add_item(self, entry: Entry, after: str | None) -> None:
        previous = self._conversation.add(entry, after)
        self._send(whole.ItemAdded(item=entry.shown(), previous_item_id=previous))
        self._send(whole.ItemDone(item=entry.shown(), previous_item_id=previous))

    def _has_call(self, call_id: str | None) -> bool:
        return any(entry.base.type == "function_call" and entry.base.call_id == call_id for entry in self._conversation)

    def _expire(self) -> None:
        self._expiry = inf
        message = f"Your session hit the maximum duration of {self._limits.session_seconds / 60:g} minutes."
        self._refuse(Refusal(message, code="session_expired"), None)
        self._replies.stop_all()
        self._out.append(Close(1001, message))

    def _session_object(self) -> dict[str, Any]:
        session: dict[str, Any] = {"id": self._id, "object": "realtime.session", "expires_at": self._expires_at}
        session |= msgspec.to_builtins(self._config)
        return session

    def _turn_settings(self) -> TurnSettings | None:
        detection = self._config.audio.input.turn_detection
        return None if detection is None else detection.turns()

    def _refuse(self, refusal: Refusal, client_event_id: str | None) -> None:
        self._send(whole.refused(refusal, client_event_id))

    def _send(self, event: ServerEvent) -> None:
        self._out.append(Send(whole.numbered(event, self._new_id("event"))))

    def _settle(self, now: float) -> list[Command]:
        """End an input: draw the consequences of what it brought to its end, and hand out what is to be done."""
        for reply in self._replies.settled():
            timeout_ms = self._idle_timeout_ms
            if reply.belongs and timeout_ms is not None and not self._input.speaking and self._replies.current is None:
                # "it's set to the `response.done` time plus audio playback duration"
                self._idle_at = now + (reply.audio_ms + timeout_ms) / 1000
        out, self._out[:] = self._out.copy(), []
        return out


class _Named(msgspec.Struct):
    event_id: Any = None


def _event_id_in(frame: str | bytes) -> str | None:
    """The id of an event that could not be read as a whole."""
    try:
        event_id = msgspec.json.decode(frame, type=_Named).event_id
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    return event_id if isinstance(event_id, str) else None
