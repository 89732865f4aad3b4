"""One client's connection: the asyncio shell around a `ModelSession`.

Everything that happens (a frame, a result of work, the timer) is one synchronous step: the session takes it, and its
commands are started. One task reads, one writes, others work; when reading or writing ends, all end.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import suppress
from math import inf
from typing import Any, Protocol, assert_never

import msgspec
from starlette.websockets import WebSocketDisconnect

from realtime_bridge.alarm import Alarm
from realtime_bridge.errors import ProtocolError
from realtime_bridge.localmodel.model_session import ModelSession
from realtime_bridge.localmodel.parts import Brain, Deed, Turn
from realtime_bridge.localmodel.speech_work import SpeechWork
from realtime_bridge.localmodel.work import (
    Ask,
    Close,
    Command,
    Concluded,
    Decided,
    Faltered,
    Recognise,
    Recognised,
    RecognitionFailed,
    Result,
    Send,
    Speak,
    Spoken,
    SpokenToTheEnd,
    Stop,
)
from realtime_bridge.wire import client, decode_client_event, encode

log = logging.getLogger(__name__)

DECISION_SECONDS_MAX = 60.0  # for a brain's next deed
RECOGNITIONS_MAX = 64  # at a time
OUTGOING_BYTES_MAX = 64 * 1024 * 1024  # for a client that does not read
_APPEND_CHARACTERS = 64 * 1024  # a longer append is taken in such pieces: a second of PCM, whole samples in each
_NO_TEXT = "Expected a text WebSocket message; binary frames are not supported."
_CLOSE_SECONDS_MAX = 1.0
_CLOSE_REASON_BYTES_MAX = 123  # RFC 6455, 5.5.1: a control frame holds 125 bytes, two of them the code


class Socket(Protocol):
    """What is needed of a WebSocket; Starlette's has it."""

    async def receive(self) -> Any: ...
    async def send_text(self, data: str) -> None: ...
    async def close(self, code: int = 1000, reason: str | None = None) -> None: ...


class Connection:
    def __init__(self, socket: Socket, session: ModelSession, brain: Brain, speech: SpeechWork) -> None:
        self._socket = socket
        self._session = session
        self._brain = brain
        self._speech = speech
        self._loop = asyncio.get_running_loop()
        self._alarm = Alarm(lambda: self._step(self._session.tick))
        self._given_up: asyncio.Future[Close] = self._loop.create_future()
        self._outgoing: deque[str | Close] = deque()
        self._outgoing_bytes = 0
        self._has_outgoing = asyncio.Event()
        self._recognitions = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._of_reply: dict[str, set[asyncio.Task[None]]] = {}
        self._speeches: dict[str, asyncio.Queue[Speak]] = {}

    async def run(self) -> None:
        """Serve until the client leaves or the session ends. Returns when nothing of it is left running."""
        self._step(self._session.open)
        reading = asyncio.create_task(self._read())
        writing = asyncio.create_task(self._write())
        try:
            await asyncio.wait((reading, writing, self._given_up), return_when=asyncio.FIRST_COMPLETED)
        finally:
            close = self._given_up.result() if self._given_up.done() else None
            self._given_up.cancel()  # no step from here on
            self._alarm.cancel()
            left = {reading, writing, *self._tasks}
            for task in left:
                task.cancel()
            for outcome in await asyncio.gather(*left, return_exceptions=True):
                if isinstance(outcome, Exception):
                    log.error("a task of a connection failed", exc_info=outcome)
            if close is not None:
                await self._close(close)

    async def _read(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            text: str | None = message.get("text")
            if text is None:
                self._step(self._session.refuse_frame, _NO_TEXT)
            elif len(text) <= _APPEND_CHARACTERS:
                self._step(self._session.receive, text)
            else:
                await self._read_long(text)
            # Frames that wait already are handed over without a pause: let the other connections have theirs.
            await asyncio.sleep(0)

    async def _read_long(self, text: str) -> None:
        """Take a long append in pieces, so that listening to it does not hold up the others."""
        try:
            event = decode_client_event(text)
        except (ProtocolError, RecursionError):
            event = None
        if not isinstance(event, client.InputAudioBufferAppend):
            self._step(self._session.receive, text)
            return
        for begin in range(0, len(event.audio), _APPEND_CHARACTERS):
            piece = msgspec.structs.replace(event, audio=event.audio[begin : begin + _APPEND_CHARACTERS])
            self._step(self._session.receive_event, piece)
            await asyncio.sleep(0)

    async def _write(self) -> None:
        """Returns when the session is closed, by either side."""
        while True:
            await self._has_outgoing.wait()
            self._has_outgoing.clear()
            while self._outgoing:
                frame = self._outgoing.popleft()
                if isinstance(frame, Close):
                    await self._close(frame)
                    return
                self._outgoing_bytes -= len(frame)
                try:
                    await self._socket.send_text(frame)
                except WebSocketDisconnect:
                    return

    async def _close(self, close: Close) -> None:
        reason = close.reason.encode()[:_CLOSE_REASON_BYTES_MAX].decode(errors="ignore")
        # A client that does not read is not waited for; one that has just left needs no close.
        with suppress(TimeoutError, WebSocketDisconnect):
            async with asyncio.timeout(_CLOSE_SECONDS_MAX):
                await self._socket.close(close.code, reason)

    # Steps

    def _step(self, take: Callable[..., list[Command]], *what: object) -> None:
        """Let the session take one thing, now, and start what it asks for."""
        if self._given_up.done():
            return
        try:
            for command in take(*what, self._loop.time()):
                self._start(command)
        except Exception:
            log.exception("a model session failed; its connection is closed")
            self._give_up(Close(1011, "internal error"))
            return
        deadline = self._session.next_deadline()
        self._alarm.set(deadline if deadline < inf else None)

    def _take(self, result: Result) -> None:
        self._step(self._session.take, result)

    def _start(self, command: Command) -> None:
        match command:
            case Send(event):
                self._put(encode(event).decode())
            case Recognise():
                self._work(self._recognise(command))
            case Ask(response_id, turn):
                self._work(self._ask(response_id, turn), response_id)
            case Speak(response_id):
                self._speak(command, response_id)
            case Stop(response_id):
                self._stop(response_id)
            case Close():
                self._put(command)
            case _:
                assert_never(command)

    def _put(self, frame: str | Close) -> None:
        if isinstance(frame, str):
            self._outgoing_bytes += len(frame)
            if self._outgoing_bytes > OUTGOING_BYTES_MAX:
                log.warning("a client reads too slowly; its connection is closed")
                self._give_up(Close(1008, "reading too slowly"))
        self._outgoing.append(frame)
        self._has_outgoing.set()

    def _give_up(self, close: Close) -> None:
        """End without sending what is left."""
        if not self._given_up.done():
            self._given_up.set_result(close)

    # Work

    def _work(self, work: Coroutine[Any, Any, None], response_id: str | None = None) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if response_id is not None:
            mine = self._of_reply.setdefault(response_id, set())
            mine.add(task)
            task.add_done_callback(mine.discard)

    def _stop(self, response_id: str) -> None:
        self._speeches.pop(response_id, None)
        for task in self._of_reply.pop(response_id, set()):
            if task is not asyncio.current_task():  # which has just delivered the last of it
                task.cancel()

    async def _recognise(self, job: Recognise) -> None:
        if self._recognitions >= RECOGNITIONS_MAX:
            self._take(RecognitionFailed(job.key, f"more than {RECOGNITIONS_MAX} recognitions at a time"))
            return
        self._recognitions += 1
        try:
            text = await self._speech.recognise(job)
        except Exception as e:
            log.exception("recognition failed")
            self._take(RecognitionFailed(job.key, str(e) or type(e).__name__))
        else:
            self._take(Recognised(job.key, text))
        finally:
            self._recognitions -= 1

    async def _ask(self, response_id: str, turn: Turn) -> None:
        try:
            async for deed in _deeds(self._brain, turn):
                self._take(Decided(response_id, deed))
        except Exception as e:
            log.exception("the brain failed")
            self._take(Faltered(response_id, str(e) or type(e).__name__))
        else:
            self._take(Concluded(response_id))

    def _speak(self, speak: Speak, response_id: str) -> None:
        if response_id not in self._speeches:
            self._speeches[response_id] = asyncio.Queue()
            self._work(self._speak_all(response_id, self._speeches[response_id]), response_id)
        self._speeches[response_id].put_nowait(speak)

    async def _speak_all(self, response_id: str, speeches: asyncio.Queue[Speak]) -> None:
        """Say one thing after the other, until stopped."""
        try:
            while True:
                speech = await speeches.get()
                async for text, audio in self._speech.speak(speech.text, speech.format):
                    self._take(Spoken(response_id, text, audio))
                self._take(SpokenToTheEnd(response_id))
        except Exception as e:
            log.exception("the voice failed")
            self._take(Faltered(response_id, str(e) or type(e).__name__))


async def _deeds(brain: Brain, turn: Turn) -> AsyncIterator[Deed]:
    """What the brain decides; it may take its time for each, but not for ever, and is closed in any case."""
    deeds = brain.respond(turn)
    try:
        while True:
            async with asyncio.timeout(DECISION_SECONDS_MAX):
                try:
                    deed = await anext(deeds)
                except StopAsyncIteration:
                    return
            yield deed
    finally:
        if isinstance(deeds, AsyncGenerator):
            await deeds.aclose()
