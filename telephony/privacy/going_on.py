"""Which calls go on at this moment: what is written of them cannot be taken away yet."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from telephony.store import Store
from telephony.store.rows import AttemptRow, CallRow
from telephony.store.states import is_final

SILENT_S_MAX: Final = 60  # of a process that lives; it says so every ten seconds
LASTS_MAX: Final = timedelta(hours=5)  # no call is longer than four hours, ringing left out


async def calls_going_on(store: Store, rows: Iterable[CallRow]) -> tuple[str, ...]:
    """Those of these that nobody has ended, of a process that lives. Raises StoreError."""
    now = store.now()
    alive = {node.node for node in await store.nodes.alive(now - timedelta(seconds=SILENT_S_MAX))}
    return tuple(
        row.call_sid
        for row in rows
        if row.finished_at is None
        and not is_final(row.status)
        and now - row.created_at < LASTS_MAX
        and (row.node is None or row.node in alive)
    )


def attempts_going_on(store: Store, rows: Iterable[AttemptRow]) -> tuple[str, ...]:
    """Those of these whose call may still begin, or goes on."""
    now = store.now()
    return tuple(row.attempt_id for row in rows if not is_final(row.status) and now - row.created_at < LASTS_MAX)
