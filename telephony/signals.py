"""The signals that a program gets: they cancel it, except while it waits for them itself."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """The signals that this process gets. They cancel the program, except while it waits for them by `next`."""

    def __init__(self, program: asyncio.Task[Any]) -> None:
        self._program = program
        self._arrived: asyncio.Queue[int] = asyncio.Queue()
        self._handled = False
        self.cancelled = False  # whether a signal has ended the program
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self.send, number)

    async def next(self) -> int:
        """The next signal. From the first call on, signals do not cancel the program, until `give_back`."""
        self._handled = True
        return await self._arrived.get()

    def give_back(self) -> None:
        """From now on, signals cancel the program again."""
        self._handled = False

    def send(self, number: int) -> None:
        """As if this process had got the signal."""
        if self._handled:
            self._arrived.put_nowait(number)
        else:
            self.cancelled = True
            self._program.cancel()


Program: TypeAlias = Callable[[Signals], Coroutine[Any, Any, int]]


def run(program: Program) -> int:
    """Run a program that answers signals; on uvloop where there is one. Returns its exit status.

    It may leave by being cancelled: its context managers end what they began, and the status is 0.
    """
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.run(_until_signalled(program))
    return uvloop.run(_until_signalled(program))


async def _until_signalled(program: Program) -> int:
    started = asyncio.Event()

    async def begin() -> int:
        await started.wait()
        return await program(signals)

    task = asyncio.get_running_loop().create_task(begin(), name="program")
    signals = Signals(task)
    started.set()
    try:
        return await task
    except asyncio.CancelledError:
        if not signals.cancelled:
            raise
        return 0
