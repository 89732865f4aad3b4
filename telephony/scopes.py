"""What a token or an operator may do. Each right is one word; `admin` is all of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from realtime_bridge.errors import MisuseError

ADMIN: Final = "admin"
SCOPES: Final = {
    "calls:read": "List calls, read transcripts and events, follow live calls.",
    "calls:write": "Place calls; hang up, transfer, hold, mute and speak into live ones.",
    "approvals:read": "List tool calls that wait for approval, with their arguments.",
    "approvals:decide": "Approve or reject them.",
    "suppressions:read": "List numbers that must not be called.",
    "suppressions:write": "Add and remove such numbers.",
    "recordings:read": "Hear recordings; read call.json and the timeline.",
    "audit:read": "Read who did what, and when.",
    "people:export": "Export everything of the calls with one person.",
    "people:erase": "Erase it.",
    "numbers:read": "See phone numbers in full; without it they are masked.",
    ADMIN: "All of these.",
}


def allows(scopes: Collection[str], wanted: str) -> bool:
    return wanted in scopes or ADMIN in scopes


def check_scopes(scopes: Iterable[str]) -> tuple[str, ...]:
    """Each once, in the table's order. Raises MisuseError for an unknown one, or for none at all."""
    given = set(scopes)
    unknown = sorted(given - set(SCOPES))
    if unknown:
        raise MisuseError(f"unknown scope {unknown[0]!r}; there are: {', '.join(SCOPES)}")
    if not given:
        raise MisuseError(f"give at least one scope: {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in given)
