"""The offline model behind a bad line, or with bad manners: late, lost, slow to answer, repeating itself, objecting."""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from realtime_bridge.transport.base import ModelLost

Event = dict[str, Any]


class BentModels:
    """Opens sessions of other models (an `OpenModel`).

    `open_s`: until a session is open; `late_s`: on the way of everything the model says. `says(event)` returns what comes
    instead of an event of the model; `hears(event)` what the model answers to an event that never reached it, or None to
    let it pass. `lose()` breaks the latest connection.
    """

    def __init__(
        self,
        models,
        *,
        open_s: float = 0.0,
        late_s: float = 0.0,
        says: Callable[[Event], list[Event]] = lambda event: [event],
        hears: Callable[[Event], list[Event] | None] = lambda event: None,
    ) -> None:
        self._models = models
        self._open_s = open_s
        self._late_s = late_s
        self._says = says
        self._hears = hears
        self._latest: _BentSocket | None = None

    async def __call__(self, *, on_frame, on_lost):
        await asyncio.sleep(self._open_s)
        socket = self._latest = _BentSocket(on_frame, on_lost, self._late_s, self._says, self._hears)
        socket.inner = await self._models(on_frame=socket.from_model, on_lost=socket.lost)
        return socket

    def lose(self) -> None:
        asyncio.get_running_loop().create_task(self._latest.break_off())


class _BentSocket:
    def __init__(self, on_frame, on_lost, late_s, says, hears):
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._late_s = late_s
        self._says = says
        self._hears = hears
        self._over = False
        self._frames = deque()  # on their way
        self._loop = asyncio.get_running_loop()

    def listen(self, on_frame, on_lost):
        self._on_frame, self._on_lost = on_frame, on_lost

    def send(self, frame):
        if (answers := self._hears(json.loads(frame))) is None:
            self.inner.send(frame)
        else:
            for event in answers:
                self._later(json.dumps(event).encode())

    async def close(self):
        self._over = True
        await self.inner.close()

    async def break_off(self):
        await self.close()
        self._on_lost(ModelLost(message="the connection broke", code=1006))

    def from_model(self, frame):
        event = json.loads(frame)
        for said in self._says(event):
            self._later(frame if said is event else json.dumps(said).encode())

    def lost(self, lost):
        if not self._over:
            self._on_lost(lost)

    def _later(self, frame):
        """Never from within `send`. In order: timers of the same moment may ring in any."""
        self._frames.append(frame)
        self._loop.call_later(self._late_s, self._deliver)

    def _deliver(self):
        frame = self._frames.popleft()
        if not self._over:
            self._on_frame(frame)
