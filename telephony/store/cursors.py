"""Where a page of a list ends, as a text to send back for the next one: a time and an id.

New rows come in front, so pages do not shift under their reader, as they would when counted.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, and_, or_

from realtime_bridge.errors import MisuseError


def cursor_of(at: datetime, row_id: str) -> str:
    return f"{at.isoformat()}~{row_id}"


def older_than(time: Column[Any], row_id: Column[Any], cursor: str) -> ColumnElement[bool]:
    """The rows behind the cursor, newest first. Raises MisuseError for what `cursor_of` did not make."""
    at_text, _, last_id = cursor.partition("~")
    try:
        at = datetime.fromisoformat(at_text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise MisuseError("`before` must be the `before` of an earlier page, unchanged")
    # The first condition says nothing new, but finds its way by the index.
    return and_(time <= at, or_(time < at, row_id < last_id))
