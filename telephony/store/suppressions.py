"""Numbers that must not be called, because somebody asked for that."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from sqlalchemy import delete, select

from telephony.store.database import Database, columns_of, to_struct
from telephony.store.rows import SuppressionRow
from telephony.store.schema import suppressions

PAGE_MAX: Final = 1000


class Suppressions:
    """`Store.suppressions`. Numbers are E.164, as whoever asks has normalised them. Each method raises StoreError."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def add(self, number: str, *, reason: str = "", by: str = "") -> bool:
        """Whether it was new; the first reason is kept."""
        values = {"number": number, "added_at": self._clock(), "reason": reason, "added_by": by}
        return await self._database.write(
            lambda c: self._database.put_new(c, suppressions, values), "suppress a number"
        )

    async def remove(self, number: str) -> bool:
        """Whether it was there."""
        gone = delete(suppressions).where(suppressions.c.number == number)
        return await self._database.write(lambda c: c.execute(gone).rowcount == 1, "allow a number again")

    async def contains(self, number: str) -> bool:
        query = select(suppressions.c.number).where(suppressions.c.number == number)
        return await self._database.read(lambda c: c.execute(query).first() is not None, "look up a suppressed number")

    async def list(self, *, after: str = "", limit: int = PAGE_MAX) -> tuple[SuppressionRow, ...]:
        """By number; `after`: the last one of the page before this."""
        query = (
            select(*columns_of(suppressions, SuppressionRow))
            .where(suppressions.c.number > after)
            .order_by(suppressions.c.number)
            .limit(max(1, min(limit, PAGE_MAX)))
        )
        return await self._database.read(
            lambda c: tuple(to_struct(SuppressionRow, row) for row in c.execute(query)), "list suppressed numbers"
        )
