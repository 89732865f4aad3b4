"""What outlives a call and a process: calls, approvals, attempts, tokens, and the bus between processes.

`async with Store.open(url, node=…) as store` opens it; its parts are attributes, its rows are in `rows.py`. Everything
that fails raises StoreError.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from telephony.store.bus import Bus, Subscription
    from telephony.store.errors import StoreError
    from telephony.store.keeping import RecordKeeper
    from telephony.store.store import Store

__all__ = ["Bus", "RecordKeeper", "Store", "StoreError", "Subscription"]

_HOMES = {
    "Bus": "telephony.store.bus",
    "RecordKeeper": "telephony.store.keeping",
    "Store": "telephony.store.store",
    "StoreError": "telephony.store.errors",
    "Subscription": "telephony.store.bus",
}


def __getattr__(name: str) -> Any:
    """Import on first use: SQLAlchemy takes its time, and a command that only prints its help need not wait for it."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
