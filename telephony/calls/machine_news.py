"""Who has answered a call of ours, where Twilio found out before the agent was there.

Its callback comes when it comes: if the call's stream is late, there is nobody yet to take it to. It is kept with the
attempt, so the agent's process looks there when the call begins. A callback that comes later finds the call; one that
comes meanwhile may be heeded twice, which does no harm.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from telephony.call_details import CallDetails
from telephony.calls.commands import MachineAnswered
from telephony.calls.live import CallEnding, LiveCall
from telephony.store import Store, StoreError

log = logging.getLogger(__name__)

CLOSE_S_MAX: Final = 2.0


class MachineNews:
    """A `CallListener`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looking: set[asyncio.Task[None]] = set()

    def call_began(self, call: LiveCall) -> None:
        details = call.details
        if details.attempt_id is None or (details.on_machine == "talk" and details.on_unknown == "talk"):
            return
        task = asyncio.get_running_loop().create_task(self._look(call, details.attempt_id))
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    def call_ended(self, details: CallDetails, ending: CallEnding) -> None:
        """Nothing follows."""

    async def close(self) -> None:
        """When the calls are over."""
        if self._looking:
            _, pending = await asyncio.wait(self._looking, timeout=CLOSE_S_MAX)
            for task in pending:
                task.cancel()

    async def _look(self, call: LiveCall, attempt_id: str) -> None:
        try:
            attempt = await self._store.attempts.get(attempt_id)
        except StoreError as e:
            log.warning("call %s: who has answered is not known: %s", call.sid, e)
            return
        if attempt is not None and attempt.answered_by not in (None, "human"):
            log.info("call %s: %s had answered before the agent was there", call.sid, attempt.answered_by)
            try:
                await MachineAnswered(answered_by=attempt.answered_by or "").run(call)
            except Exception:
                log.exception("call %s: what follows from that has failed", call.sid)
