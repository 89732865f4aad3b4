"""What became of calls that nobody told us about: asked of Twilio, after a lost answer, a crash, a lost callback.

`reconcile` is for the start of a server and for every minute or so of its life, on any node or on all: whatever it does
may be done twice. It never dials.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, cast, get_args

import msgspec

from telephony.outbound.requests import DialRefused, refusal_text
from telephony.store import Store, StoreError
from telephony.store.rows import AttemptRow, CallEnd, CallRow, CallStatus
from telephony.store.states import is_final
from telephony.twilio.rest import TwilioCall, TwilioRest
from telephony.twilio.rest_errors import TwilioRestError

log = logging.getLogger(__name__)

# An attempt is asked for within DialLimits.claim_seconds_max of its making, and that takes RestLimits.total_seconds and
# one request more: after this, nobody is still dialling it.
LOST_AFTER: Final = timedelta(seconds=120)
GIVE_UP_AFTER: Final = timedelta(minutes=15)
CLOCKS_APART_MAX: Final = timedelta(seconds=60)  # Twilio's and ours; `realtime-bridge doctor` warns far earlier
UNSETTLED_MAX: Final = 5000  # calls that are going on are among them, and must not hide a lost one
NODE_SILENT_AFTER: Final = timedelta(seconds=60)
CALL_QUIET_AFTER: Final = timedelta(seconds=120)
# Whoever had the call may still come back and tell its end, with all that was said (its spool), and would then be late.
FINISH_AFTER: Final = timedelta(minutes=10)


class Reconciled(msgspec.Struct, kw_only=True):
    """What one run did."""

    found: int = 0  # attempts whose call was found
    given_up: int = 0  # attempts that nobody will ever know about
    updated: int = 0  # attempts and calls whose state Twilio knew better
    finished: int = 0  # calls whose end nobody had told
    failed: int = 0  # what could not be asked; next time

    def __bool__(self) -> bool:
        return any(msgspec.structs.astuple(self))


async def find_call(store: Store, rest: TwilioRest, attempt: AttemptRow) -> TwilioCall | None:
    """The call that an attempt without an answer led to, if that is beyond doubt.

    Twilio's list knows numbers and times, and not whose attempt a call was. So it is this one's only when it is the only
    one between these numbers at that time, belongs to no other attempt, and no other attempt looks for its own.
    Raises TwilioRestError, StoreError.
    """
    latest = attempt.created_at + LOST_AFTER + CLOCKS_APART_MAX
    rivals = await store.attempts.unsettled(latest, limit=UNSETTLED_MAX)
    if any(_rivals(attempt, other) for other in rivals):
        log.warning("attempt %s: another one to the same number is lost too; no telling them apart", attempt.attempt_id)
        return None
    listed = await rest.list_calls(
        to=attempt.to_number, from_number=attempt.from_number, since=attempt.created_at - CLOCKS_APART_MAX
    )
    candidates = []
    for call in listed:
        if call.direction != "outbound-api" or call.created_at is None or call.created_at > latest:
            continue
        owner = await store.attempts.by_call(call.sid)
        if owner is None or owner.attempt_id == attempt.attempt_id:
            candidates.append(call)
    if len(candidates) > 1:
        log.warning("attempt %s: %d calls could be its own", attempt.attempt_id, len(candidates))
    return candidates[0] if len(candidates) == 1 else None


async def reconcile(
    store: Store, rest: TwilioRest, now: datetime, *, is_live: Callable[[str], bool] = lambda _: False
) -> Reconciled:
    """Settle attempts and calls that have been silent for too long, and calls whose final state was never told. `is_live`: whether this process has that call.

    Raises StoreError when the store cannot be read; what Twilio does not tell stays for the next run.
    """
    alive = frozenset(node.node for node in await store.nodes.alive(now - NODE_SILENT_AFTER))
    round_ = _Round(store, rest, now, is_live, alive)
    for attempt in await store.attempts.unsettled(now - LOST_AFTER, limit=UNSETTLED_MAX):
        await round_.tolerant(attempt.attempt_id, round_.settle(attempt))
    for call in await store.calls.unfinished(limit=UNSETTLED_MAX):
        if call.created_at < now - CALL_QUIET_AFTER and not round_.is_had(call):
            await round_.tolerant(call.call_sid, round_.close(call))
    for call in await store.calls.untold(now - CALL_QUIET_AFTER, limit=UNSETTLED_MAX):
        if not round_.is_had(call):  # else whoever had it asks, and nobody besides
            await round_.tolerant(call.call_sid, round_.learn_state(call))
    if round_.done:
        log.info("reconciled with Twilio: %s", round_.done)
    return round_.done


@dataclass(frozen=True, slots=True)
class _Round:
    store: Store
    rest: TwilioRest
    now: datetime
    is_live: Callable[[str], bool]
    alive: frozenset[str]  # nodes
    done: Reconciled = field(default_factory=Reconciled)

    def is_had(self, call: CallRow) -> bool:
        """Somebody has the call, and will tell its end."""
        return self.is_live(call.call_sid) if call.node == self.store.node else call.node in self.alive

    async def tolerant(self, what: str, work: Awaitable[None]) -> None:
        try:
            await work
        except (TwilioRestError, StoreError) as e:
            self.done.failed += 1
            log.warning("%s cannot be reconciled now: %s", what, e)

    async def settle(self, attempt: AttemptRow) -> None:
        """Find the call of an attempt, or its state."""
        if attempt.call_sid is None:
            await self._find(attempt)
            return
        known = await self.store.calls.get(attempt.call_sid)
        if known is not None and not is_final(known.status) and self.is_had(known):
            return
        try:
            call = await self.rest.fetch_call(attempt.call_sid)
        except TwilioRestError as e:
            if e.kind != "permanent" or attempt.created_at > self.now - GIVE_UP_AFTER:
                raise
            await self.store.attempts.update(
                attempt.call_sid, "failed", code=e.code, reason="Twilio does not know the call"
            )
            self.done.given_up += 1
        else:
            self.done.updated += await self._tell(call)

    async def _find(self, attempt: AttemptRow) -> None:
        call = await find_call(self.store, self.rest, attempt)
        if call is not None:
            self.done.found += 1
            await self.store.attempts.placed(attempt.attempt_id, call.sid)
            await self.store.calls.begin(call_row(attempt, call.sid))
            await self._tell(call)
        elif attempt.created_at < self.now - GIVE_UP_AFTER:
            self.done.given_up += 1
            unknown = DialRefused("unknown", "Twilio never told whether it dialled; it is not dialled again")
            await self.store.attempts.refused(attempt.attempt_id, None, refusal_text(unknown))

    async def _tell(self, call: TwilioCall) -> bool:
        status = status_of(call)
        return status is not None and await self.store.attempts.update(call.sid, status, answered_by=call.answered_by)

    async def close(self, row: CallRow) -> None:
        """End a call that nobody has any more."""
        call = await self._books(row)
        status = status_of(call)
        if status is None or not is_final(status):
            return
        ended_at = call.ended_at or row.ended_at or self.now
        self.done.updated += await self.store.calls.status(row.call_sid, status, ended_at)
        if never_answered(status) or ended_at < self.now - FINISH_AFTER:
            self.done.finished += await self.store.calls.finish(row.call_sid, end_of(status, ended_at, call.duration_s))

    async def learn_state(self, row: CallRow) -> None:
        """The last word on a call whose record is there: it was said while nobody listened, as when a server ends."""
        try:
            call = await self.rest.fetch_call(row.call_sid)
        except TwilioRestError as e:
            if e.kind != "permanent":
                raise
            call = TwilioCall(sid=row.call_sid, status="completed")  # we had it, and it is not there any more
        status = status_of(call)
        if status is not None and is_final(status):
            self.done.updated += await self.store.calls.status(row.call_sid, status, call.ended_at or self.now)

    async def _books(self, row: CallRow) -> TwilioCall:
        """The call as Twilio's books have it; failed where they do not (another account, or deleted there)."""
        if never_answered(row.status):
            return TwilioCall(sid=row.call_sid, status=row.status, ended_at=row.ended_at)
        try:
            return await self.rest.fetch_call(row.call_sid)
        except TwilioRestError as e:
            if e.kind != "permanent":
                raise
            return TwilioCall(sid=row.call_sid, status="failed")


_NEVER_ANSWERED: Final = frozenset({"busy", "no-answer", "canceled", "failed"})


def end_of(status: CallStatus, ended_at: datetime, duration_s: int | None) -> CallEnd:
    """The end of a call that was never answered, or whose record nobody wrote."""
    lost = status not in _NEVER_ANSWERED
    return CallEnd(
        disposition="lost" if lost else status,
        status=status,
        ended_at=ended_at,
        duration_ms=(duration_s or 0) * 1000,
        reconstructed=lost,
        problems=("The server that had this call ended before it could write the record.",) if lost else (),
    )


def never_answered(status: str) -> bool:
    return status in _NEVER_ANSWERED


def status_of(call: TwilioCall) -> CallStatus | None:
    """None: a state that Twilio has invented since."""
    return cast("CallStatus", call.status) if call.status in get_args(CallStatus) else None


def call_row(row: AttemptRow, call_sid: str) -> CallRow:
    """The call of an attempt, as the store first hears of it."""
    return CallRow(
        call_sid=call_sid,
        direction="outbound",
        from_number=row.from_number,
        to_number=row.to_number,
        created_at=row.created_at,
        agent=row.agent or None,
        status="queued",
        attempt_id=row.attempt_id,
        parameters=row.parameters,
    )


def _rivals(attempt: AttemptRow, other: AttemptRow) -> bool:
    """Whether a call could be either's."""
    return (
        other.attempt_id != attempt.attempt_id
        and other.call_sid is None
        and (other.to_number, other.from_number) == (attempt.to_number, attempt.from_number)
        and abs(other.created_at - attempt.created_at) < LOST_AFTER + 2 * CLOCKS_APART_MAX
    )
