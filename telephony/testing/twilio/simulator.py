"""The simulator as a whole: Twilio's REST API and its telephone network, on a port of this machine.

    async with TwilioSimulator(auth_token="…") as twilio:
        twilio.number("+15550199", voice_url="http://127.0.0.1:8080/twilio/voice")
        call = await twilio.ring("+15550100", "+15550199", steps=[WaitForAgent(), "Goodbye.", HangUp()])
        await call.until_status("completed")

A server under test reaches it by `TWILIO_API_BASE_URL=twilio.url`, with `twilio.account_sid` and the auth token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from telephony.testing.twilio.call import Calls, SimulatedCall
from telephony.testing.twilio.control import Control
from telephony.testing.twilio.exchange import CLOSE_S_MAX, Exchange, Number, Timing
from telephony.testing.twilio.faults import TwilioFaults
from telephony.testing.twilio.incoming import ring
from telephony.testing.twilio.ordering import Permissions
from telephony.testing.twilio.people import Behaviour, Human, Person, ScriptStep
from telephony.testing.twilio.records import Alert, Ledger, Webhook
from telephony.testing.twilio.rest import RestApi
from telephony.testing.twilio.sound import Voice
from telephony.testing.twilio.voices import voice
from telephony.testing.twilio.webhooks import TOTAL_S_MAX, Webhooks

ACCOUNT_SID: Final = "AC" + 31 * "0" + "1"


class TwilioSimulator:
    """One account on a simulated Twilio. An async context manager: servers run, and calls live, inside of it."""

    def __init__(
        self,
        *,
        auth_token: str,
        account_sid: str = ACCOUNT_SID,
        api_keys: Mapping[str, str] | None = None,
        calls_per_second: float = 1.0,
        speech: Voice | None = None,
        webhook_timeout_s: float = TOTAL_S_MAX,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        """`api_keys`: SID -> secret. `speech` turns text into 8 kHz mu-law: `murmur` costs nothing, `voice()` (the
        default) speaks where the [local] extra is installed. `port` 0 takes a free one."""
        self.faults = TwilioFaults()
        self.permissions = Permissions()
        self._ledger = Ledger()
        self._exchange = Exchange(
            account_sid=account_sid,
            webhooks=Webhooks(auth_token, self.faults, self._ledger.webhooks, webhook_timeout_s),
            faults=self.faults,
            ledger=self._ledger,
            voice=speech or voice(),
            calls_per_second=calls_per_second,
        )
        self._calls: Calls = {}
        self._api = RestApi(
            self._exchange, self._calls, {account_sid: auth_token, **(api_keys or {})}, self.permissions
        )
        self._address = (host, port)
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        host, port = self._address
        app = self._api.application()
        Control(self._exchange, self._calls).add_to(app)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_S_MAX)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port).start()
        await self._exchange.webhooks.__aenter__()
        self._exchange.base_url = f"http://{host}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for call in tuple(self._calls.values()):  # those in progress are cut off
            call.finish("completed" if call.answered_at is not None else "canceled", callbacks=False)
        await self._exchange.close()
        for call in self._calls.values():
            for stream in call.streams:
                stream.abandon()
        await self._exchange.webhooks.__aexit__(kind, error, trace)
        if self._runner is not None:
            await self._runner.cleanup()

    # ---- the account ---------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Of the REST API: what TWILIO_API_BASE_URL must be."""
        return self._exchange.base_url

    @property
    def account_sid(self) -> str:
        return self._exchange.account_sid

    @property
    def timing(self) -> Timing:
        return self._exchange.timing

    @property
    def numbers(self) -> Mapping[str, Number]:
        return self._exchange.numbers

    def number(
        self,
        number: str,
        *,
        voice_url: str = "",
        voice_method: str = "POST",
        voice_fallback_url: str = "",
        status_callback: str = "",
    ) -> Number:
        """The account gets, or changes, a number of its own (an IncomingPhoneNumber)."""
        known = self._exchange.numbers.get(number)
        given = Number(
            known.sid if known is not None else self._exchange.new_sid("PN"),
            number,
            voice_url=voice_url,
            voice_method=voice_method,
            voice_fallback_url=voice_fallback_url,
            status_callback=status_callback,
        )
        self._exchange.numbers[number] = given
        return given

    # ---- the network ---------------------------------------------------------------------------------------------------

    def person(self, number: str, behaviour: Behaviour | None = None, *, answers_after_s: float = 1.0) -> Person:
        """Somebody who can be called from now on. More of them is told by `add`."""
        return self.add(Person(number, behaviour or Human(), answers_after_s))

    def add(self, person: Person) -> Person:
        self._exchange.people[person.number] = person
        return person

    async def ring(
        self,
        from_: str,
        to: str,
        *,
        steps: Sequence[ScriptStep] | None = None,
        carrier: Mapping[str, str] | None = None,
    ) -> SimulatedCall:
        """Somebody calls a number of the account. Returns when it rings; its webhook is on its way.

        `steps`: what the caller does once answered; by default what the person of this number does, who else stays and
        says nothing. `carrier`: further fields of the webhooks, such as FromCity. Raises MisuseError for a number that
        is not the account's.
        """
        return await ring(self._exchange, self._calls, from_, to, steps=steps, carrier=carrier)

    # ---- the books -----------------------------------------------------------------------------------------------------

    @property
    def calls(self) -> Mapping[str, SimulatedCall]:
        """By SID, in the order they came to be."""
        return self._calls

    @property
    def alerts(self) -> list[Alert]:
        return self._ledger.alerts

    @property
    def webhooks(self) -> list[Webhook]:
        """All requests to the application, of all calls."""
        return self._ledger.webhooks

    @property
    def requests(self) -> list[tuple[str, str, int]]:
        """(method, path, HTTP status) of each answer of the REST API."""
        return self._api.requests

    def calls_to(self, number: str) -> list[SimulatedCall]:
        return [call for call in self._calls.values() if call.to == number]
