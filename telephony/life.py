"""How a server process lives and ends: it runs until a signal tells it to stop, and then stops without hurting callers.

SIGTERM and SIGHUP let calls finish first, up to DRAIN_SECONDS_MAX; SIGINT (Ctrl-C), or a second signal, has them told
goodbye at once; one more ends it all.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

from telephony.server import PhoneServer, SayGoodbye

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


async def serve_until_told(
    server: PhoneServer, signals: Signals, *, drain_seconds_max: float, say_goodbye: SayGoodbye
) -> None:
    """Wait for a signal, then drain; leave the server's context afterwards. Raises what made the server end by itself."""
    failed = asyncio.create_task(server.wait_failed())
    told = asyncio.create_task(signals.next())
    await asyncio.wait({failed, told}, return_when=asyncio.FIRST_COMPLETED)
    if told.done():
        seconds = 0.0 if told.result() == signal.SIGINT else drain_seconds_max
        while await _drained(server, signals, failed, seconds, say_goodbye) and seconds:
            seconds = 0.0
        signals.give_back()
    await _end(told)
    if failed.done():
        failed.result()
    await _end(failed)


async def _drained(
    server: PhoneServer, signals: Signals, failed: asyncio.Task[None], seconds: float, say_goodbye: SayGoodbye
) -> bool:
    """Drain; whether a signal has cut it short."""
    draining = asyncio.create_task(server.drain(seconds, say_goodbye))
    again = asyncio.create_task(signals.next())
    await asyncio.wait({failed, draining, again}, return_when=asyncio.FIRST_COMPLETED)
    cut_short = again.done() and not draining.done()
    if draining.done():
        draining.result()
    await _end(again)
    await _end(draining)
    return cut_short


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
