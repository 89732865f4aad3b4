"""CallControl: the steering of one live call, for agents' tools, for operators and for the call's own limits.

How it is wired, by whoever answers calls:

    control = CallControl(transport, details, rest=rest, settings=settings, transfers=transfers)
    context = PhoneContext(details=details, control=control, …)       # tools find it as context.context.control
    session = RealtimeSession(agent, transport=transport, context=context, …)
    control.attach(session)                                           # before the session is entered
    async with session: …                                             # it steers from the session's first event on
    await control.close()                                             # after the session's end, before the call's record
    control.ending                                                    # why the call ended, where it was steered to its end
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from realtime_bridge.realtime import RealtimeSession
from realtime_bridge.session.events import SessionEvent
from telephony.call_details import CallDetails
from telephony.calls.control_settings import ControlSettings
from telephony.transport import TwilioTransport

log = logging.getLogger(__name__)


class CallRest(Protocol):
    """What the steering of calls needs of Twilio's REST API."""

    async def update_call(self, call_sid: str, *, twiml: str | None = None, status: str | None = None) -> None: ...


class CallControl:
    """One call's steering. Everything on it is bounded in time and safe to call at any moment, also after the end."""

    def __init__(
        self,
        transport: TwilioTransport,
        details: CallDetails,
        *,
        rest: CallRest | None = None,
        settings: ControlSettings | None = None,
    ) -> None:
        """`rest` None: there is no way to Twilio's API; a hang-up closes the stream, and transfers are refused."""
        self.details = details
        self.settings = settings or ControlSettings()
        self.ending: str | None = None  # why we ended the call; None: we did not
        self._transport = transport
        self._rest = rest
        self._session: RealtimeSession | None = None

    def attach(self, session: RealtimeSession) -> None:
        """Steer this session, on whose events all else depends. Once, before it is entered."""
        self._session = session
        session.on(None, self._on_event)

    async def close(self) -> None:
        """The call is over: nothing of its steering is left running. Idempotent."""

    async def hang_up(self, reason: str = "hung up by the agent", *, after_goodbye: bool = True) -> None:
        """End the call; with `after_goodbye`, when the caller has heard what the agent is saying."""
        self.ending = self.ending or reason
        if self._rest is not None:
            async with asyncio.timeout(self.settings.rest_s_max):
                await self._rest.update_call(self.details.call_sid, status="completed")
        await self._transport.close(reason)

    def _on_event(self, event: SessionEvent) -> None:
        pass
