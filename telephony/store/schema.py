"""The tables, as SQLAlchemy sees them. `migrations/` builds the same; a test compares the two.

Columns are named as the fields of the rows in `rows.py`. There are no foreign keys to `calls` but from what is stored
together with a call's end: an event or an approval must not be lost because its call could not be stored yet.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    false,
    text,
)

HEAD: Final = "0003"  # the newest migration; told here too, so that a database that has it needs no Alembic to open


class UtcTime(TypeDecorator[datetime]):
    """Aware times, kept in UTC: SQLite knows no time zones, and Postgres would answer in the session's."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class Words(TypeDecorator[str]):
    """Text from outside. What Postgres cannot keep (U+0000, lone surrogates) becomes U+FFFD, in SQLite too."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        del dialect
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return value.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Json(TypeDecorator[Any]):
    """JSON as text: the same bytes in both databases, and U+0000 is no trouble. Nothing is searched inside."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        del dialect
        return None if value is None else msgspec.json.encode(value).decode()

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        del dialect
        return None if value is None else msgspec.json.decode(value)


# SQLite counts up by itself only in a column that is exactly INTEGER.
Counter = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _required(name: str, kind: Any = Words) -> Column[Any]:
    return Column(name, kind, nullable=False)


def _optional(name: str, kind: Any = Words) -> Column[Any]:
    return Column(name, kind, nullable=True)


# Of calls that Twilio's last word is still to come of. Spelt out, so that a query with these words finds the index.
GOING_ON: Final = "status IN ('queued', 'initiated', 'ringing', 'in-progress')"

calls = Table(
    "calls",
    metadata,
    Column("call_sid", Words, primary_key=True),
    _required("direction"),
    _required("from_number"),
    _required("to_number"),
    _required("created_at", UtcTime),
    _optional("agent"),
    _optional("node"),
    _required("status"),
    _optional("parent_call_sid"),
    _optional("attempt_id"),
    _required("parameters", Json),
    _required("carrier", Json),
    _optional("sequence", Integer),
    _optional("answered_at", UtcTime),
    _optional("ended_at", UtcTime),
    _optional("finished_at", UtcTime),
    _optional("duration_ms", BigInteger),
    _optional("disposition"),
    Column("reconstructed", Boolean, nullable=False, server_default=false()),
    _optional("recording"),
    _optional("usage", Json),
    _optional("cost_usd", Float),
    _required("problems", Json),
    Column("streams", Json, nullable=False, server_default=text("'[]'")),
    Index("ix_calls_going_on", "finished_at", sqlite_where=text(GOING_ON), postgresql_where=text(GOING_ON)),
    Index("ix_calls_created", "created_at", "call_sid"),
    Index("ix_calls_from_number", "from_number", "created_at"),
    Index("ix_calls_to_number", "to_number", "created_at"),
    # Calls whose end nobody told are few, and asked for often.
    Index(
        "ix_calls_unfinished", "node", sqlite_where=text("finished_at IS NULL"),
        postgresql_where=text("finished_at IS NULL"),
    ),
)  # fmt: skip

turns = Table(
    "turns",
    metadata,
    Column("call_sid", Words, ForeignKey("calls.call_sid", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _required("role"),
    _required("text"),
    _required("cut", Boolean),
    _required("unheard"),
    _optional("agent"),
    _optional("start_ms", BigInteger),
    _optional("end_ms", BigInteger),
    Column("stream", Integer, nullable=False, server_default=text("1")),
)

tool_calls = Table(
    "tool_calls",
    metadata,
    Column("call_sid", Words, ForeignKey("calls.call_sid", ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    _required("call_id"),
    _required("name"),
    _required("arguments", Json),
    _required("start_ms", BigInteger),
    _optional("end_ms", BigInteger),
    _optional("outcome"),
    _optional("output"),
    _optional("approved", Boolean),
    _optional("agent"),
    Column("stream", Integer, nullable=False, server_default=text("1")),
)

events = Table(
    "events",
    metadata,
    Column("event_id", Counter, primary_key=True),
    Column("event_key", Words, unique=True, nullable=True),  # what makes a repetition harmless
    _required("call_sid"),
    _required("kind"),
    _required("data", Json),
    _required("at", UtcTime),
    Index("ix_events_at", "at"),
    Index("ix_events_call", "call_sid", "event_id"),
    sqlite_autoincrement=True,
)

approvals = Table(
    "approvals",
    metadata,
    Column("approval_id", Words, primary_key=True),
    _required("call_sid"),
    _required("call_id"),
    _required("agent"),
    _required("tool"),
    _required("arguments"),
    _required("asked_at", UtcTime),
    _required("expires_at", UtcTime),
    _optional("node"),
    _required("details", Json),
    _required("status"),
    _optional("decided_at", UtcTime),
    _optional("decided_by"),
    _optional("message"),
    _required("always", Boolean),
    CheckConstraint("status IN ('waiting', 'approved', 'rejected', 'expired', 'cancelled')", name="status"),
    Index("ix_approvals_asked", "asked_at", "approval_id"),
    Index("ix_approvals_call", "call_sid"),
    Index("ix_approvals_status", "status", "expires_at"),
)

attempts = Table(
    "attempts",
    metadata,
    Column("attempt_id", Words, primary_key=True),
    Column("idempotency_key", Words, unique=True, nullable=False),
    _required("to_number"),
    _required("from_number"),
    _required("created_at", UtcTime),
    _optional("agent"),
    _optional("node"),
    _required("parameters", Json),
    _required("details", Json),
    _required("status"),
    Column("call_sid", Words, unique=True, nullable=True),
    _optional("code", Integer),
    _optional("reason"),
    _optional("answered_by"),
    _optional("updated_at", UtcTime),
    Index("ix_attempts_created", "created_at", "attempt_id"),
    Index("ix_attempts_status", "status", "created_at"),
)

suppressions = Table(
    "suppressions",
    metadata,
    Column("number", Words, primary_key=True),
    _required("added_at", UtcTime),
    _required("reason"),
    _required("added_by"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", Words, primary_key=True),
    Column("secret_hash", Words, unique=True, nullable=False),
    _required("name"),
    _required("scopes", Json),
    _required("created_at", UtcTime),
    _optional("expires_at", UtcTime),
    _optional("revoked_at", UtcTime),
    _optional("last_used_at", UtcTime),
)

operators = Table(
    "operators",
    metadata,
    Column("name", Words, primary_key=True),
    _required("password_hash"),
    _required("scopes", Json),
    _required("created_at", UtcTime),
    _optional("disabled_at", UtcTime),
)

audit = Table(
    "audit",
    metadata,
    Column("audit_id", Counter, primary_key=True),
    _required("at", UtcTime),
    _required("who"),
    _required("action"),
    _required("subject"),
    _required("data", Json),
    Index("ix_audit_at", "at"),
    Index("ix_audit_subject", "subject", "audit_id"),
    sqlite_autoincrement=True,
)

stream_tokens = Table(
    "stream_tokens",
    metadata,
    Column("token_hash", Words, primary_key=True),
    _required("call_sid"),
    _required("expires_at", UtcTime),
    _required("details", Json),
    Index("ix_stream_tokens_expires", "expires_at"),
)

messages = Table(
    "messages",
    metadata,
    Column("message_id", Counter, primary_key=True),
    _required("topic"),
    _required("body", Json),
    _required("sender"),
    _required("at", UtcTime),
    _optional("node"),
    Index("ix_messages_at", "at"),
    sqlite_autoincrement=True,  # an id that was deleted is never given again: readers remember the last one they saw
)

nodes = Table(
    "nodes",
    metadata,
    Column("node", Words, primary_key=True),
    _required("started_at", UtcTime),
    _required("seen_at", UtcTime),
    _required("details", Json),
)
