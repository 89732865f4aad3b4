"""Leaves a message on an answering machine: the agent silent, the announcement waited out, the message said, the call ended."""

from __future__ import annotations

import asyncio
from typing import Protocol

from telephony.steering.control_settings import ControlSettings

LOOK_S = 0.1


class Machine(Protocol):
    """What leaving a message asks of the call's steering."""

    @property
    def settings(self) -> ControlSettings: ...

    @property
    def over(self) -> bool: ...

    def caller_quiet_s(self) -> float: ...

    async def interrupt(self) -> None: ...

    async def mute(self, muted: bool = True) -> None: ...

    async def mute_agent(self, muted: bool = True) -> None: ...

    async def say(self, text: str, *, interrupt: bool = False) -> bool: ...

    async def play(self, mulaw: bytes) -> bool: ...

    async def leave_message(self, message: str | bytes, *, announcement_over: bool = True) -> None: ...

    async def hang_up(self, reason: str, *, after_goodbye: bool = True) -> bool: ...


class MachineMessage:
    """Of one call; a message is left once."""

    def __init__(self, call: Machine) -> None:
        self._call = call
        self._begun = False

    async def detected(self, answered_by: str) -> None:
        """See `CallControl.machine_detected`."""
        plan = self._call.settings.machine
        if answered_by == "fax":
            await self._call.hang_up("a fax machine answered", after_goodbye=False)
        elif answered_by.startswith("machine_"):
            if plan.on_machine == "leave_message" and plan.message:
                await self._call.leave_message(plan.message, announcement_over=answered_by != "machine_start")
            elif plan.on_machine != "talk":
                await self._call.hang_up("an answering machine answered", after_goodbye=False)

    async def leave(self, message: str | bytes, *, announcement_over: bool, pause_s: float) -> None:
        if self._begun:
            return
        self._begun = True
        call = self._call
        await call.interrupt()
        await call.mute_agent()  # it must not talk into the announcement
        if pause_s > 0:
            await asyncio.sleep(pause_s)
        if not announcement_over:
            await self._announcement()
        await call.mute()  # nor must the machine's noises interrupt the message
        await call.mute_agent(False)
        heard = await (call.say(message) if isinstance(message, str) else call.play(message))
        told = "a message was left on an answering machine" if heard else "an answering machine answered"
        await call.hang_up(told, after_goodbye=False)

    async def _announcement(self) -> None:
        """Until the machine has been silent for a while, in time."""
        plan = self._call.settings.machine
        loop = asyncio.get_running_loop()
        until = loop.time() + plan.announcement_s_max
        while not self._call.over and loop.time() < until and self._call.caller_quiet_s() < plan.quiet_s:  # noqa: ASYNC110 - no event tells of silence
            await asyncio.sleep(LOOK_S)
