"""The offline model as a model connection inside the program: no server, socket or thread lies between.

On a loop in virtual time a whole conversation passes in the time its speech takes to be recognised and spoken. On a real
loop it works as well, but recognising stops everything else meanwhile: real calls want the server.

    transport = WebSocketTransport(model="local", open_model=InlineModels(brain_factory=…, recognizer=…, voice=…))
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable
from math import inf

from realtime_bridge.localmodel.inline import Delays, InlineModel
from realtime_bridge.localmodel.model_session import Limits
from realtime_bridge.localmodel.parts import Brain, Recognizer, Synthesizer, Vad
from realtime_bridge.localmodel.reply import Pace
from realtime_bridge.localmodel.silero import SileroVad
from realtime_bridge.transport.base import ModelLost
from realtime_bridge.transport.model_socket import closed_by_model
from realtime_bridge.wire import ServerEvent, encode

log = logging.getLogger(__name__)


class InlineModels:
    """Opens sessions of the offline model; an `OpenModel`. Arguments as of `InlineModel`, for each session.

    `unix_s`: what the wall clock shows when the first session is opened; with it, sessions say when they end, as a
    server's do.
    """

    def __init__(
        self,
        *,
        brain_factory: Callable[[], Brain],
        recognizer: Recognizer,
        voice: Synthesizer,
        vad_factory: Callable[[], Vad] = SileroVad,
        delays: Delays | None = None,
        pace: Pace | None = None,
        limits: Limits | None = None,
        unix_s: float | None = None,
    ) -> None:
        self._brain_factory = brain_factory
        self._recognizer = recognizer
        self._voice = voice
        self._vad_factory = vad_factory
        self._delays = delays
        self._pace = pace
        self._limits = limits or Limits()
        self._unix_s = unix_s
        self._unix_offset_s: float | None = None  # of the wall clock to the loop's
        self._ids = itertools.count(1)

    async def __call__(
        self, *, on_frame: Callable[[bytes], None], on_lost: Callable[[ModelLost], None]
    ) -> InlineSocket:
        now = asyncio.get_running_loop().time()
        model = InlineModel(
            brain=self._brain_factory(),
            recognizer=self._recognizer,
            voice=self._voice,
            vad_factory=self._vad_factory,
            now=now,
            delays=self._delays,
            pace=self._pace,
            limits=self._limits,
            # Counted over all sessions: items of one must not be taken for those of the session before it.
            new_id=lambda prefix: f"{prefix}_{next(self._ids)}",
            expires_at=self._expires_at(now),
        )
        return InlineSocket(model, on_frame, on_lost)

    def _expires_at(self, now: float) -> int:
        if self._unix_s is None:
            return 0
        if self._unix_offset_s is None:
            self._unix_offset_s = self._unix_s - now
        return int(self._unix_offset_s + now + self._limits.session_seconds)


class InlineSocket:
    """A `ModelConnection` to one `InlineModel`, which it opens. Callbacks come from the loop, never from within `send`."""

    def __init__(
        self, model: InlineModel, on_frame: Callable[[bytes], None], on_lost: Callable[[ModelLost], None]
    ) -> None:
        self._model = model
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._frames: deque[bytes] = deque()  # on their way to the client
        self._delivering = False
        self._timer: asyncio.Handle | None = None
        self._rings_at = inf  # kept here: uvloop's handle for a moment that is due does not tell
        self._over = False
        self._step(model.open)

    def listen(self, on_frame: Callable[[bytes], None], on_lost: Callable[[ModelLost], None]) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost

    def send(self, frame: bytes) -> None:
        if not self._over and self._model.closed is None:
            self._step(lambda now: self._model.receive(frame, now))

    async def close(self) -> None:
        self._end()

    def _step(self, take: Callable[[float], list[ServerEvent]]) -> None:
        """Let the model do something, now; what it answers is delivered next."""
        try:
            events = take(self._loop.time())
        except Exception as e:
            log.exception("the offline model failed")
            self._loop.call_soon(self._lost, ModelLost(message=f"the offline model failed: {e}", retryable=False))
            return
        self._frames.extend(encode(event) for event in events)
        if not self._delivering and (self._frames or self._model.closed is not None):
            self._delivering = True
            self._loop.call_soon(self._deliver)
        self._arm()

    def _deliver(self) -> None:
        self._delivering = False
        while self._frames and not self._over:
            self._on_frame(self._frames.popleft())
        if self._model.closed is not None:
            self._lost(closed_by_model(self._model.closed.code, self._model.closed.reason))

    def _arm(self) -> None:
        deadline = self._model.next_deadline()
        if deadline == self._rings_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = deadline
        self._timer = self._loop.call_at(deadline, self._on_time) if deadline < inf else None

    def _on_time(self) -> None:
        self._rings_at = inf
        self._step(self._model.tick)

    def _lost(self, lost: ModelLost) -> None:
        if not self._over:
            self._end()
            self._on_lost(lost)

    def _end(self) -> None:
        self._over = True
        self._frames.clear()
        if self._timer is not None:
            self._timer.cancel()
