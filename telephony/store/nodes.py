"""Which processes serve calls, by their own word: one that is silent for long has died, and so have its calls."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete, select

from telephony.store.database import Database, columns_of, to_struct
from telephony.store.rows import NodeRow
from telephony.store.schema import nodes

LIST_MAX: Final = 10_000


class Nodes:
    """`Store.nodes`. Each method raises StoreError."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._clock = clock

    async def heartbeat(self, node: str, details: dict[str, Any] | None = None) -> None:
        """This node lives. `details`: its calls, whether it drains, …"""
        now = self._clock()
        beat = {"seen_at": now, "details": details or {}}
        statement = (
            self._database.insert(nodes)
            .values(beat | {"node": node, "started_at": now})
            .on_conflict_do_update(index_elements=["node"], set_=beat)
        )
        await self._database.write(lambda c: c.execute(statement), "tell that this node lives")

    async def alive(self, since: datetime) -> tuple[NodeRow, ...]:
        """Nodes heard of since then, by name."""
        query = (
            select(*columns_of(nodes, NodeRow)).where(nodes.c.seen_at >= since).order_by(nodes.c.node).limit(LIST_MAX)
        )
        return await self._database.read(
            lambda c: tuple(to_struct(NodeRow, row) for row in c.execute(query)), "look which nodes live"
        )

    async def leave(self, node: str) -> bool:
        """It has ended in order."""
        gone = delete(nodes).where(nodes.c.node == node)
        return await self._database.write(lambda c: c.execute(gone).rowcount == 1, "tell that this node has ended")

    async def forget_silent(self, before: datetime) -> int:
        """Delete those that have been silent since before then; how many."""
        gone = delete(nodes).where(nodes.c.seen_at < before)
        return await self._database.write(lambda c: c.execute(gone).rowcount, "forget dead nodes")
