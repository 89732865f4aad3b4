"""One call of a trial: the caller and her agent on one line, and what is kept of it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import msgspec

from realtime_bridge.session.events import SessionEvent
from realtime_bridge.tape import TapeKey
from telephony.agents import AgentDirectory, PhoneAgent
from telephony.call_details import CallDetails
from telephony.calls.answering import Switchboard
from telephony.calls.live import CallEnding, CallListener, LiveCall
from telephony.calls.recording_policy import RecordingPolicy
from telephony.steering.control import CallControl
from telephony.testing.network import Link
from telephony.testing.phone import Ids, SimulatedPhone
from telephony.testing.result import CallResult
from telephony.testing.virtual_call import place_virtual_call
from telephony.trials.agent_work import AgentWork
from telephony.trials.approvals import TrialApprovals
from telephony.trials.models import Surroundings
from telephony.trials.recorded_caller import RecordedCaller
from telephony.trials.tools import TrialTools

ONE_WAY_MS: Final = 40.0  # of the networks of all calls but the first
JITTER_MS: Final = 20.0
TIMES_MAX: Final = 3.0  # as long as the recorded call, a call on trial may last,
SECONDS_MORE: Final = 120.0  # and so much longer


@dataclass(slots=True, kw_only=True)
class TrialCall:
    """`number`: from 1; it seeds the network's delays, of which the first call has none. A `CallListener` of its own."""

    number: int
    caller: RecordedCaller
    tools: TrialTools
    approvals: TrialApprovals
    data_dir: Path
    key: TapeKey | None = None
    details: CallDetails | None = None
    listeners: Sequence[CallListener] = ()
    on_event: Callable[[SessionEvent], None] | None = None
    ending: CallEnding | None = None

    async def place(self, agent: PhoneAgent, where: Surroundings) -> CallResult:
        """The whole call. Raises TimeoutError for one that takes far longer than the recorded one; it is broken off."""
        setting, work = self.caller.setting, AgentWork()
        ids = Ids(call_sid="CA" + secrets.token_hex(16))
        switchboard = Switchboard(
            AgentDirectory(replace(agent, agent=self.tools.equip(agent.agent))),
            model=where.model,
            openai=where.openai,
            open_model=where.open_model,
            audio=setting.audio,
            data_dir=self.data_dir,
            disk=where.disk,
            config=setting.config or None,
            recording=RecordingPolicy(key=self.key),
            control=partial(CallControl, settings=agent.steering),
        )
        listeners: list[CallListener] = [self, work, self.approvals, *self.listeners]
        for listener in listeners:
            switchboard.live.add_listener(listener)
        details = self.details or setting.details
        switchboard.expect(msgspec.structs.replace(details, call_sid=ids.call_sid, record=True))
        phone = SimulatedPhone(ids)
        call = place_virtual_call(
            switchboard.answer,
            self.caller.steps(work.is_busy),
            phone=phone,
            to_server=self._link(1),
            to_phone=self._link(2),
        )
        try:
            async with asyncio.timeout(self.seconds_max):
                return await call
        finally:
            await switchboard.close()

    @property
    def seconds_max(self) -> float:
        return self.caller.seconds * TIMES_MAX + SECONDS_MORE

    def call_began(self, call: LiveCall) -> None:
        if self.on_event is not None:
            call.session.on(None, self.on_event)

    def call_ended(self, _details: CallDetails, ending: CallEnding) -> None:
        self.ending = ending

    def _link(self, way: int) -> Link | None:
        if self.number == 1:
            return None
        rng = Random(2 * self.number + way)  # noqa: S311 - repeatable is what it must be
        return Link(ONE_WAY_MS, JITTER_MS, rng)
