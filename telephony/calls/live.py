"""The calls of this process that are going on, for whoever wants to follow or steer them.

Metrics, stored approvals and the store attach here as listeners; the API and operators find a call by its SID.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal, Protocol

from realtime_bridge.realtime import RealtimeSession
from telephony.call_details import CallDetails
from telephony.calls.context import PhoneContext
from telephony.records.record import CallRecord
from telephony.steering.control import CallControl
from telephony.steering.transfer import TRANSFERRED
from telephony.transport import TwilioTransport

log = logging.getLogger(__name__)

ENDINGS_MAX: Final = 2000
ENDING_S_MAX: Final = 600.0
END_S_MAX: Final = 2.0


@dataclass(slots=True, kw_only=True, eq=False)
class LiveCall:
    """One call whose media flows."""

    details: CallDetails
    session: RealtimeSession
    transport: TwilioTransport
    context: PhoneContext
    control: CallControl
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def sid(self) -> str:
        return self.details.call_sid


@dataclass(frozen=True, slots=True, kw_only=True)
class CallEnding:
    """`in_order`: somebody hung up. Else we failed the caller, who is owed an apology. `steered`: the call's steering has
    brought it about, for the `reason` given; else the other side has. `record`: None when not recorded.

    `stream_sid`: whose end it is, of the call's media streams; `recording`: where its records lie below DATA_DIR.
    """

    reason: str
    in_order: bool
    steered: bool = False
    stream_sid: str = ""
    record: CallRecord | None = None
    recording: str | None = None
    ended_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def outcome(self) -> Literal["failed", "transferred", "we_hung_up", "they_hung_up"]:
        """In a word, for statistics."""
        if not self.in_order:
            return "failed"
        if not self.steered:
            return "they_hung_up"
        return "transferred" if self.reason == TRANSFERRED else "we_hung_up"


class CallListener(Protocol):
    """Called on the event loop; must return at once. What it raises is logged and hurts nobody."""

    def call_began(self, call: LiveCall) -> None:
        """Before the session is entered: its `on` may be used."""
        ...

    def call_ended(self, details: CallDetails, ending: CallEnding) -> None:
        """The session is over, and the records are written. Also for a call that could not begin."""
        ...


class LiveCalls:
    """By call SID; one media stream of a call at a time is the live one."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._calls: dict[str, LiveCall] = {}
        self._listeners: list[CallListener] = []
        self._endings: OrderedDict[str, tuple[bool, float]] = OrderedDict()

    def get(self, call_sid: str) -> LiveCall | None:
        return self._calls.get(call_sid)

    def __iter__(self) -> Iterator[LiveCall]:
        return iter(tuple(self._calls.values()))

    def __len__(self) -> int:
        return len(self._calls)

    def add_listener(self, listener: CallListener) -> None:
        self._listeners.append(listener)

    def began(self, call: LiveCall) -> None:
        self._calls[call.sid] = call
        self._endings.pop(call.sid, None)
        for listener in self._listeners:
            try:
                listener.call_began(call)
            except Exception:
                log.exception("call %s: a listener failed at the beginning", call.sid)

    def over(self, call_sid: str, call: LiveCall | None, *, in_order: bool) -> None:
        """The phone's socket has closed; how is remembered for whoever asks what follows. `call` None: it never began."""
        if call is not None and self._calls.get(call_sid) is call:
            del self._calls[call_sid]
        self._endings[call_sid] = (in_order, self._clock())
        while len(self._endings) > ENDINGS_MAX:
            self._endings.popitem(last=False)

    def ended(self, details: CallDetails, ending: CallEnding) -> None:
        for listener in self._listeners:
            try:
                listener.call_ended(details, ending)
            except Exception:
                log.exception("call %s: a listener failed at the end", details.call_sid)

    async def ended_in_order(self, call_sid: str) -> bool | None:
        """Whether the call's last stream ended in order; None when this process knows of none that ended a moment ago.

        Waits a little for a call that is about to end: Twilio asks what follows as soon as the socket has closed.
        """
        waited_until = self._clock() + END_S_MAX
        while call_sid in self._calls and self._clock() < waited_until:  # noqa: ASYNC110 - seldom, and not for long
            await asyncio.sleep(0.05)
        in_order, at = self._endings.get(call_sid, (None, 0.0))
        return in_order if self._clock() - at <= ENDING_S_MAX else None
