"""One response: what the brain decides, as the API's events, at the pace at which a model speaks.

The order of events is the API's (a capture of a live session agrees with the docstrings in openai/types/realtime):

    response.created
      response.output_item.added, conversation.item.added, response.content_part.added
        response.output_audio_transcript.delta and response.output_audio.delta, words ahead of their sound
      response.output_audio.done, response.output_audio_transcript.done, response.content_part.done
      response.output_item.done, conversation.item.done
      ... and the next item
    response.done, rate_limits.updated

Things to say wait in line: a function call comes after all audio of the message before it.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import pybase64

from realtime_bridge.localmodel import whole
from realtime_bridge.localmodel.conversation import Conversation, Entry, Part, Sound
from realtime_bridge.localmodel.formats import FormatName, bytes_per_ms
from realtime_bridge.localmodel.parts import CallTool, Say, Turn
from realtime_bridge.localmodel.usage import context_tokens, response_usage, spoken_tokens, text_tokens
from realtime_bridge.localmodel.work import (
    Command,
    Concluded,
    Decided,
    Faltered,
    ReplyResult,
    Send,
    Speak,
    Spoken,
    SpokenToTheEnd,
)
from realtime_bridge.wire import Item, ResponseStatusDetails, Usage, server
from realtime_bridge.wire.items import ItemStatus

_WORD = re.compile(r"\s*\S+|\s+$")
_ARGUMENTS_DELTA_CHARACTERS = 16

Status = Literal["completed", "cancelled", "failed", "incomplete"]


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast audio is sent: `speed` times real time (below 1.0 a model that cannot keep up), `delta_ms` an event."""

    speed: float = 8.0
    delta_ms: int = 200


@dataclass(frozen=True, slots=True)
class ReplySettings:
    """`conversation_id` is None for an out-of-band response. `audio`: as echoed; `format`: what it says."""

    id: str
    conversation_id: str | None
    modalities: tuple[str, ...]
    audio: dict[str, Any]
    format: FormatName
    max_output_tokens: int | Literal["inf"]
    metadata: dict[str, str] | None
    pace: Pace


@dataclass(slots=True)
class _Speech:
    """One `Say` on its way through the voice."""

    sentences: deque[tuple[str, bytes]] = field(default_factory=deque)
    complete: bool = False


@dataclass(slots=True)
class _Message:
    """The message item that is being spoken or written."""

    entry: Entry
    index: int
    said: str = ""

    @property
    def part(self) -> Part:
        return self.entry.parts[0]

    @property
    def sound(self) -> Sound:
        sound = self.part.sound
        assert sound is not None
        return sound

    def words(self, text: str) -> list[str]:
        """The next text, word by word, set off from what was said before it."""
        gap = " " if self.said and not (self.said[-1].isspace() or text[:1].isspace()) else ""
        return _WORD.findall(gap + text)


class Reply:
    """`due` is when `tick` wants to be called next; None: only a result of work can bring it on."""

    def __init__(
        self,
        settings: ReplySettings,
        *,
        turn: Turn,
        context: tuple[Entry, ...],
        conversation: Conversation | None,
        give: Callable[[Command], None],
        new_id: Callable[[str], str],
    ) -> None:
        self.settings = settings
        self.turn = turn  # without items
        self.context = context
        self.asked = False
        self.over = False
        self.due: float | None = None
        self.audio_ms = 0.0
        self._conversation = conversation
        self._give = give
        self._new_id = new_id
        self._line: deque[Say | CallTool | _Speech] = deque()
        self._concluded = False
        self._message: _Message | None = None
        self._output: list[Entry] = []
        self._pending = memoryview(b"")  # audio of the current sentence, still to send
        self._text_tokens = 0

    @property
    def belongs(self) -> bool:
        """Whether it is the conversation's own, not out-of-band."""
        return self._conversation is not None

    @property
    def speaks(self) -> bool:
        return "audio" in self.settings.modalities

    def begin(self) -> None:
        self._emit(server.ResponseCreated(response=self._response("in_progress", None, None)))

    def take(self, result: ReplyResult, now: float) -> None:
        if self.over:
            return
        match result:
            case Decided(_, Say(text)) if not text.strip():
                return
            case Decided(_, Say(text) as say):
                self._line.append(_Speech() if self.speaks else say)
                if self.speaks:
                    self._give(Speak(self.settings.id, text, self.settings.format))
            case Decided(_, CallTool() as call):
                self._line.append(call)
            case Spoken(_, text, audio):
                self._in_voice().sentences.append((text, audio))
            case SpokenToTheEnd():
                self._in_voice().complete = True
            case Concluded():
                self._concluded = True
            case Faltered(_, message):
                error = {"type": "server_error", "code": "response_generation_failed", "message": message}
                self._finish("failed", ResponseStatusDetails(type="failed", error=error))
                return
        self.tick(now)

    def tick(self, now: float) -> None:
        """Go on as far as time and the work done so far allow."""
        if self.due is None:
            self.due = now
        while self._line:
            head = self._line[0]
            match head:
                case Say(text):
                    self._write(text)
                case CallTool():
                    self._close_message("completed")
                    self._call(head)
                case _Speech():
                    if not self._speak(head, now):
                        return
            if self.over:
                return
            self._line.popleft()
        self.due = None
        if self._concluded:
            self._finish("completed", None)

    def cancel(self, reason: str) -> None:
        """`reason`: turn_detected or client_cancelled."""
        self._finish("cancelled", ResponseStatusDetails(type="cancelled", reason=reason))

    # What the brain decided, one thing at a time

    def _speak(self, speech: _Speech, now: float) -> bool:
        """Send what is due of this speech; True when all of it is sent."""
        message = self._open_message()
        while not self.over:
            if self._pending:
                if self.due is not None and now < self.due:
                    return False
                self._send_audio(message, now)
            elif speech.sentences:
                text, audio = speech.sentences.popleft()
                message.sound.say(text, len(audio))
                self._send_words(message, text)
                self._pending = memoryview(audio)
            else:
                if not speech.complete:
                    self.due = None  # the voice is working
                return speech.complete
        return True

    def _send_audio(self, message: _Message, now: float) -> None:
        if self._spent_up():
            return
        pace, ms_bytes = self.settings.pace, bytes_per_ms(self.settings.format)
        size = pace.delta_ms * ms_bytes
        delta, self._pending = self._pending[:size], self._pending[size:]
        message.sound.extend(bytes(delta))
        self.audio_ms += len(delta) / ms_bytes
        audio = pybase64.b64encode(delta).decode()
        self._emit(server.ResponseOutputAudioDelta(**self._where(message), delta=audio))
        step = len(delta) / ms_bytes / 1000 / pace.speed
        assert self.due is not None
        # A tick that comes late is made good, but not by more than a delta: after a stall there is no burst.
        self.due = max(self.due, now - step) + step

    def _send_words(self, message: _Message, text: str) -> None:
        for word in message.words(text):
            message.said += word
            if not message.sound.is_cut:
                message.part.transcript = message.said
            self._emit(server.ResponseOutputAudioTranscriptDelta(**self._where(message), delta=word))
        self._text_tokens += text_tokens(text)

    def _write(self, text: str) -> None:
        message = self._open_message()
        for word in message.words(text):
            if self._spent_up():
                return
            message.said += word
            message.part.text = message.said
            self._text_tokens += text_tokens(word)
            self._emit(server.ResponseOutputTextDelta(**self._where(message), delta=word))

    def _call(self, call: CallTool) -> None:
        if self._spent_up():
            return
        arguments = msgspec.json.encode(call.arguments).decode()
        call_id = self._new_id("call")
        base = Item(
            type="function_call",
            id=self._new_id("item"),
            object="realtime.item",
            call_id=call_id,
            name=call.name,
            arguments="",
        )
        entry = Entry(base, "in_progress")
        index = self._add(entry)
        where: dict[str, Any] = {
            "response_id": self.settings.id,
            "item_id": entry.id,
            "output_index": index,
            "call_id": call_id,
        }
        for begin in range(0, len(arguments), _ARGUMENTS_DELTA_CHARACTERS):
            delta = arguments[begin : begin + _ARGUMENTS_DELTA_CHARACTERS]
            self._emit(server.ResponseFunctionCallArgumentsDelta(**where, delta=delta))
        entry.base = msgspec.structs.replace(base, arguments=arguments)
        self._text_tokens += text_tokens(call.name) + text_tokens(arguments)
        self._emit(server.ResponseFunctionCallArgumentsDone(**where, name=call.name, arguments=arguments))
        self._close(entry, index, "completed")

    # Items, opened and closed

    def _open_message(self) -> _Message:
        if self._message is None:
            base = Item(type="message", id=self._new_id("item"), object="realtime.item", role="assistant")
            message = self._message = _Message(Entry(base, "in_progress"), len(self._output))
            self._add(message.entry)
            message.entry.parts.append(
                Part("output_audio", transcript="", sound=Sound(self.settings.format))
                if self.speaks
                else Part("output_text", text="")
            )
            part = whole.response_part(message.part)
            self._emit(server.ResponseContentPartAdded(**self._where(message), part=part))
        return self._message

    def _close_message(self, status: ItemStatus) -> None:
        message, self._message = self._message, None
        if message is None:
            return
        where = self._where(message)
        if self.speaks:
            self._emit(server.ResponseOutputAudioDone(**where))
            self._emit(server.ResponseOutputAudioTranscriptDone(**where, transcript=message.said))
        else:
            self._emit(server.ResponseOutputTextDone(**where, text=message.said))
        self._emit(server.ResponseContentPartDone(**where, part=whole.response_part(message.part)))
        self._close(message.entry, message.index, status)

    def _where(self, message: _Message) -> dict[str, Any]:
        return {
            "response_id": self.settings.id,
            "item_id": message.entry.id,
            "output_index": message.index,
            "content_index": 0,
        }

    def _add(self, entry: Entry) -> int:
        index = len(self._output)
        self._output.append(entry)
        self._emit(server.ResponseOutputItemAdded(response_id=self.settings.id, output_index=index, item=entry.shown()))
        if self._conversation is not None:
            previous = self._conversation.add(entry)
            self._emit(whole.ItemAdded(item=entry.shown(), previous_item_id=previous))
        return index

    def _close(self, entry: Entry, index: int, status: ItemStatus) -> None:
        entry.status = status
        self._emit(server.ResponseOutputItemDone(response_id=self.settings.id, output_index=index, item=entry.shown()))
        if self._conversation is not None and self._conversation.find(entry.id) is entry:
            previous = self._conversation.before(entry.id)
            self._emit(whole.ItemDone(item=entry.shown(), previous_item_id=previous))

    def _finish(self, status: Status, details: ResponseStatusDetails | None) -> None:
        if self.over:
            return
        self.over = True
        self.due = None
        self._line.clear()
        self._close_message("completed" if status == "completed" else "incomplete")
        read = context_tokens(self.turn.instructions, self.turn.tools, self.context)
        usage = response_usage(read, text=self._text_tokens, audio=spoken_tokens(self.audio_ms))
        self._emit(server.ResponseDone(response=self._response(status, details, usage)))
        self._emit(whole.rate_limits(usage))

    def _spent_up(self) -> bool:
        """Whether `max_output_tokens` are used up; ends the response if so."""
        limit = self.settings.max_output_tokens
        if limit == "inf" or self._text_tokens + spoken_tokens(self.audio_ms) < limit:
            return False
        self._finish("incomplete", ResponseStatusDetails(type="incomplete", reason="max_output_tokens"))
        return True

    def _in_voice(self) -> _Speech:
        """The speech that the voice is working on: it works in order."""
        return next(speech for speech in self._line if isinstance(speech, _Speech) and not speech.complete)

    def _response(
        self, status: Status | Literal["in_progress"], details: ResponseStatusDetails | None, usage: Usage | None
    ) -> whole.Response:
        return whole.Response(
            id=self.settings.id,
            object="realtime.response",
            status=status,
            status_details=details,
            output=tuple(entry.shown() for entry in self._output),
            conversation_id=self.settings.conversation_id,
            output_modalities=self.settings.modalities,
            max_output_tokens=self.settings.max_output_tokens,
            metadata=self.settings.metadata,
            audio=self.settings.audio,
            usage=usage,
        )

    def _emit(self, event: server.ServerEvent) -> None:
        self._give(Send(whole.numbered(event, self._new_id("event"))))
