"""A call may have several media streams, each with an end of its own; its last word is looked for; and what is old is found
by its age."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("calls", sa.Column("streams", sa.Text(), nullable=False, server_default=sa.text("'[]'")))
    for table in ("turns", "tool_calls"):
        op.add_column(table, sa.Column("stream", sa.Integer(), nullable=False, server_default=sa.text("1")))
    going_on = sa.text("status IN ('queued', 'initiated', 'ringing', 'in-progress')")
    op.create_index(
        "ix_calls_going_on", "calls", ["finished_at"], unique=False, sqlite_where=going_on, postgresql_where=going_on
    )
    op.create_index("ix_events_at", "events", ["at"], unique=False)
    op.create_index("ix_audit_at", "audit", ["at"], unique=False)
    op.create_index("ix_audit_subject", "audit", ["subject", "audit_id"], unique=False)
