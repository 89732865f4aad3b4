"""Calls whose webhook was answered, and whose media is on its way: what is known of them, and what is made ready."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from realtime_bridge.transport.waiting import WaitingModels
from telephony.call_details import CallDetails
from telephony.calls.context import PastCall, PastCalls

log = logging.getLogger(__name__)

EXPECTED_MAX: Final = 10_000
EXPECTED_S_MAX: Final = 120.0
PAST_CALLS_S_MAX: Final = 1.0  # the caller does not wait longer for being remembered


@dataclass(frozen=True, slots=True)
class ExpectedCall:
    details: CallDetails
    expires_at: float
    _past_calls: asyncio.Task[tuple[PastCall, ...]] | None = None

    async def past_calls(self) -> tuple[PastCall, ...]:
        """Empty when they cannot be had in time."""
        return () if self._past_calls is None else await self._past_calls

    def forget(self) -> None:
        if self._past_calls is not None:
            self._past_calls.cancel()


class ExpectedCalls:
    """`models`: opened ahead, one for each call. `past_calls`: looked up while the phone rings."""

    def __init__(
        self,
        *,
        models: WaitingModels | None = None,
        past_calls: PastCalls | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._models = models
        self._look_up = past_calls
        self._clock = clock
        self._calls: OrderedDict[str, ExpectedCall] = OrderedDict()  # oldest first

    def expect(self, details: CallDetails, *, here: bool = True) -> None:
        """`here`: a model connection is made ready. False for a call that rang at another process."""
        self._forget_old()
        if (earlier := self._calls.pop(details.call_sid, None)) is not None:
            earlier.forget()
        elif here and self._models is not None:
            self._models.prepare()
        looking_up = None
        if self._look_up is not None and details.other_party:
            looking_up = asyncio.get_running_loop().create_task(_in_time(self._look_up, details))
        self._calls[details.call_sid] = ExpectedCall(details, self._clock() + EXPECTED_S_MAX, looking_up)

    def take(self, call_sid: str) -> ExpectedCall:
        """What is known of this call, which may be its SID only."""
        return self._calls.pop(call_sid, None) or ExpectedCall(CallDetails(call_sid=call_sid), 0)

    def close(self) -> None:
        while self._calls:
            self._calls.popitem()[1].forget()

    def _forget_old(self) -> None:
        now = self._clock()
        while self._calls:
            oldest = next(iter(self._calls.values()))
            if oldest.expires_at > now and len(self._calls) < EXPECTED_MAX:
                return
            self._calls.popitem(last=False)[1].forget()


async def _in_time(look_up: PastCalls, details: CallDetails) -> tuple[PastCall, ...]:
    try:
        async with asyncio.timeout(PAST_CALLS_S_MAX):
            return await look_up(details)
    except TimeoutError:
        log.warning("call %s: its past calls were not found in time", details.call_sid)
    except Exception as e:  # noqa: BLE001 - whatever is wrong with them, the caller is served
        log.warning("call %s: its past calls cannot be had: %s", details.call_sid, e)
    return ()
