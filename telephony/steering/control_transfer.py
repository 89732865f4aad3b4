"""Carries out the transfers of one call: what `transfer` decides, with Twilio's API and the webhooks of `transfers`."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, Protocol

from realtime_bridge.errors import BridgeError, TransportError
from telephony.call_details import CallDetails
from telephony.numbers import dialable, mask_number
from telephony.steering import transfer_twiml
from telephony.steering.control_settings import ControlSettings
from telephony.steering.transfer import (
    Command,
    Do,
    EndLeg,
    Finish,
    Transfer,
    TransferResult,
    not_possible,
)
from telephony.steering.transfers import TRANSFER_PATH, Transfers
from telephony.twilio.rest import PlaceCall

log = logging.getLogger(__name__)

VOICE_PATH = "/twilio/voice"
TALK_S_MAX = 4 * 3600  # of the person's call
_E164 = re.compile(r"\+[1-9]\d{6,14}")


class TransferRest(Protocol):
    """What transfers need of Twilio's API; each raises TransportError."""

    async def place_call(self, call: PlaceCall) -> str: ...

    async def update_call(self, call_sid: str, *, twiml: str | None = None, status: Any = None) -> None: ...


class Steering(Protocol):
    """What a transfer asks of the call's steering."""

    def when_heard(self, then: Callable[[], None]) -> None:
        """Call this once, when the caller has heard all that the agent is saying."""
        ...

    def hold_line(self) -> None: ...

    def take_line_back(self) -> None: ...

    def transferred(self) -> None: ...

    def in_background(self, work: Coroutine[Any, Any, None]) -> None: ...

    def rearm(self) -> None:
        """A deadline has changed."""
        ...


class TransferDesk:
    """The transfers of one call, one at a time."""

    def __init__(
        self,
        steering: Steering,
        details: CallDetails,
        settings: ControlSettings,
        *,
        rest: TransferRest | None,
        transfers: Transfers | None,
    ) -> None:
        self._steering = steering
        self._details = details
        self._settings = settings
        self._rest = rest
        self._transfers = transfers
        self._clock = asyncio.get_running_loop().time
        self._machine: Transfer | None = None
        self._id = ""
        self._to = ""
        self._summary = ""
        self._result: asyncio.Future[TransferResult] | None = None

    @property
    def in_progress(self) -> bool:
        return self._machine is not None

    def next_deadline(self) -> float:
        return inf if self._machine is None else self._machine.next_deadline()

    async def transfer(self, to: str, *, warm: bool, summary: str) -> TransferResult:
        """See `CallControl.transfer`."""
        if self._machine is not None:
            return not_possible("Another transfer of this call is under way.")
        if self._rest is None:
            return not_possible("This server has no access to Twilio's API.")
        if warm and (self._transfers is None or not self._settings.public_url):
            return not_possible("This server does not know its PUBLIC_URL.")
        if not _E164.fullmatch(to):
            return not_possible("The number is not in E.164 form.")
        try:
            self._to = dialable(to, self._settings.transfer.countries).e164
        except BridgeError as e:
            log.warning("call %s: no transfer to %s: %s", self._details.call_sid, mask_number(to), e)
            return not_possible(str(e))
        now = self._clock()
        self._summary = summary
        self._result = asyncio.get_running_loop().create_future()
        self._machine = Transfer(
            warm=warm, consult_s=self._settings.transfer.consult_s, move_s=self._settings.rest_s_max + 1.0, now=now
        )
        self._id = self._transfers.begin(self._details.call_sid, self) if self._transfers is not None else ""
        log.info(
            "call %s: %s transfer to %s", self._details.call_sid, "warm" if warm else "cold", mask_number(self._to)
        )
        self._do(self._machine.begin())
        return await asyncio.shield(self._result)

    def due(self, now: float) -> None:
        if self._machine is not None:
            self._do(self._machine.due(now))

    def withdraw(self) -> None:
        """The caller is wanted back."""
        if self._machine is not None:
            self._do(self._machine.withdraw())

    def caller_gone(self) -> None:
        """The caller's stream is over, or is about to be."""
        if self._machine is not None:
            self._do(self._machine.caller_gone())

    # ---- for the webhooks: PendingTransfer ---------------------------------------------------------------------------

    def picked_up(self) -> str:
        if self._machine is None:
            return transfer_twiml.person_declined(self._settings.transfer)
        return transfer_twiml.ask_person(self._summary, self._url(), self._settings.transfer)

    def pressed(self, key: str) -> str:
        accepted, commands = (False, []) if self._machine is None else self._machine.answered(key, self._clock())
        conference = self._id
        self._do(commands)
        if accepted:
            return transfer_twiml.person_joins(conference, self._settings.transfer)
        return transfer_twiml.person_declined(self._settings.transfer)

    def leg_status(self, status: str) -> None:
        if self._machine is not None:
            self._do(self._machine.leg_status(status))

    # ---- what the machine says ---------------------------------------------------------------------------------------

    def _do(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Do.MARK:
                    self._steering.when_heard(self._announced)
                case Do.HOLD:
                    self._steering.hold_line()
                case Do.TAKE_BACK:
                    self._steering.take_line_back()
                case Do.BRING_BACK:
                    self._steering.in_background(self._bring_back())
                case Do.PLACE:
                    self._steering.in_background(self._place(self._machine_now()))
                case Do.JOIN:
                    twiml = transfer_twiml.caller_joins(self._id)
                    self._steering.in_background(self._move(self._machine_now(), twiml))
                case Do.DIAL:
                    self._steering.in_background(self._move(self._machine_now(), self._dial_twiml()))
                case EndLeg(call_sid=call_sid):
                    self._steering.in_background(self._end_leg(call_sid))
                case Finish(result=result):
                    self._finish(result)
        self._steering.rearm()

    def _machine_now(self) -> Transfer:
        assert self._machine is not None
        return self._machine

    def _announced(self) -> None:
        if self._machine is not None:
            self._do(self._machine.announced(self._clock()))

    def _finish(self, result: TransferResult) -> None:
        log.info("call %s: transfer ended: %s", self._details.call_sid, result.outcome)
        if self._transfers is not None:
            self._transfers.end(self._id)
        self._machine = None
        if result.connected:
            self._steering.transferred()
        if self._result is not None and not self._result.done():
            self._result.set_result(result)

    async def _place(self, machine: Transfer) -> None:
        assert self._rest is not None
        status_url = f"{self._url()}/status"
        call = PlaceCall(
            to=self._to,
            from_number=self._our_number(),
            url=self._url(),
            status_callback=status_url,
            ring_seconds=self._settings.transfer.ring_s,
            call_seconds_max=TALK_S_MAX,
        )
        try:
            call_sid = await self._rest.place_call(call)
        except TransportError as e:
            log.warning("call %s: the person cannot be called: %s", self._details.call_sid, e)
            self._do(machine.refused("Twilio refused the call"))
        else:
            self._do(machine.placed(call_sid))

    async def _move(self, machine: Transfer, twiml: str) -> None:
        """Give the caller new instructions; our stream ends with it."""
        assert self._rest is not None
        try:
            async with asyncio.timeout(self._settings.rest_s_max):
                await self._rest.update_call(self._details.call_sid, twiml=twiml)
        except (TransportError, TimeoutError) as e:
            log.warning("call %s: the caller cannot be moved: %s", self._details.call_sid, e)
            self._do(machine.moved("Twilio refused"))
        else:
            self._do(machine.moved())

    async def _bring_back(self) -> None:
        """The person has hung up in the moment in which the caller was moved: the caller is alone there."""
        assert self._rest is not None
        twiml = transfer_twiml.caller_comes_back(f"{self._settings.public_url}{VOICE_PATH}")
        try:
            await self._rest.update_call(self._details.call_sid, twiml=twiml)
        except TransportError as e:
            log.warning("call %s: the caller could not be brought back: %s", self._details.call_sid, e)

    async def _end_leg(self, call_sid: str) -> None:
        assert self._rest is not None
        try:
            await self._rest.update_call(call_sid, status="completed")
        except TransportError as e:
            log.warning(
                "call %s: the call to the person, %s, could not be ended: %s", self._details.call_sid, call_sid, e
            )

    def _dial_twiml(self) -> str:
        action = f"{self._url()}/after" if self._settings.public_url and self._id else ""
        return transfer_twiml.dial_person(
            self._to, caller_id=self._our_number(), action=action, settings=self._settings.transfer
        )

    def _url(self) -> str:
        return f"{self._settings.public_url}{TRANSFER_PATH}/{self._id}"

    def _our_number(self) -> str:
        ours = self._details.called if self._details.direction == "inbound" else self._details.caller
        return self._settings.transfer.caller_id or ours
