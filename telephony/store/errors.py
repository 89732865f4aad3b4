"""What a store can say when it fails: one error, without the values that were stored.

Messages of databases repeat the row that displeased them, phone numbers included; so the driver's error is not kept as
the cause, only what kind it was and what its words are known to be safe.
"""

from __future__ import annotations

from realtime_bridge.errors import BridgeError


class StoreError(BridgeError):
    """The database could not do what was asked; the message says what to do about it.

    `retryable`: the same request may succeed later, as it is (locked, overloaded, away). Whether this one was carried
    out is unknown when it failed while it was being committed; every method may therefore be repeated.
    """

    def __init__(self, message: str, *, retryable: bool) -> None:
        super().__init__(message)
        self.retryable = retryable
