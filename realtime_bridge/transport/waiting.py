"""Connections to the model that are opened before their call: while the phone rings, so that the first word is not late.

They are alike and know nothing of any call yet, so a call takes the one that has waited longest, whoever it was opened
for. A server of several processes gains by that: the media of a call may come to another one than its webhook.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from realtime_bridge.errors import TransportError
from realtime_bridge.transport.base import ModelLost
from realtime_bridge.transport.model_socket import ModelConnection, OpenModel, close_soon

log = logging.getLogger(__name__)

WAIT_S_MAX: Final = 60.0
WAITING_MAX: Final = 100
FRAMES_MAX: Final = 100  # a model greets a connection with one


class WaitingModels:
    """`prepare` has one more connection ready; `for_call` gives a call what opens its connections."""

    def __init__(
        self, open_model: OpenModel, *, wait_s_max: float = WAIT_S_MAX, waiting_max: int = WAITING_MAX
    ) -> None:
        self._open_model = open_model
        self._wait_s_max = wait_s_max
        self._waiting_max = waiting_max
        self._waiting: deque[_Waiting] = deque()  # longest first

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def prepare(self) -> None:
        """Begin to open one, in the background. It is closed when no call has taken it within `wait_s_max`."""
        if len(self._waiting) >= self._waiting_max:
            return
        waiting = _Waiting(self._open_model)
        self._waiting.append(waiting)
        loop = asyncio.get_running_loop()
        waiting.overdue = loop.call_later(self._wait_s_max, self._give_up, waiting)

    def for_call(self) -> OpenModel:
        """The call's first connection is one that waits, if there is one; later ones are always new."""
        first = True

        async def open_model(
            *, on_frame: Callable[[bytes], None], on_lost: Callable[[ModelLost], None]
        ) -> ModelConnection:
            nonlocal first
            takes, first = first, False
            while takes and self._waiting:
                taken = await self._waiting.popleft().take(on_frame, on_lost)
                if taken is not None:
                    return taken
            return await self._open_model(on_frame=on_frame, on_lost=on_lost)

        return open_model

    def close(self) -> None:
        """Give up all that wait; idempotent."""
        while self._waiting:
            self._waiting.popleft().give_up()

    def _give_up(self, waiting: _Waiting) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)
            waiting.give_up()


class _Waiting:
    def __init__(self, open_model: OpenModel) -> None:
        self._frames: deque[bytes] = deque(maxlen=FRAMES_MAX)
        self._lost: ModelLost | None = None
        self._open_model = open_model
        self._opening = asyncio.get_running_loop().create_task(self._open())
        self.overdue: asyncio.TimerHandle | None = None

    async def take(
        self, on_frame: Callable[[bytes], None], on_lost: Callable[[ModelLost], None]
    ) -> ModelConnection | None:
        """None when it could not be opened, or is lost by now."""
        if self.overdue is not None:
            self.overdue.cancel()
        try:
            socket = await self._opening
        except asyncio.CancelledError:
            self.give_up()
            raise
        if socket is None or self._lost is not None:
            return None
        socket.listen(on_frame, on_lost)
        for frame in self._frames:
            on_frame(frame)
        return socket

    def give_up(self) -> None:
        if self.overdue is not None:
            self.overdue.cancel()
        self._opening.cancel()
        if self._opening.done() and not self._opening.cancelled() and (socket := self._opening.result()) is not None:
            close_soon(socket)

    async def _open(self) -> ModelConnection | None:
        try:
            return await self._open_model(on_frame=self._frames.append, on_lost=self._on_lost)
        except TransportError as e:
            log.warning("no model connection could be opened ahead of a call: %s", e)
        except Exception:
            log.exception("the attempt to open a model connection ahead of a call failed")
        return None

    def _on_lost(self, lost: ModelLost) -> None:
        self._lost = lost
