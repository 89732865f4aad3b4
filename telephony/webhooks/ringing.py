"""Who is to talk to a call that rings: by the number that was called, or as whoever placed the call has asked."""

from __future__ import annotations

import logging
from typing import assert_never

import msgspec

from telephony.agents import AgentDirectory
from telephony.call_details import CallDetails
from telephony.outbound.dialler import Dialler, plan_of_attempt
from telephony.outbound.machine import HangUp, LeaveMessage, Talk, decide
from telephony.store import Store
from telephony.twilio.twiml import goodbye, leave_message
from telephony.twilio.voice_request import VoiceRequest

log = logging.getLogger(__name__)


def inbound_call(request: VoiceRequest, agents: AgentDirectory | None) -> CallDetails:
    """Somebody calls us; or a call comes back to us that Twilio was told to connect elsewhere for a while."""
    return CallDetails(
        call_sid=request.call_sid,
        direction="outbound" if request.outbound else "inbound",
        caller=request.from_number,
        called=request.to_number,
        agent="" if agents is None else agents.name_for(request.to_number),
        carrier=request.carrier,
    )


async def placed_call(request: VoiceRequest, attempt_id: str, store: Store, dialler: Dialler) -> CallDetails | str:
    """A call that we placed is answered. TwiML, where no agent is to talk: a machine has answered, or the attempt is
    not ours. Raises StoreError."""
    await dialler.on_status(attempt_id, request)
    attempt = await store.attempts.get(attempt_id)
    if attempt is None or attempt.call_sid != request.call_sid:
        log.warning("call %s is hung up: it is not the call of attempt %s", request.call_sid, attempt_id)
        return goodbye()
    plan = plan_of_attempt(attempt)
    match decide(plan, request.answered_by):
        case HangUp(reason=reason):
            log.info("call %s is hung up: %s", request.call_sid, reason)
            return goodbye()
        case LeaveMessage(text=text, pause_seconds=pause):
            log.info("call %s: a message is left on an answering machine", request.call_sid)
            return leave_message(text, after_seconds=pause)
        case Talk():
            pass
        case other:
            assert_never(other)
    return msgspec.structs.replace(
        inbound_call(request, None),
        direction="outbound",
        agent=attempt.agent or "",
        parameters=attempt.parameters,
        attempt_id=attempt_id,
        on_machine=plan.on_machine,
        machine_message=plan.message,
        on_unknown=plan.on_unknown,
        seconds_max=attempt.details.get("call_seconds_max"),
        record=attempt.details.get("record"),
    )
