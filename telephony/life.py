"""How a server process ends: when a signal tells it to, without hurting callers.

SIGTERM and SIGHUP let calls finish first, up to DRAIN_SECONDS_MAX; SIGINT (Ctrl-C), or a second signal, has them told
goodbye at once; one more ends it all.
"""

from __future__ import annotations

import asyncio
import signal
from typing import Any

from telephony.server import PhoneServer, SayGoodbye
from telephony.signals import Signals


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
