"""Messages between the processes that serve calls: events for whoever watches, commands for whoever has a call.

A message is a row first; then readers are woken, and read all rows behind the last one they saw. Being woken is only
for speed: readers also look by themselves now and then. On SQLite, a publisher wakes its own process, and others on the
machine look every quarter of a second whether the file has changed; on Postgres, NOTIFY wakes all (`listening.py`).

Ids rise in the order in which messages become visible: SQLite has one writer, and on Postgres publishers queue at a
lock until their message is committed. Otherwise a reader could see number 5, and never look for the 4 that came after.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, delete, func, insert, or_, select, text

from realtime_bridge.errors import MisuseError
from telephony.store.database import Database, columns_of, to_struct
from telephony.store.errors import StoreError
from telephony.store.file_watch import FileWatch
from telephony.store.rows import BusMessage
from telephony.store.schema import messages

log = logging.getLogger(__name__)

CHANNEL: Final = "realtime_bridge_bus"
BODY_BYTES_MAX: Final = 256 * 1024
READ_AT_ONCE_MAX: Final = 200
KEPT: Final = timedelta(minutes=10)  # a reader that is cut off for longer misses what was published meanwhile
POLL_S_SQLITE: Final = 0.25
POLL_S_POSTGRES: Final = 5.0
RETRY_S: Final = 1.0
_PUBLISHERS: Final = 0x6275735F6F726465  # an advisory lock of ours alone

Handler = Callable[[BusMessage], None]


class Subscription:
    """Ends with `close`; no message is handled afterwards."""

    def __init__(self, bus: Bus, topic: str, handler: Handler) -> None:
        self.topic = topic
        self.handler = handler
        self._bus = bus

    def close(self) -> None:
        self._bus._drop(self)  # noqa: SLF001 - two halves of one thing


class Bus:
    """`Store.bus`. Delivers at least once, in the order of ids, from the moment of subscribing (and may begin a little
    earlier). A node's own messages come back to it too."""

    def __init__(self, database: Database, node: str, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._node = node
        self._clock = clock
        self._poll_s = POLL_S_SQLITE if database.is_sqlite else POLL_S_POSTGRES
        self._file = FileWatch(Path(database.url.database or "")) if database.is_sqlite else None
        self._subscriptions: dict[str, list[Subscription]] = {}
        self._wake = asyncio.Event()
        self._last = 0  # the id of the last message that was seen
        self._failing = False

    async def publish(self, topic: str, body: dict[str, Any], *, node: str | None = None) -> int:
        """Send to every subscriber of the topic, or to those of one node; returns the message's id. Raises StoreError,
        and MisuseError for a body that is no JSON or too long."""
        try:
            size = len(msgspec.json.encode(body))
        except (TypeError, ValueError) as e:
            raise MisuseError(f"the body of a message on {topic!r} is no JSON: {e}") from e
        if size > BODY_BYTES_MAX:
            raise MisuseError(f"the body of a message on {topic!r} has {size} bytes; at most {BODY_BYTES_MAX} are sent")
        values = {"topic": topic, "body": body, "sender": self._node, "at": self._clock(), "node": node}
        message_id = await self._database.write(lambda c: self._publish(c, values), "publish a message")
        self._wake.set()
        return message_id

    def subscribe(self, topic: str, handler: Handler) -> Subscription:
        """Have `handler` called in the event loop with each message of the topic. It must not block; what it raises is
        logged, and ends nothing."""
        subscription = Subscription(self, topic, handler)
        self._subscriptions.setdefault(topic, []).append(subscription)
        return subscription

    def wake(self) -> None:
        """Look for messages now."""
        self._wake.set()

    async def start(self) -> None:
        """Take the place behind the last message there is. Before `run`."""
        self._last = await self._database.read(
            lambda c: c.execute(select(func.coalesce(func.max(messages.c.message_id), 0))).scalar_one(),
            "look for the last message",
        )

    async def run(self) -> None:
        """Deliver, until cancelled."""
        while True:
            more = await self._deliver()
            if more:
                continue
            await self._wait()

    async def forget_old(self) -> int:
        """Delete messages that everybody has had time to read; how many."""
        gone = delete(messages).where(messages.c.at < self._clock() - KEPT)
        return await self._database.write(lambda c: c.execute(gone).rowcount, "delete old messages")

    async def _wait(self) -> None:
        """Until it is worth while to look."""
        while True:
            try:
                async with asyncio.timeout(RETRY_S if self._failing else self._poll_s):
                    await self._wake.wait()
            except TimeoutError:
                if self._file is not None and not self._failing and not self._file.has_changed():
                    continue
            return

    async def _deliver(self) -> bool:
        """What is new, up to a limit; whether there may be more."""
        self._wake.clear()  # before reading: what is published from here on wakes again
        query = (
            select(*columns_of(messages, BusMessage))
            .where(messages.c.message_id > self._last, or_(messages.c.node.is_(None), messages.c.node == self._node))
            .order_by(messages.c.message_id)
            .limit(READ_AT_ONCE_MAX)
        )
        try:
            found = await self._database.read(
                lambda c: [to_struct(BusMessage, row) for row in c.execute(query)], "read messages"
            )
        except StoreError as e:
            if not self._failing:
                log.warning("messages of other processes wait: %s", e)
            self._failing = True
            return False
        if self._failing:
            log.info("messages of other processes come again")
        self._failing = False
        for message in found:
            self._last = message.message_id
            self._hand_out(message)
        return len(found) == READ_AT_ONCE_MAX

    def _hand_out(self, message: BusMessage) -> None:
        for subscription in tuple(self._subscriptions.get(message.topic, ())):
            if subscription not in self._subscriptions.get(message.topic, ()):
                continue  # closed by a handler before it
            try:
                subscription.handler(message)
            except Exception:
                log.exception("the handler of message %d on %s failed", message.message_id, message.topic)

    def _publish(self, c: Connection, values: dict[str, Any]) -> int:
        if not self._database.is_sqlite:
            c.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _PUBLISHERS})
        key = c.execute(insert(messages).values(values)).inserted_primary_key
        assert key is not None
        message_id: int = key[0]
        if not self._database.is_sqlite:
            c.execute(text("SELECT pg_notify(:channel, :id)"), {"channel": CHANNEL, "id": str(message_id)})
        return message_id

    def _drop(self, subscription: Subscription) -> None:
        known = self._subscriptions.get(subscription.topic, [])
        if subscription in known:
            known.remove(subscription)
        if not known:
            self._subscriptions.pop(subscription.topic, None)
