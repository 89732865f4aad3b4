"""Deciding a waiting approval, from any process: the API, the command line, the call's own desk.

Apart from the desk (`approvals`), since whoever only decides needs no calls, no sessions and no agents.
"""

from __future__ import annotations

import logging
from typing import Final

from telephony.store import Store, StoreError
from telephony.store.rows import Decision

log = logging.getLogger(__name__)

DECIDED_TOPIC: Final = "approval.decided"  # on the bus, to the call's node: look at this row


async def decide(
    store: Store, approval_id: str, *, approved: bool, by: str, message: str | None = None, always: bool = False
) -> Decision:
    """Decide a waiting approval, from any process that has the store; the process of its call acts on it.

    `by`: for the audit, such as `operator:ann`. `message`: told to the model, of a rejection. `always`: for the rest of
    the call. Raises StoreError; then it may or may not have been decided, and may be repeated.
    """
    decision = await store.approvals.decide(approval_id, approved=approved, by=by, message=message, always=always)
    if decision.won and decision.row is not None:
        try:
            await store.bus.publish(DECIDED_TOPIC, {"approval_id": approval_id}, node=decision.row.node)
        except StoreError as e:  # decided it is; the call's process looks by itself
            log.warning("approval %s is decided, but its call is told late: %s", approval_id, e)
    return decision
