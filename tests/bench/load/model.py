"""A synthetic realtime model: counts what it hears, and answers by the clock.

Each connection gets a turn every 5 s: the caller's speech begins and ends, then a reply of 2 s in deltas of 200 ms, five
times faster than it is played, with its transcript and every other event that OpenAI's server sends around it. The first
20 ms of each delta tell when it was sent (see `timecode`). Nothing is recognised, nothing is interrupted.
"""

import asyncio
from array import array
from multiprocessing.connection import Connection

import pybase64
from load.processes import obey
from load.timecode import age_us, p50_p99_ms, stamp
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from realtime_bridge.wire import ContentPart, Item, Response, Usage, client, decode_client_event, encode, server

TURN_S = 5.0
SPEECH_S = 1.0  # of the caller, before each reply
DELTAS = 10
DELTA_MS = 200
SPEED = 5.0
SPREAD_S = 0.618 * TURN_S  # from one connection's turns to the next one's: they never fall together

_APPEND = b'{"type":"input_audio_buffer.append","audio":"'
_FRAME_BYTES = {"pcmu": 160, "pcm": 960}
_BYTES_PER_MS = {"pcmu": 8, "pcm": 48}
_SILENCE = {"pcmu": b"\xff", "pcm": b"\0"}


class Model:
    """All connections, and what they measured."""

    def __init__(self) -> None:
        self.count = 0
        self.open = 0
        self.measuring = False
        self.delays_us = array("l")
        self.appends = 0
        self.truncates = 0


class ModelConnection(WSListener):
    """One session."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._number = model.count
        self._audio = "pcmu"
        self._metadata = None
        self._turns = None
        self._event_count = 0
        model.count += 1

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._model.open += 1
        self._say(server.SessionCreated(session={"type": "realtime"}))

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._model.open -= 1
        if self._turns is not None:
            self._turns.cancel()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(WSCloseCode.OK)
            transport.disconnect()
            return
        text = frame.get_payload_as_bytes()
        if text.startswith(_APPEND):
            self._hear(text)
            return
        match decode_client_event(text):
            case client.SessionUpdate(session=session):
                kind = session.get("audio", {}).get("output", {}).get("format", {}).get("type")
                if kind is not None:
                    self._audio = "pcm" if kind == "audio/pcm" else "pcmu"
                self._say(server.SessionUpdated(session=session))
                if self._turns is None:
                    self._turns = asyncio.get_running_loop().create_task(self._take_turns())
            case client.ResponseCreate(response=response):
                self._metadata = (response or {}).get("metadata")
            case client.InputAudioBufferAppend(audio=audio):  # in another program's spelling
                self._heard(pybase64.b64decode(audio))
            case client.ConversationItemTruncate():
                self._model.truncates += 1  # nothing is ever interrupted here

    def _hear(self, text: bytes) -> None:
        self._heard(pybase64.b64decode(text[len(_APPEND) : -2]))

    def _heard(self, sound: bytes) -> None:
        if not self._model.measuring:
            return
        self._model.appends += 1
        if len(sound) == _FRAME_BYTES[self._audio] and (age := age_us(sound, self._audio)) is not None:
            self._model.delays_us.append(age)

    async def _take_turns(self) -> None:
        loop = asyncio.get_running_loop()
        turn_at = loop.time() + self._number * SPREAD_S % TURN_S
        while True:
            await _until(turn_at)
            await self._caller_speaks(turn_at)
            await self._reply(turn_at + SPEECH_S)
            turn_at += TURN_S

    async def _caller_speaks(self, at: float) -> None:
        item_id = self._new("item")
        item = Item(type="message", id=item_id, role="user", status="completed", content=(_HEARD,))
        self._say(server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id=item_id))
        await _until(at + SPEECH_S)
        self._say(
            server.InputAudioBufferSpeechStopped(audio_end_ms=1000, item_id=item_id),
            server.InputAudioBufferCommitted(item_id=item_id),
            server.ConversationItemAdded(item=item),
            server.ConversationItemDone(item=item),
            server.InputAudioTranscriptionCompleted(
                item_id=item_id, content_index=0, transcript="It does not work.", usage=_HEARING
            ),
        )

    async def _reply(self, at: float) -> None:
        response_id, item_id = self._new("resp"), self._new("item")
        metadata, self._metadata = self._metadata, None
        response = {"id": response_id, "conversation_id": "conv_1", "metadata": metadata}
        where = {"response_id": response_id, "output_index": 0}
        part = {**where, "item_id": item_id, "content_index": 0}
        begun = Item(type="message", id=item_id, role="assistant", status="in_progress", content=())
        self._say(
            server.ResponseCreated(response=Response(**response, status="in_progress")),
            server.ResponseOutputItemAdded(**where, item=begun),
            server.ConversationItemAdded(item=begun),
            server.ResponseContentPartAdded(**part, part=ContentPart(type="audio")),
        )
        for n in range(DELTAS):
            await _until(at + n * DELTA_MS / 1000 / SPEED)
            self._say(server.ResponseOutputAudioTranscriptDelta(**part, delta=" word"))
            self._say(server.ResponseOutputAudioDelta(**part, delta=self._sound()))
        words = " word" * DELTAS
        said = ContentPart(type="output_audio", transcript=words)
        done = Item(type="message", id=item_id, role="assistant", status="completed", content=(said,))
        self._say(
            server.ResponseOutputAudioDone(**part),
            server.ResponseOutputAudioTranscriptDone(**part, transcript=words),
            server.ResponseContentPartDone(**part, part=ContentPart(type="audio", transcript=words)),
            server.ResponseOutputItemDone(**where, item=done),
            server.ConversationItemDone(item=done),
            server.ResponseDone(response=Response(**response, status="completed", output=(done,), usage=_USAGE)),
            server.RateLimitsUpdated(rate_limits=({"name": "tokens", "limit": 9, "remaining": 9, "reset_seconds": 1},)),
        )

    def _sound(self) -> str:
        size = DELTA_MS * _BYTES_PER_MS[self._audio]
        return pybase64.b64encode(stamp(self._audio).ljust(size, _SILENCE[self._audio])).decode()

    def _say(self, *events: server.KnownServerEvent) -> None:
        for event in events:
            frame = b'{"event_id":"%s",' % self._new("event").encode() + encode(event)[1:]
            self._transport.send(WSMsgType.TEXT, frame)

    def _new(self, kind: str) -> str:
        self._event_count += 1
        return f"{kind}_{self._number}_{self._event_count}"


_HEARD = ContentPart(type="input_audio", transcript="")
_HEARING = {"type": "duration", "seconds": SPEECH_S}
_USAGE = Usage(total_tokens=3, input_tokens=2, output_tokens=1)


async def _until(at: float) -> None:
    await asyncio.sleep(max(0.0, at - asyncio.get_running_loop().time()))


async def main(pipe: Connection) -> None:
    """Requests: `listen` -> port; `begin` (measuring); `end` -> (delays p50 and p99 in ms, appends, truncates);
    `sessions` -> how many are open."""
    model = Model()
    listening = await ws_create_server(lambda _: ModelConnection(model), "127.0.0.1", 0, logger_name="load.picows")

    async def listen() -> int:
        return listening.sockets[0].getsockname()[1]

    async def begin() -> None:
        model.delays_us, model.appends, model.measuring = array("l"), 0, True

    async def end() -> tuple[tuple[float, float], int, int]:
        model.measuring = False
        return p50_p99_ms(model.delays_us), model.appends, model.truncates

    async def sessions() -> int:
        return model.open

    await obey(pipe, {"listen": listen, "begin": begin, "end": end, "sessions": sessions})
    listening.close()
