"""The plain transport: a realtime model over a WebSocket, audio handed to the program.

For browsers, desktop programs and tests. The program plays the audio, so nothing here knows what was heard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pybase64

from realtime_bridge.errors import MisuseError, ProtocolError, TransportError
from realtime_bridge.transport.base import (
    ModelConnected,
    ModelLost,
    TransportClosed,
    TransportEvent,
    TransportListener,
    TransportProblem,
    TransportReport,
)
from realtime_bridge.transport.confirmation import Confirmation
from realtime_bridge.transport.endpoint import realtime_endpoint
from realtime_bridge.transport.model_link import LinkLimits, ModelLink
from realtime_bridge.transport.model_socket import ModelSocket, OpenModel
from realtime_bridge.wire import ClientEvent, append_frame, client, decode_server_event, encode, server
from realtime_bridge.wire.session import other_formats

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CONFIRM_S_MAX = 10.0
_FORMAT = "audio/pcm"
HELD_BYTES_MAX = 640_000  # ten seconds of PCM16 at 24 kHz, in base64


class WebSocketTransport:
    """See `RealtimeTransport`. Audio in both directions is PCM16, 24 kHz, mono.

    A lost socket is replaced (see `model_link`). Audio sent meanwhile is kept, ten seconds at most, until `resume()`.
    """

    plays_audio = False

    def __init__(
        self,
        *,
        model: str,
        openai: AsyncOpenAI | None = None,
        open_model: OpenModel | None = None,
        confirm_s_max: float = CONFIRM_S_MAX,
        link_limits: LinkLimits | None = None,
    ) -> None:
        """`openai`: its base URL, key and headers are used; default: one made from the environment."""
        self._model = model
        self._openai = openai
        self._link = ModelLink(
            open_model or self._open_model, on_frame=self._on_frame, report=self._on_report, limits=link_limits
        )
        self._confirmation = Confirmation(self._link.drop, seconds_max=confirm_s_max)
        self._listener: TransportListener | None = None
        self._listening = False  # the model knows the conversation, and may hear the caller
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._muted = False
        self._closed = False

    @property
    def session_config(self) -> dict[str, Any]:
        """Both audio formats; see `RealtimeTransport.session_config`."""
        return {"audio": {way: {"format": {"type": _FORMAT, "rate": 24000}} for way in ("input", "output")}}

    async def connect(self, listener: TransportListener, *, session: dict[str, Any]) -> None:
        if self._closed or self._listener is not None:
            raise MisuseError("a transport connects once; make a new one")
        self._listener = listener
        try:
            await self._link.open()
            self._confirmation.begin()
            self.send(client.SessionUpdate(session={"type": "realtime", **session}))
            await self._confirmation.first()
        except BaseException:
            self._confirmation.stop()
            await self._link.close()
            raise
        self.resume()

    def send(self, event: ClientEvent) -> None:
        if not self._link.is_up:
            self._tell(TransportProblem(message=f"{type(event).__name__} was not sent: no model is connected"))
            return
        self._link.send(encode(event))

    def send_audio(self, audio: bytes) -> None:
        if self._closed or not audio:
            return
        frame = append_frame(pybase64.b64encode(bytes(len(audio)) if self._muted else audio))
        if self._listening:
            self._link.send(frame)
            return
        self._held.append(frame)
        self._held_bytes += len(frame)
        while self._held_bytes > HELD_BYTES_MAX:
            self._held_bytes -= len(self._held.popleft())

    def interrupt(self) -> None:
        """Cancels the response in progress. What was played is the program's to truncate."""
        self.send(client.ResponseCancel())

    def discard(self, response_id: str) -> None:
        """Nothing to do: the program plays, and is told by its session."""

    def hold_back(self, budget_ms: int) -> None:
        """Nothing to do, as above."""

    def release(self, item_id: str, content_index: int, audio_ms: int | None) -> None:
        """Nothing to do, as above."""

    def rotate(self) -> None:
        self._link.rotate(self.session_config)

    def switch(self) -> None:
        if self._link.switch():
            self._listening = False

    def resume(self) -> None:
        self._listening = True
        held, self._held = self._held, deque()
        self._held_bytes = 0
        for frame in held:
            self._link.send(frame)

    def set_muted(self, muted: bool) -> None:
        self._muted = muted

    async def close(self, reason: str = "closed by the program") -> None:
        if self._closed:
            return
        self._closed = True
        self._confirmation.give_up(ModelLost(message=reason, retryable=False))
        await self._link.close()
        if self._listener is not None:
            self._listener(TransportClosed(reason=reason))

    async def _open_model(
        self, *, on_frame: Callable[[bytes], None], on_lost: Callable[[ModelLost], None]
    ) -> ModelSocket:
        if self._openai is None:
            from openai import AsyncOpenAI, OpenAIError  # noqa: PLC0415 - slow to load, and offline sessions need none

            try:
                self._openai = AsyncOpenAI()
            except OpenAIError as e:
                raise TransportError(str(e), retryable=False) from e
        endpoint = await realtime_endpoint(self._openai, model=self._model)
        return await ModelSocket.open(endpoint, on_frame=on_frame, on_lost=on_lost)

    def _on_frame(self, frame: bytes) -> None:
        try:
            event = decode_server_event(frame)
        except ProtocolError as e:
            self._tell(TransportProblem(message=f"the model sent a malformed event: {e}", where=e.where))
            return
        if isinstance(event, server.SessionUpdated):
            self._judge(event)
        elif isinstance(event, server.ErrorEvent) and not self._confirmation.had_first:
            self._confirmation.failed(refused(event))
        self._tell(event)

    def _judge(self, event: server.SessionUpdated) -> None:
        """The model has confirmed a session, perhaps with formats that nobody here can play."""
        wrong = other_formats(event.session, _FORMAT)
        message = f"the model's audio format is not {_FORMAT}: {', '.join(wrong)}"
        if wrong and not self._confirmation.had_first:
            self._confirmation.failed(ModelLost(message=message, retryable=False))
            return
        if wrong:
            self._tell(TransportProblem(message=message))
        self._confirmation.confirmed()

    def _on_report(self, report: TransportReport) -> None:
        if isinstance(report, ModelConnected) and self._confirmation.had_first:
            self._confirmation.begin()
        elif isinstance(report, ModelLost):
            self._listening = False
            self._confirmation.stop()
            if not self._confirmation.had_first:
                self._confirmation.failed(report)
                self._link.close_soon()
                return
        self._tell(report)

    def _tell(self, event: TransportEvent) -> None:
        if self._listener is not None and not self._closed:
            self._listener(event)


def refused(event: server.ErrorEvent) -> ModelLost:
    """An error in place of the session's confirmation."""
    message = f"the model refused the session: {event.error.message}"
    return ModelLost(message=message, code=event.error.code, retryable=False)
