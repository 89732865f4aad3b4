"""Between Twilio's webhooks and the office: what each asks of the switchboard, the book, the dialler and the transfers."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from realtime_bridge.errors import InternalError
from telephony.call_details import CallDetails
from telephony.calls.commands import (
    CallCommand,
    CommandError,
    MachineAnswered,
    Outcome,
    TransferAsked,
    TransferTold,
)
from telephony.opening import Office
from telephony.steering.transfers import call_of
from telephony.store import StoreError
from telephony.stream import PhoneCall, PhoneLine
from telephony.tokens import TokenVerdict
from telephony.twilio.messages import Start
from telephony.twilio.voice_request import VoiceRequest
from telephony.webhooks.ringing import inbound_call, placed_call

log = logging.getLogger(__name__)


class FrontOffice:
    """Routes are made before anything is open, and served only while it is: `office` is there by then."""

    def __init__(self) -> None:
        self._office: Office | None = None

    def opened(self, office: Office) -> None:
        self._office = office

    def closed(self) -> None:
        self._office = None

    @property
    def is_open(self) -> bool:
        return self._office is not None

    @property
    def office(self) -> Office:
        """Raises InternalError while nothing is open."""
        if self._office is None:
            raise InternalError("a request has come before the server was open, or after")
        return self._office

    # ---- calls that come in ------------------------------------------------------------------------------------------

    async def ringing(self, request: VoiceRequest, attempt_id: str | None) -> CallDetails | str:
        """Who is to talk to the call, or TwiML. Raises StoreError, for a call that we placed."""
        office = self.office
        if attempt_id is not None:
            return await placed_call(request, attempt_id, office.store, office.dialler)
        return inbound_call(request, office.switchboard.agents)

    def expect(self, details: CallDetails) -> None:
        self.office.book.rang(details)
        self.office.switchboard.expect(details)

    async def share(self, token: str, details: CallDetails) -> None:
        if (tokens := self.office.tokens) is not None:
            await tokens.share(token, details)

    async def redeem(self, token: str, call_sid: str, known: TokenVerdict) -> TokenVerdict:
        tokens = self.office.tokens
        return known if tokens is None else await tokens.redeem(token, call_sid, known)

    def answer(self, start: Start, line: PhoneLine) -> PhoneCall:
        return self.office.switchboard.answer(start, line)

    async def aftermath(self, call_sid: str) -> bool | None:
        """How the call's stream ended, by what this process knows, or else by what is stored."""
        office = self.office
        in_order = await office.switchboard.live.ended_in_order(call_sid)
        if in_order is not None:
            return in_order
        try:
            return await office.book.ended_in_order(call_sid)
        except StoreError as e:
            log.warning("call %s: how it ended is not known: %s", call_sid, e)
            return None

    # ---- how calls fare ----------------------------------------------------------------------------------------------

    async def on_status(self, told: VoiceRequest, attempt_id: str | None) -> None:
        """Raises StoreError, for a call that we placed: Twilio is to tell it again."""
        self.office.book.told(told)
        if attempt_id is not None:
            await self.office.dialler.on_status(attempt_id, told)

    async def on_machine(self, told: VoiceRequest, attempt_id: str | None) -> None:
        """Twilio has found out who has answered, while the agent talks."""
        office = self.office
        if attempt_id is not None:
            await office.dialler.on_status(attempt_id, told)
        if told.answered_by is not None:
            await self._relay(told.call_sid, MachineAnswered(answered_by=told.answered_by))

    # ---- transfers ---------------------------------------------------------------------------------------------------

    async def transfer_answer(self, transfer_id: str, form: Mapping[str, str]) -> str | None:
        """Asked of the process that has the caller. None: there is no such transfer any more."""
        outcome = await self._relay(call_of(transfer_id), TransferAsked(transfer_id=transfer_id, form=dict(form)))
        return None if outcome is None or outcome.result is None else outcome.result.get("twiml")

    async def transfer_status(self, transfer_id: str, form: Mapping[str, str]) -> None:
        await self._relay(call_of(transfer_id), TransferTold(transfer_id=transfer_id, form=dict(form)))

    async def _relay(self, call_sid: str, command: CallCommand) -> Outcome | None:
        """Take it to the call, wherever it is. None: there it cannot be heeded, or the call is over."""
        try:
            return await self.office.commands.run(call_sid, command, by="twilio")
        except CommandError as e:
            log.info("call %s: %s is not heeded: %s", call_sid, command.verb, e)
        except StoreError as e:
            log.warning("call %s: %s could not be relayed: %s", call_sid, command.verb, e)
        return None
