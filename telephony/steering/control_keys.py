"""The keys that the caller presses in one call: to whoever waits for them, or into the conversation.

Keys that decide on an approval of the caller's own are left to whoever keeps approvals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from realtime_bridge.errors import MisuseError
from realtime_bridge.session import events
from telephony.steering.control_settings import DigitSettings
from telephony.steering.digits import DigitEntry, Entered

DIGITS_MAX = 64
TIMEOUT_S_MAX = 120.0
AGENT_S_MAX = 60.0  # for the agent to come to an end, before the caller's time begins


class Steering(Protocol):
    """What keys ask of the call's steering."""

    def when_heard(self, then: Callable[[], None]) -> None: ...

    def stop_agent(self) -> None:
        """A key ends what the agent is saying, if it is saying something."""
        ...

    def tell_as_caller(self, message: str) -> None: ...

    def rearm(self) -> None: ...


class KeyDesk:
    def __init__(self, steering: Steering, settings: DigitSettings) -> None:
        self._steering = steering
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._keys = DigitEntry(
            digits_max=settings.digits_max, pause_s=settings.pause_s, terminator=settings.terminator
        )
        self._collecting: DigitEntry | None = None
        self._collected: asyncio.Future[Entered] | None = None
        self._caller_decides: set[str] = set()  # approvals that the caller may give by a key

    @property
    def waited_for(self) -> bool:
        """Somebody waits for keys."""
        return self._collecting is not None

    def next_deadline(self) -> float:
        keys_at = self._keys.next_deadline()
        return keys_at if self._collecting is None else min(keys_at, self._collecting.next_deadline())

    async def collect(self, *, digits_max: int, timeout_s: float, terminator: str, pause_s: float | None) -> str:
        """See `CallControl.collect_digits`."""
        if self._collecting is not None:
            raise MisuseError("keys are being waited for already")
        if not (1 <= digits_max <= DIGITS_MAX and 0 < timeout_s <= TIMEOUT_S_MAX):
            raise MisuseError(f"collect_digits: 1 to {DIGITS_MAX} digits, within at most {TIMEOUT_S_MAX:g} s")
        pause_s = self._settings.pause_s if pause_s is None else pause_s
        entry = DigitEntry(digits_max=digits_max, pause_s=pause_s, terminator=terminator)
        entry.wait(timeout_s + AGENT_S_MAX, self._loop.time())
        collected: asyncio.Future[Entered] = self._loop.create_future()
        self._collecting, self._collected = entry, collected

        def agent_is_silent() -> None:
            entry.wait(timeout_s, self._loop.time())
            self._steering.rearm()

        self._steering.when_heard(agent_is_silent)
        self._steering.rearm()
        try:
            return (await collected).digits
        finally:
            if self._collecting is entry:
                self._collecting = self._collected = None

    def happened(self, event: events.SessionEvent, now: float) -> None:
        """Any event of the session."""
        match event:
            case events.Dtmf(digit=digit):
                self._pressed(digit, now)
            case events.ToolApprovalRequested(request=request) if request.approval_by_caller is not None:
                self._caller_decides.add(request.call_id)
            case events.ToolApprovalResolved(request=request):
                self._caller_decides.discard(request.call_id)

    def due(self, now: float) -> None:
        if self._collecting is not None:
            self._give(self._collecting.due(now))
        self._tell(self._keys.due(now))

    def end(self) -> None:
        """The call is over: whoever waits gets what has come."""
        if self._collecting is not None:
            self._give(self._collecting.end())

    def _pressed(self, digit: str, now: float) -> None:
        if self._caller_decides:
            return
        entry = self._collecting or self._keys
        if entry is self._keys and not self._settings.to_conversation:
            return
        if not entry.begun and self._settings.interrupt:
            self._steering.stop_agent()
        entered = entry.press(digit, now)
        if entry is self._keys:
            self._tell(entered)
        else:
            self._give(entered)

    def _give(self, entered: Entered | None) -> None:
        if entered is not None and self._collected is not None:
            if not self._collected.done():
                self._collected.set_result(entered)
            self._collecting = self._collected = None

    def _tell(self, entered: Entered | None) -> None:
        if entered is not None:
            digits = " ".join(entered.digits + entered.terminator)
            self._steering.tell_as_caller(self._settings.message.format(digits=digits))
