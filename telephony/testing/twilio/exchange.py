"""What all calls of one simulator share: the account, its numbers, the people, the rooms, the books.

The exchange knows no calls; `telephony.testing.twilio.call` makes them on it.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from realtime_bridge.errors import MisuseError
from telephony.testing.twilio.faults import TwilioFaults
from telephony.testing.twilio.pacer import Pacer
from telephony.testing.twilio.people import OutOfService, Person, lines_of
from telephony.testing.twilio.records import Alert, Ledger
from telephony.testing.twilio.rooms import Room, WaitingLine
from telephony.testing.twilio.sound import Voice, murmur
from telephony.testing.twilio.webhooks import Webhooks

CLOSE_S_MAX: Final = 5.0

T = TypeVar("T")


@dataclass(slots=True)
class Number:
    """A number of the account: an IncomingPhoneNumber. Assign to its fields to configure it."""

    sid: str
    number: str
    voice_url: str = ""
    voice_method: str = "POST"
    voice_fallback_url: str = ""
    voice_fallback_method: str = "POST"
    status_callback: str = ""
    status_callback_method: str = "POST"
    friendly_name: str = ""
    voice_application_sid: str = ""  # shown by REST only
    trunk_sid: str = ""  # shown by REST only


@dataclass(slots=True)
class Timing:
    """How long things take on this network, in seconds. `status_delay`: from an event to its callback."""

    setup: float = 0.05  # from dialling to the first ring
    status_delay: float = 0.0


@dataclass(slots=True)
class Exchange:
    """One simulated account and its telephone network."""

    account_sid: str
    webhooks: Webhooks
    faults: TwilioFaults
    ledger: Ledger
    voice: Voice
    calls_per_second: float
    timing: Timing = field(default_factory=Timing)
    pacer: Pacer = field(default_factory=Pacer)
    base_url: str = ""  # of the REST server
    numbers: dict[str, Number] = field(default_factory=dict)
    people: dict[str, Person] = field(default_factory=dict)
    rooms: dict[str, Room] = field(default_factory=dict)
    waiting_lines: dict[str, WaitingLine] = field(default_factory=dict)
    strangers: Person = field(default_factory=lambda: Person("", OutOfService()))
    _next_slot_at: float = 0.0
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def new_sid(self, prefix: str) -> str:
        """Of Twilio's shape: two letters and 32 hexadecimal digits. Never the same again, so that stores can be kept."""
        return prefix + secrets.token_hex(16)

    def person(self, number: str) -> Person:
        """Who has this number."""
        return self.people.get(number, self.strangers)

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run it until it ends, or until the exchange closes."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def alert(self, code: int, message: str, call_sid: str = "") -> None:
        self.ledger.alerts.append(Alert(code, message, time.monotonic(), call_sid))

    async def speech(self, text: str) -> bytes:
        """The text, spoken. Outside of the event loop, unless it costs nothing."""
        if self.voice is murmur:
            return murmur(text)
        return await asyncio.to_thread(self.voice, text)

    async def rehearse(self, person: Person) -> None:
        """Have their lines spoken before they are needed, outside of the event loop."""
        for text in lines_of(person):
            await self.speech(text)

    async def slot(self) -> float:
        """Wait for a turn to dial; returns the seconds waited. Calls go out at `calls_per_second`, in order."""
        if self.calls_per_second <= 0:
            raise MisuseError("calls_per_second must be above 0")
        now = time.monotonic()
        at = max(now, self._next_slot_at)
        self._next_slot_at = at + 1 / self.calls_per_second
        await asyncio.sleep(at - now)
        return at - now

    async def close(self) -> None:
        """End all that is going on."""
        self.pacer.stop()
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_S_MAX)
