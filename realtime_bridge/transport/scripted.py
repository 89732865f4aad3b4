"""A transport for tests: no socket and no model. The test says what the model sends, and sees what the session sent.

    transport = ScriptedTransport()
    async with RealtimeSession(agent, transport=transport) as session:
        await session.send_message("hello")
        create = await transport.wait_for("response.create")
        transport.reply("Good morning!", to=create)
        async for event in session: ...

It plays the audio itself, in no time, unless `plays_audio` is False or the test reports `Playback*` events of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
import pybase64

from realtime_bridge.errors import MisuseError, TransportError
from realtime_bridge.transport.base import (
    AudioReceived,
    ModelConnected,
    PlaybackFinished,
    PlaybackStarted,
    TransportClosed,
    TransportEvent,
    TransportListener,
)
from realtime_bridge.wire import ClientEvent, ContentPart, Item, Response, Usage, client, server

T = TypeVar("T", bound=msgspec.Struct)

_MS_PER_CHAR = 60  # how long a reply takes to say
_BYTES_PER_MS = 48  # PCM16, 24 kHz


class ScriptedTransport:
    """See `RealtimeTransport`. `sent`: every client event, oldest first; `session`: what `connect` was given."""

    def __init__(self, *, plays_audio: bool = True, refuse: TransportError | None = None) -> None:
        """`refuse`: what `connect` raises."""
        self._plays_audio = plays_audio
        self._refuse = refuse
        self._listener: TransportListener | None = None
        self._changed = asyncio.Event()
        self._count = 0
        self._looked_at: dict[str, int] = {}
        self.sent: list[ClientEvent] = []
        self.session: dict[str, Any] = {}
        self.audio = bytearray()
        self.calls: list[tuple[Any, ...]] = []  # ("interrupt",), ("discard", "resp_1"), ("release", item, index, ms), …
        self.muted = False
        self.closed = False

    # -- the session's side --

    @property
    def plays_audio(self) -> bool:
        return self._plays_audio

    @property
    def session_config(self) -> dict[str, Any]:
        pcm = {"type": "audio/pcm", "rate": 24_000}
        return {"audio": {"input": {"format": pcm}, "output": {"format": pcm}}}

    async def connect(self, listener: TransportListener, *, session: dict[str, Any]) -> None:
        if self._refuse is not None:
            raise self._refuse
        if self._listener is not None:
            raise MisuseError("this transport was connected before; make a new one")
        self._listener = listener
        self.session = session
        listener(ModelConnected(attempt=1))
        listener(server.SessionCreated(session={"type": "realtime", "id": "sess_scripted"}))
        listener(server.SessionUpdated(session=session))

    def send(self, event: ClientEvent) -> None:
        self.sent.append(event)
        self._changed.set()
        if isinstance(event, client.ConversationItemCreate):
            self.feed(server.ConversationItemAdded(item=event.item, previous_item_id=event.previous_item_id))
        elif isinstance(event, client.ConversationItemDelete):
            self.feed(server.ConversationItemDeleted(item_id=event.item_id))
        elif isinstance(event, client.SessionUpdate):
            self.feed(server.SessionUpdated(session=event.session))

    def send_audio(self, audio: bytes) -> None:
        self.audio += bytes(len(audio)) if self.muted else audio

    def interrupt(self) -> None:
        self._called("interrupt")

    def discard(self, response_id: str) -> None:
        self._called("discard", response_id)

    def hold_back(self, budget_ms: int) -> None:
        self._called("hold_back", budget_ms)

    def release(self, item_id: str, content_index: int, audio_ms: int | None) -> None:
        self._called("release", item_id, content_index, audio_ms)

    def rotate(self) -> None:
        self._called("rotate")

    def switch(self) -> None:
        self._called("switch")

    def resume(self) -> None:
        self._called("resume")

    def set_muted(self, muted: bool) -> None:
        self.muted = muted

    async def close(self, reason: str = "closed by the program") -> None:
        if not self.closed and self._listener is not None:
            self._listener(TransportClosed(reason=reason))
        self.closed = True

    # -- the test's side --

    def feed(self, *events: TransportEvent) -> None:
        """The model sent this, or this happened on the line. Nothing arrives before `connect` or after `close`."""
        if self._listener is None:
            raise MisuseError("nobody is connected yet")
        for event in events:
            if not self.closed:
                self._listener(event)

    async def wait_for(
        self, what: type[T] | str, *, when: Callable[[Any], bool] = lambda _: True, timeout_s: float = 5.0
    ) -> Any:
        """The next client event of this type (a class of `wire.client`, or "response.create") that the session sends, or
        has sent since the last wait for this type. Raises TimeoutError."""
        name = what if isinstance(what, str) else str(what.__struct_config__.tag)
        async with asyncio.timeout(timeout_s):
            while True:
                for index in range(self._looked_at.get(name, 0), len(self.sent)):
                    self._looked_at[name] = index + 1
                    event = self.sent[index]
                    if event.__struct_config__.tag == name and when(event):
                        return event
                self._changed.clear()
                await self._changed.wait()

    async def wait_for_call(self, name: str, *, timeout_s: float = 5.0) -> tuple[Any, ...]:
        """The first call of this method in `calls` ("interrupt", "discard", "release", …), when it comes.

        Raises TimeoutError.
        """
        async with asyncio.timeout(timeout_s):
            while True:
                for call in self.calls:
                    if call[0] == name:
                        return call
                self._changed.clear()
                await self._changed.wait()

    def reply(
        self,
        text: str = "",
        *,
        to: client.ResponseCreate | None = None,
        calls: Iterable[tuple[str, str]] = (),
        written: bool = False,
        usage: Usage | None = None,
    ) -> str:
        """A whole response, as the model sends it: words with their audio (or typed, `written`), then function calls
        `(name, arguments)`. `to`: the request it answers; None: the model's own idea. Returns the response's id."""
        response_id = self.begin(to)
        output: list[Item] = []
        if text:
            output.append(self._say(response_id, text, written=written))
        for name, arguments in calls:
            output.append(self.call(response_id, name, arguments, output_index=len(output)))
        done = Response(id=response_id, status="completed", conversation_id="conv_1", output=tuple(output), usage=usage)
        self.feed(server.ResponseDone(response=done))
        return response_id

    def begin(self, to: client.ResponseCreate | None = None) -> str:
        """`response.created`; the response's id."""
        response_id = self._new("resp")
        metadata = (to.response or {}).get("metadata") if to is not None else None
        created = Response(id=response_id, status="in_progress", conversation_id="conv_1", metadata=metadata)
        self.feed(server.ResponseCreated(response=created))
        return response_id

    def call(
        self, response_id: str, name: str, arguments: str = "{}", *, call_id: str | None = None, output_index: int = 0
    ) -> Item:
        """A complete function call of a response."""
        item = Item(
            type="function_call",
            id=self._new("item"),
            call_id=call_id or self._new("call"),
            name=name,
            arguments=arguments,
            status="completed",
        )
        growing = msgspec.structs.replace(item, status="in_progress", arguments="")
        where: dict[str, Any] = {"response_id": response_id, "output_index": output_index}
        self.feed(
            server.ResponseOutputItemAdded(item=growing, **where),
            server.ConversationItemAdded(item=growing),
            server.ResponseOutputItemDone(item=item, **where),
            server.ConversationItemDone(item=item),
        )
        return item

    def heard(self, transcript: str) -> str:
        """The caller spoke: speech, its item, its transcript. Returns the item's id. No reply comes of it by itself."""
        item_id = self._new("item")
        item = Item(
            type="message", id=item_id, role="user", status="completed", content=(ContentPart(type="input_audio"),)
        )
        self.feed(
            server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id=item_id),
            server.InputAudioBufferSpeechStopped(audio_end_ms=1000, item_id=item_id),
            server.InputAudioBufferCommitted(item_id=item_id),
            server.ConversationItemAdded(item=item),
            server.InputAudioTranscriptionCompleted(item_id=item_id, content_index=0, transcript=transcript),
        )
        return item_id

    def _say(self, response_id: str, text: str, *, written: bool) -> Item:
        item_id = self._new("item")
        where: dict[str, Any] = {"response_id": response_id, "output_index": 0}
        part: dict[str, Any] = {**where, "item_id": item_id, "content_index": 0}
        empty = Item(type="message", id=item_id, role="assistant", status="in_progress", content=())
        self.feed(server.ResponseOutputItemAdded(item=empty, **where), server.ConversationItemAdded(item=empty))
        if written:
            self.feed(
                server.ResponseOutputTextDelta(delta=text, **part), server.ResponseOutputTextDone(text=text, **part)
            )
            content = ContentPart(type="output_text", text=text)
        else:
            self._speak(text, part)
            content = ContentPart(type="output_audio", transcript=text)
        item = msgspec.structs.replace(empty, status="completed", content=(content,))
        self.feed(server.ResponseOutputItemDone(item=item, **where), server.ConversationItemDone(item=item))
        return item

    def _speak(self, text: str, part: dict[str, Any]) -> None:
        audio_ms = len(text) * _MS_PER_CHAR
        item = {name: part[name] for name in ("response_id", "item_id", "content_index")}
        self.feed(server.ResponseOutputAudioTranscriptDelta(delta=text, **part))
        if self._plays_audio:
            self.feed(AudioReceived(audio_ms=audio_ms, **item), PlaybackStarted(**item))
        else:
            audio = pybase64.b64encode(bytes(audio_ms * _BYTES_PER_MS)).decode()
            self.feed(server.ResponseOutputAudioDelta(delta=audio, **part))
        self.feed(
            server.ResponseOutputAudioTranscriptDone(transcript=text, **part), server.ResponseOutputAudioDone(**part)
        )
        if self._plays_audio:
            self.feed(PlaybackFinished(audio_ms=audio_ms, **item))

    def _called(self, *call: Any) -> None:
        self.calls.append(call)
        self._changed.set()

    def _new(self, kind: str) -> str:
        self._count += 1
        return f"{kind}_{self._count}"
