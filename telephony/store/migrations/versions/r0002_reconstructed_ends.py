"""Whether a call's end was told by who had the call, or found out afterwards."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("calls", sa.Column("reconstructed", sa.Boolean(), nullable=False, server_default=sa.false()))
