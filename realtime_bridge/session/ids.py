"""New ids, counted instead of drawn: the same inputs give the same ids."""

from __future__ import annotations


class Ids:
    """One counter for everything a session names: events, items, guardrail runs."""

    def __init__(self) -> None:
        self._last = 0

    def new(self, kind: str) -> str:
        """`rb_<kind>_<n>`; an item's id may have 32 characters (the Realtime API's limit), which this never reaches."""
        self._last += 1
        return f"rb_{kind}_{self._last}"
