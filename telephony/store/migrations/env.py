"""What Alembic runs to reach the database: it is given the connection, in a transaction that it must not end.

Imported as a part of this package, it does nothing.
"""

from __future__ import annotations

from alembic import context

from telephony.store.schema import metadata

if __name__ == "env_py":  # what Alembic calls it
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        render_as_batch=True,  # SQLite cannot alter much of a table: it is copied
        transactional_ddl=False,  # the transaction is the caller's
    )
    context.run_migrations()
