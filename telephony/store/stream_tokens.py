"""Tokens that let one media stream in: put by the worker that answered Twilio's webhook, used on any, once."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, delete, select

from telephony.store.database import Database
from telephony.store.schema import stream_tokens


class StreamTokens:
    """`Store.stream_tokens`. Only hashes of tokens come here. Each method raises StoreError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, token_hash: str, call_sid: str, expires_at: datetime, details: dict[str, Any]) -> None:
        """Let a stream of this call in until then; `details` come back with its use."""
        values = {"token_hash": token_hash, "call_sid": call_sid, "expires_at": expires_at, "details": details}
        await self._database.write(lambda c: self._database.put_new(c, stream_tokens, values), "store a stream's token")

    async def use(self, token_hash: str, call_sid: str, now: datetime) -> dict[str, Any] | None:
        """Its details, to the first who uses it in time and for its call; None for all others.

        A wrong call or time leaves it as it is. After an error the token may be used up: refuse the stream.
        """
        valid = (
            stream_tokens.c.token_hash == token_hash,
            stream_tokens.c.call_sid == call_sid,
            stream_tokens.c.expires_at > now,
        )

        def work(c: Connection) -> dict[str, Any] | None:
            details = c.execute(select(stream_tokens.c.details).where(*valid)).scalar()
            used = c.execute(delete(stream_tokens).where(*valid)).rowcount == 1
            return cast("dict[str, Any]", details) if used else None

        return await self._database.write(work, "use a stream's token")

    async def forget_expired(self, now: datetime) -> int:
        """Delete those that nobody used; how many."""
        gone = delete(stream_tokens).where(stream_tokens.c.expires_at <= now)
        return await self._database.write(lambda c: c.execute(gone).rowcount, "delete old tokens of streams")
