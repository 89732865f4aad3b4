"""A call may have several media streams, each with an end of its own; and the audit is searched and cleared by age."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("calls", sa.Column("streams", sa.Text(), nullable=False, server_default=sa.text("'[]'")))
    for table in ("turns", "tool_calls"):
        op.add_column(table, sa.Column("stream", sa.Integer(), nullable=False, server_default=sa.text("1")))
    op.create_index("ix_events_at", "events", ["at"], unique=False)
    op.create_index("ix_audit_at", "audit", ["at"], unique=False)
    op.create_index("ix_audit_subject", "audit", ["subject", "audit_id"], unique=False)
