"""Where several calls meet: conferences and queues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from telephony.testing.twilio.line import Line, join

OnEvent: TypeAlias = Callable[[str, str], None]  # (event, call SID)


@dataclass(slots=True, eq=False)
class Member:
    call_sid: str
    line: Line
    starts: bool
    on_event: OnEvent
    parts: dict[str, Callable[[], None]] = field(default_factory=dict)  # by the other's call SID


@dataclass(slots=True, eq=False)
class Room:
    """A conference. It starts when two are in it, one of whom may start it."""

    name: str
    sid: str
    members: list[Member] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    told: int = 0

    def enter(self, call_sid: str, line: Line, *, starts: bool, muted: bool, on_event: OnEvent) -> Member:
        line.muted = muted
        member = Member(call_sid, line, starts, on_event)
        self.members.append(member)
        on_event("participant-join", call_sid)
        if self.started.is_set():
            self._join_all()
        elif len(self.members) > 1 and any(one.starts for one in self.members):
            self.started.set()
            on_event("conference-start", call_sid)
            self._join_all()
        return member

    def leave(self, member: Member, *, ends: bool) -> None:
        """`ends`: the conference is over with this one."""
        self.members.remove(member)
        member.line.muted = False
        for part in member.parts.values():
            part()
        for other in self.members:
            other.parts.pop(member.call_sid, None)
        member.on_event("participant-leave", member.call_sid)
        if (ends or not self.members) and not self.over.is_set():
            self.over.set()
            member.on_event("conference-end", member.call_sid)

    def _join_all(self) -> None:
        for index, one in enumerate(self.members):
            for other in self.members[index + 1 :]:
                if other.call_sid not in one.parts:
                    one.parts[other.call_sid] = other.parts[one.call_sid] = join(one.line, other.line)


@dataclass(slots=True, eq=False)
class Entry:
    """A call in a queue. `taken`: somebody talks to it; `done`: no more."""

    call_sid: str
    taken: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True, eq=False)
class WaitingLine:
    """A queue: first come, first served."""

    name: str
    sid: str
    entries: list[Entry] = field(default_factory=list)
    _came: asyncio.Event = field(default_factory=asyncio.Event)

    def join(self, call_sid: str) -> Entry:
        entry = Entry(call_sid)
        self.entries.append(entry)
        self._came.set()
        return entry

    def leave(self, entry: Entry) -> None:
        if entry in self.entries:
            self.entries.remove(entry)

    async def take(self) -> Entry:
        """The first who waits, when there is one."""
        while not self.entries:
            self._came.clear()
            await self._came.wait()
        entry = self.entries.pop(0)
        entry.taken.set()
        return entry
