"""The book of calls: what the store is told of each, from its first ring to its end. Nothing here waits or raises."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from realtime_bridge.session import events
from realtime_bridge.session.events import SessionEvent
from telephony.call_details import CallDetails
from telephony.calls.context import PastCall
from telephony.calls.live import CallEnding, LiveCall
from telephony.records.record import CallRecord
from telephony.store import RecordKeeper, Store
from telephony.store.rows import CallEnd, CallRow, ToolRow, TurnRow
from telephony.twilio.voice_request import VoiceRequest
from telephony.word_redaction import WordRedactor

PAST_CALLS_MAX: Final = 5
SUMMARY_CHARS_MAX: Final = 500
# A session's events that are a call's too: what an operator wants to read of it afterwards.
_TOLD: Final = {
    "agent_handoff": "handoff",
    "reconnecting": "model_lost",
    "reconnected": "model_back",
    "guardrail_tripped": "guardrail_tripped",
}


class CallBook:
    """A `CallListener`. `node`: this process's name in the store."""

    def __init__(
        self,
        store: Store,
        keeper: RecordKeeper,
        *,
        redactor: WordRedactor | None = None,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._redactor = redactor or WordRedactor()
        self._store = store
        self._keeper = keeper
        self._clock = clock or store.now
        self._began: dict[str, datetime] = {}

    # ---- webhooks ----------------------------------------------------------------------------------------------------

    def rang(self, details: CallDetails) -> None:
        """The call's voice webhook has come, and somebody is to talk to it."""
        _ignore(self._keeper.begin(self._row(details, self._clock())))

    def told(self, request: VoiceRequest) -> None:
        """A status callback."""
        if request.status is not None:
            _ignore(self._keeper.status(request.call_sid, request.status, self._clock(), request.sequence))

    # ---- CallListener ------------------------------------------------------------------------------------------------

    def call_began(self, call: LiveCall) -> None:
        now = self._clock()
        self._began[call.sid] = now
        _ignore(self._keeper.begin(self._row(call.details, now)))
        _ignore(self._keeper.answered(call.sid, self._store.node, now))
        call.session.on(None, lambda event: self._event(call.sid, event))

    def call_ended(self, details: CallDetails, ending: CallEnding) -> None:
        ended_at = self._clock()
        began = self._began.pop(details.call_sid, ended_at)
        end = CallEnd(
            stream_sid=ending.stream_sid,
            disposition=ending.reason if ending.in_order else f"failed: {ending.reason}",
            ended_at=ended_at,
            duration_ms=max((ended_at - began) // timedelta(milliseconds=1), 0),
            recording=ending.recording,
        )
        if ending.record is not None:
            end = _with_record(end, ending.record)
        _ignore(self._keeper.finish(details.call_sid, end, call=self._row(details, began)))

    # ---- reading -----------------------------------------------------------------------------------------------------

    async def past_calls(self, details: CallDetails) -> tuple[PastCall, ...]:
        """With the same person, latest first. Raises StoreError."""
        rows = await self._store.calls.past(details.other_party, PAST_CALLS_MAX + 1)
        return tuple(
            PastCall(row.call_sid, row.created_at, row.agent or "", row.disposition or row.status)
            for row in rows
            if row.call_sid != details.call_sid
        )[:PAST_CALLS_MAX]

    async def ended_in_order(self, call_sid: str) -> bool | None:
        """As whichever process had the call has told; None when nothing is stored of its end. Raises StoreError."""
        row = await self._store.calls.get(call_sid)
        if row is None or row.disposition is None:
            return None
        return not row.disposition.startswith("failed")

    # ---- inside ------------------------------------------------------------------------------------------------------

    def _row(self, details: CallDetails, at: datetime) -> CallRow:
        return CallRow(
            call_sid=details.call_sid,
            direction=details.direction,
            from_number=details.caller,
            to_number=details.called,
            created_at=at,
            agent=details.agent or None,
            node=self._store.node,
            attempt_id=details.attempt_id,
            parameters=dict(details.parameters),
            carrier=dict(details.carrier),
        )

    def _event(self, call_sid: str, event: SessionEvent) -> None:
        if isinstance(event, events.SessionError):
            data: dict[str, Any] = {"message": event.message, "source": event.source, "fatal": event.fatal}
            _ignore(self._keeper.event(call_sid, "problem", self._redactor.value(data), self._clock()))
        elif (kind := _TOLD.get(event.type)) is not None:
            _ignore(self._keeper.event(call_sid, kind, self._redactor.value(_facts(event)), self._clock()))


def _with_record(end: CallEnd, record: CallRecord) -> CallEnd:
    """What call.json says, in the store's rows."""
    return msgspec.structs.replace(
        end,
        duration_ms=record.duration_ms,
        transcript=tuple(msgspec.convert(msgspec.to_builtins(line), TurnRow) for line in record.transcript),
        tools=tuple(msgspec.convert(msgspec.to_builtins(tool), ToolRow) for tool in record.tools),
        usage=msgspec.to_builtins(record.usage),
        cost_usd=record.cost_usd,
        problems=record.problems,
    )


def _facts(event: SessionEvent) -> dict[str, Any]:
    """The event's plain fields; what holds conversation is in the transcript."""
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    return {name: value for name, value in fields.items() if isinstance(value, str | int | float | bool)}


def _ignore(_kept: object) -> None:
    """The keeper does its work whether or not anybody waits for it."""
