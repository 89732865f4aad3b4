"""What a server does by itself, again and again: it says that it lives, asks Twilio about calls that nobody told of, and
forgets what has been kept for long enough."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from realtime_bridge.errors import BridgeError
from telephony.calls.live import LiveCalls
from telephony.outbound.settlement import reconcile
from telephony.privacy.retention import prune
from telephony.store import Store, StoreError
from telephony.twilio.rest import TwilioRest

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 10.0
RECONCILE_S: Final = 60.0
FORGET_S: Final = 3600.0
LEAVE_S_MAX: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """For how many days; None for ever. `data_dir`: where the recordings lie."""

    calls: float | None = None
    audit: float | None = None
    recordings: float | None = None
    data_dir: Path = Path()


async def forget(store: Store, keep: Keep) -> None:
    """Delete what is older. Raises StoreError."""
    if keep.recordings is not None:  # first: a call stays for as long as its recording does
        await prune(store, keep.data_dir, store.now() - timedelta(days=keep.recordings))
    for days, delete in ((keep.calls, store.forgetting.calls), (keep.audit, store.forgetting.audit)):
        if days is not None and (count := await delete(store.now() - timedelta(days=days))):
            log.info("%s of more than %g days ago are deleted: %d", delete.__name__, days, count)


@asynccontextmanager
async def housekeeping(
    store: Store,
    rest: TwilioRest | None,
    live: LiveCalls,
    keep: Keep = Keep(),
) -> AsyncIterator[None]:
    """While it lasts. `rest` None: there is nobody to ask."""

    async def beat() -> None:
        await store.nodes.heartbeat(store.node, {"calls": len(live)})

    chores = [_every(HEARTBEAT_S, beat, "heartbeat")]
    if rest is not None:
        chores.append(_every(RECONCILE_S, _reconciling(store, rest, live), "reconciliation"))
    if (keep.calls, keep.audit, keep.recordings) != (None, None, None):
        chores.append(_every(FORGET_S, lambda: forget(store, keep), "forgetting"))
    tasks = [asyncio.create_task(chore) for chore in chores]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await _leave(store)


def _reconciling(store: Store, rest: TwilioRest, live: LiveCalls) -> Callable[[], Awaitable[Any]]:
    def is_live(call_sid: str) -> bool:
        return live.get(call_sid) is not None

    return lambda: reconcile(store, rest, store.now(), is_live=is_live)


async def _every(seconds: float, work: Callable[[], Awaitable[Any]], name: str) -> None:
    """At once, and again and again; what fails is tried the next time."""
    while True:
        try:
            await work()
        except BridgeError as e:
            log.warning("%s: %s", name, e)
        except Exception:
            log.exception("%s failed", name)
        await asyncio.sleep(seconds)


async def _leave(store: Store) -> None:
    """So that nobody waits for this process, or takes its calls for lost."""
    try:
        async with asyncio.timeout(LEAVE_S_MAX):
            await store.nodes.leave(store.node)
    except (StoreError, TimeoutError) as e:
        log.warning("the store was not told that this process has ended: %s", e)
