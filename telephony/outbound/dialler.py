"""The dialler: places a call once, or says why not.

Twilio has no idempotency key, so a request whose answer is lost may have made a phone ring. Therefore each call is an
attempt in the store before Twilio is asked; only whoever made that row asks, once; and when the answer is lost, nobody
asks again. What became of it is told by the callbacks, which carry the attempt's id, or found in Twilio's list of calls
(`settlement.py`), or stays unknown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar
from urllib.parse import quote
from uuid import uuid4

import msgspec

from telephony.call_details import LAST_WORDS_S
from telephony.numbers import DialableNumber, NumberRefused, dialable, mask_number
from telephony.outbound.machine import MachinePlan, plan_from_details
from telephony.outbound.requests import (
    CallRequest,
    DialReason,
    DialRefused,
    Placed,
    check_fields,
    machine_plan,
    refusal_of,
    refusal_text,
)
from telephony.outbound.settlement import call_row, end_of, find_call, never_answered
from telephony.settings import Settings
from telephony.store import Store, StoreError
from telephony.store.rows import AttemptRow
from telephony.twilio.rest import PlaceCall, TwilioRest
from telephony.twilio.rest_errors import RestErrorKind, TwilioRestError
from telephony.twilio.voice_request import CallStatus, VoiceRequest

log = logging.getLogger(__name__)

# Asks Twilio to send a webhook again, when it met nobody or a database that was away: they are best effort otherwise.
# https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
AGAIN: Final = "#rc=3&rp=5xx,ct,rt"

TIME_LIMIT_S_MAX: Final = 24 * 3600  # Twilio, "Call resource", TimeLimit

_T = TypeVar("_T")
_REASONS: Final[dict[RestErrorKind, DialReason]] = {
    "permanent": "refused",
    "over": "refused",
    "settings": "settings",
    "back_off": "busy",
    "unknown": "unknown",
}


class DialLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`claim_seconds_max`: an attempt older than this is not dialled any more, whatever held it up; well below the age at
    which others look for it in Twilio's list (`settlement.LOST_AFTER`). `settle_seconds`: how long a lost answer is
    waited for."""

    claim_seconds_max: float = 30.0
    settle_seconds: float = 10.0
    poll_seconds: float = 0.5


class Dialler:
    """One per process. `place` may be called at any time, by many at once."""

    def __init__(
        self,
        *,
        store: Store,
        rest: TwilioRest | None,
        settings: Settings,
        has_agent: Callable[[str], bool] = lambda _: True,
        limits: DialLimits | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        """`rest` None: there are no credentials, and every call is refused. `has_agent`: whether an agent of that name
        is in the directory."""
        self._store = store
        self._rest = rest
        self._settings = settings
        self._has_agent = has_agent
        self._limits = limits or DialLimits()
        self._clock = clock or store.now
        self._news: dict[str, asyncio.Event] = {}  # attempts whose answer is lost, and that a callback may find
        self._dialling: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Wait until what is being dialled is stored. Place nothing afterwards."""
        if self._dialling:
            await asyncio.wait(self._dialling)

    async def place(self, request: CallRequest) -> Placed:
        """Dial, once, and return when Twilio has the call. Raises DialRefused.

        Being cancelled does not stop a call that is on its way to Twilio: it is stored all the same.
        """
        number, plan, rest = await self._check(request)
        row = self._attempt(request, number, plan)
        try:
            claim = await self._store.attempts.claim(row)
        except StoreError as e:
            raise DialRefused("busy", f"the call is not dialled, because it cannot be stored: {e}") from e
        if not claim.fresh:
            return await self._earlier(rest, claim.row)
        return await self._shielded(self._dial(rest, claim.row, plan))

    async def on_status(self, attempt_id: str, told: VoiceRequest) -> None:
        """A webhook about a call of ours (its voice request, a status callback, an AMD callback) has come. Idempotent.

        Raises StoreError; Twilio may send it again then.
        """
        if not await self._store.attempts.placed(attempt_id, told.call_sid):
            log.warning("call %s: its attempt %s is unknown, or was given up", told.call_sid, attempt_id)
        if told.status is not None:
            await self._store.attempts.update(
                told.call_sid, told.status, answered_by=told.answered_by, code=told.error_code
            )
            await self._tell_call(attempt_id, told, told.status)
        elif told.answered_by is not None:  # an AMD callback tells nothing else
            await self._store.attempts.answered_by(told.call_sid, told.answered_by)
        if (news := self._news.get(attempt_id)) is not None:
            news.set()

    async def _tell_call(self, attempt_id: str, told: VoiceRequest, status: CallStatus) -> None:
        """The call's own row; whoever answers it tells its end, but nobody answers these."""
        row = await self._store.attempts.get(attempt_id)
        if row is None or row.call_sid != told.call_sid:
            return
        call, now = call_row(row, told.call_sid), self._clock()
        await self._store.calls.begin(call)
        await self._store.calls.status(told.call_sid, status, now, told.sequence)
        if never_answered(status):
            await self._store.calls.finish(told.call_sid, end_of(status, now, 0), call=call)

    # ---- before dialling ---------------------------------------------------------------------------------------------

    async def _check(self, request: CallRequest) -> tuple[DialableNumber, MachinePlan, TwilioRest]:
        check_fields(request, call_seconds_max=self._settings.call_seconds_max)
        plan = machine_plan(request)
        if not self._has_agent(request.agent):
            raise DialRefused("request", f"agent: {request.agent!r} is not in the directory; see AGENT and AGENTS")
        try:
            number = dialable(request.to, self._settings.allowed_countries)
        except NumberRefused as e:
            raise DialRefused(e.fault, f"to: {e}") from e
        if self._rest is None:
            raise DialRefused(
                "settings", "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN (or an API key) are needed to place calls"
            )
        if self._settings.public_url is None:
            raise DialRefused("settings", "PUBLIC_URL: needed to place calls, since Twilio asks there what to say")
        caller_id = request.from_ or self._settings.twilio_number
        if caller_id is None:
            raise DialRefused("settings", "TWILIO_NUMBER: needed to place calls (or say which number they come from)")
        if not mask_number(caller_id).startswith("+"):
            raise DialRefused("request", "from: expected a number in E.164, with + and digits only")
        try:
            suppressed = await self._store.suppressions.contains(number.e164)
        except StoreError as e:
            raise DialRefused("busy", f"the call is not dialled, because nobody can tell whether it may be: {e}") from e
        if suppressed:
            raise DialRefused("suppressed", "this number is on the suppression list: it must not be called")
        return number, plan, self._rest

    def _attempt(self, request: CallRequest, number: DialableNumber, plan: MachinePlan) -> AttemptRow:
        attempt_id = uuid4().hex
        details: dict[str, Any] = {
            "ring_seconds": request.ring_seconds or self._settings.ring_seconds,
            "call_seconds_max": request.call_seconds_max or self._settings.call_seconds_max,
            "requested_by": request.requested_by,
            "record": request.record,
        }
        return AttemptRow(
            attempt_id=attempt_id,
            idempotency_key=request.idempotency_key or attempt_id,
            to_number=number.e164,
            from_number=request.from_ or self._settings.twilio_number or "",
            created_at=self._clock(),
            agent=request.agent,
            node=self._store.node,
            parameters=dict(request.parameters),
            details=details | plan.to_details(),
        )

    # ---- dialling ----------------------------------------------------------------------------------------------------

    async def _dial(self, rest: TwilioRest, row: AttemptRow, plan: MachinePlan) -> Placed:
        if self._clock() - row.created_at > timedelta(seconds=self._limits.claim_seconds_max):
            raise await self._gave_up(row, "busy", "the server was too slow to dial")
        try:
            call_sid = await rest.place_call(self._call(row, plan))
        except TwilioRestError as e:
            if e.kind == "unknown":
                log.warning("attempt %s: whether it was dialled is unknown: %s", row.attempt_id, e)
                return await self._settle(rest, row)
            raise await self._gave_up(row, _REASONS[e.kind], str(e), e.code) from e
        await self._placed(row, call_sid)
        return Placed(attempt_id=row.attempt_id, call_sid=call_sid, status="queued")

    def _call(self, row: AttemptRow, plan: MachinePlan) -> PlaceCall:
        origin, attempt = self._settings.public_url, quote(row.attempt_id, safe="")
        amd = plan.detection is not None and not plan.wait
        return PlaceCall(
            to=row.to_number,
            from_number=row.from_number,
            url=f"{origin}/twilio/voice?attempt={attempt}{AGAIN}",
            status_callback=f"{origin}/twilio/status?attempt={attempt}{AGAIN}",
            ring_seconds=row.details["ring_seconds"],
            # Twilio's own limit, should this server be gone by then; it says no goodbye.
            call_seconds_max=min(row.details["call_seconds_max"] + LAST_WORDS_S, TIME_LIMIT_S_MAX),
            machine_detection=plan.detection,
            amd_callback=f"{origin}/twilio/amd?attempt={attempt}{AGAIN}" if amd else None,
        )

    async def _placed(self, row: AttemptRow, call_sid: str) -> None:
        """Store that Twilio has the call. It has it whatever the store says: callbacks tell the store again."""
        log.info("call %s is placed to %s (attempt %s)", call_sid, mask_number(row.to_number), row.attempt_id)
        try:
            await self._store.attempts.placed(row.attempt_id, call_sid)
            await self._store.calls.begin(call_row(row, call_sid))
        except StoreError as e:
            log.warning("call %s: that attempt %s was placed is not stored: %s", call_sid, row.attempt_id, e)

    async def _gave_up(self, row: AttemptRow, reason: DialReason, message: str, code: int | None = None) -> DialRefused:
        """Store that it was not dialled; what to raise."""
        log.warning("attempt %s is refused (%s): %s", row.attempt_id, reason, message)
        refused = DialRefused(reason, message, code=code, attempt_id=row.attempt_id)
        try:
            await self._store.attempts.refused(row.attempt_id, code, refusal_text(refused))
        except StoreError as e:
            log.warning("attempt %s: that it was refused is not stored: %s", row.attempt_id, e)
        return refused

    # ---- when the answer is lost -------------------------------------------------------------------------------------

    async def _earlier(self, rest: TwilioRest, row: AttemptRow) -> Placed:
        """What became of an attempt that another request made, with the same key."""
        if row.status == "refused":
            raise refusal_of(row.attempt_id, row.code, row.reason)
        if row.call_sid is not None:
            return Placed(attempt_id=row.attempt_id, call_sid=row.call_sid, status=row.status, fresh=False)
        found = await self._settle(rest, row)
        return msgspec.structs.replace(found, fresh=False)

    async def _settle(self, rest: TwilioRest, row: AttemptRow) -> Placed:
        """Wait for a callback to tell of the call, then look for it at Twilio. Raises DialRefused when neither helps."""
        found = await self._told(row)
        if found is None:
            call = None
            try:
                call = await find_call(self._store, rest, row)
            except (TwilioRestError, StoreError) as e:
                log.warning("attempt %s cannot be looked for: %s", row.attempt_id, e)
            if call is not None:
                await self._placed(row, call.sid)
                return Placed(attempt_id=row.attempt_id, call_sid=call.sid, status=call.status)
            raise DialRefused(
                "unknown",
                "Twilio did not say whether it dialled, so the call is not dialled again; a callback may still tell",
                attempt_id=row.attempt_id,
            )
        if found.status == "refused" or found.call_sid is None:
            raise refusal_of(found.attempt_id, found.code, found.reason)
        return Placed(attempt_id=row.attempt_id, call_sid=found.call_sid, status=found.status)

    async def _told(self, row: AttemptRow) -> AttemptRow | None:
        """The attempt's row once it is settled, by a callback to any process; None when none comes in time."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.settle_seconds
        news = self._news.setdefault(row.attempt_id, asyncio.Event())
        try:
            while loop.time() < deadline:
                try:
                    async with asyncio.timeout(self._limits.poll_seconds):
                        await news.wait()
                except TimeoutError:
                    pass
                news.clear()
                try:
                    found = await self._store.attempts.get(row.attempt_id)
                except StoreError as e:
                    log.warning("attempt %s cannot be looked up: %s", row.attempt_id, e)
                    continue
                if found is not None and (found.call_sid is not None or found.status == "refused"):
                    return found
            return None
        finally:
            self._news.pop(row.attempt_id, None)

    async def _shielded(self, dialling: Coroutine[Any, Any, _T]) -> _T:
        task = asyncio.create_task(dialling)
        self._dialling.add(task)
        task.add_done_callback(self._dialled)
        return await asyncio.shield(task)

    def _dialled(self, task: asyncio.Task[Any]) -> None:
        self._dialling.discard(task)
        if not task.cancelled():
            task.exception()  # is stored and logged, and whoever asked may have gone


def plan_of_attempt(row: AttemptRow) -> MachinePlan:
    """What its requester wanted done with a machine; `machine.decide` says what follows. Raises MisuseError."""
    return plan_from_details(row.details)
