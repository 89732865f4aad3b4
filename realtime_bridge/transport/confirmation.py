"""Whether the model confirms, in time, what a session is to be: the first one, and each that takes its place.

A model that takes a `session.update` and never answers is no better than one that cannot be reached.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from realtime_bridge.errors import TransportError
from realtime_bridge.transport.base import ModelLost


class Confirmation:
    """`begin` when a session opens, `confirmed` or `failed` when the model has answered, `stop` when its socket is gone."""

    def __init__(self, on_failure: Callable[[ModelLost], None], *, seconds_max: float) -> None:
        """`on_failure`: is told how a session failed, except the first, which `first` tells."""
        self._on_failure = on_failure
        self._seconds_max = seconds_max
        self._timer: asyncio.TimerHandle | None = None
        self._answered = asyncio.Event()  # for the first session
        self._refusal: TransportError | None = None

    @property
    def had_first(self) -> bool:
        """The first session has been confirmed, or has failed."""
        return self._answered.is_set()

    async def first(self) -> None:
        """Wait until the first session is confirmed. Raises TransportError when it is not."""
        await self._answered.wait()
        if self._refusal is not None:
            raise self._refusal

    def begin(self) -> None:
        self.stop()
        overdue = ModelLost(message=f"the model did not confirm the session within {self._seconds_max:g} s")
        self._timer = asyncio.get_running_loop().call_later(self._seconds_max, self.failed, overdue)

    def confirmed(self) -> None:
        self.stop()
        self._answered.set()

    def failed(self, lost: ModelLost) -> None:
        if self.had_first:
            self.stop()
            self._on_failure(lost)
        else:
            self.give_up(lost)

    def give_up(self, why: ModelLost) -> None:
        """Everything is over: nobody is told any more, except who waits for the first session."""
        self.stop()
        if not self.had_first:
            self._refusal = TransportError(why.message, code=why.code, retryable=why.retryable)
            self._answered.set()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
