"""The time of day that all processes on one database share: the database's.

Clocks of machines differ. By its own, one of them would let an approval expire that waits on another, take a living node
for dead, or use a token that is over. So each process measures how far the database's clock is from its own, when it
opens the store and then once a minute, and reckons with that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import func, select

from telephony.store.database import Database

log = logging.getLogger(__name__)

NOTICED: Final = timedelta(milliseconds=500)  # less is the answer's way as likely as the clock
TOLD: Final = timedelta(seconds=5)
ANSWER_MAX: Final = timedelta(seconds=2)  # a slower one tells no time


def utc_now() -> datetime:
    return datetime.now(UTC)


class SharedClock:
    """Call it for the time. Until `measure` was awaited, and on SQLite, which has no clock, it is this machine's."""

    def __init__(self, database: Database, local: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._local = local
        self._ahead = timedelta(0)  # the database's, of ours

    def __call__(self) -> datetime:
        return self._local() + self._ahead

    async def measure(self) -> None:
        """Ask the database for the time. Raises StoreError."""
        if self._database.is_sqlite:
            return
        asked, told, answered = await self._database.read(
            lambda c: (self._local(), c.execute(select(func.clock_timestamp())).scalar_one(), self._local()),
            "ask for the time",
        )
        if answered - asked > ANSWER_MAX:
            return
        ahead = told - (asked + (answered - asked) / 2)
        before, self._ahead = self._ahead, ahead if abs(ahead) >= NOTICED else timedelta(0)
        if abs(ahead) >= TOLD and abs(ahead - before) >= TOLD:
            log.warning(
                "the database's clock is %+.1f s from this machine's, and counts: let NTP set both",
                ahead.total_seconds(),
            )
