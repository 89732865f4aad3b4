"""A whole phone house: Twilio (simulated), `realtime-bridge serve` as a process of its own, and a model as another one.

async with phone_house(tmp_path, script=SCRIPT, hears=["I want a refund"]) as house:
    call = await house.ring(WaitForAgent(), Say(tone), WaitForAgent(), HangUp())
    await call.until_status("completed")
"""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec
import pytest
from support.model_process import ModelProcess
from support.phone_server import http
from support.quiet import until
from support.server_process import ServeProcess, free_port, serve
from support.twilio_application import TOKEN, Twilio

from telephony.settings import Settings
from telephony.store import Store

NUMBER = "+14155550199"  # ours
CALLER = "+14155550100"
AGENT = '''
from realtime_bridge import Agent, tool
from telephony.tools import collect_digits, hang_up, hold_caller, press_keys, resume_caller, transfer_call


@tool(needs_approval=True)
def refund(order: str) -> str:
    """Pay an order back."""
    with open("refunds.txt", "a") as book:
        book.write(order + "\\n")
    return f"Refunded {order}."


agent = Agent(
    name="Front desk",
    instructions="Be kind.",
    tools=[
        refund, hang_up, collect_digits, press_keys, hold_caller, resume_caller,
        transfer_call({"billing": "+14155550111"}),
        transfer_call({"boss": "+14155550112"}, warm=True, name="ask_for"),
    ],
)
night = Agent(name="Night desk", instructions="Be quiet.")
'''


@dataclass(eq=False)
class House:
    twilio: Twilio
    model: ModelProcess
    server: ServeProcess
    url: str
    data_dir: Path
    database_url: str
    client: aiohttp.ClientSession

    def __post_init__(self):
        self._minting, self._token = asyncio.Lock(), None

    async def ring(self, *steps, from_=CALLER, to=NUMBER, **more):
        return await self.twilio.ring(from_, to, steps=steps, **more)

    async def record_of(self, call_sid):
        """call.json, when it is written."""
        path = self.data_dir / "calls" / call_sid / "call.json"
        await until(path.exists)
        return json.loads(path.read_text())

    async def stored(self, call_sid, wanted=lambda row: row.finished_at is not None, seconds=60):
        """The call's row, when it is as wanted."""
        async with asyncio.timeout(seconds), Store.open(self.database_url, node="test") as store:
            while True:
                if (row := await store.calls.get(call_sid)) is not None and wanted(row):
                    return row
                await asyncio.sleep(0.05)

    async def api(self, method, path, body=None, headers=None):
        """(status, decoded body) of a request with every right."""
        async with self._minting:
            if self._token is None:
                async with self.store() as store:
                    _, self._token = await store.access.create_token("tests", ("admin",), None)
        request = self.client.request(
            method, f"/api/v1{path}", json=body, headers={"Authorization": f"Bearer {self._token}", **(headers or {})}
        )
        async with request as answer:
            return answer.status, await answer.json(content_type=None) if answer.status != 204 else None

    async def download(self, method, path, body=None):
        """(status, bytes), likewise."""
        await self.api("GET", "/calls")
        headers = {"Authorization": f"Bearer {self._token}"}
        async with self.client.request(method, f"/api/v1{path}", json=body, headers=headers) as answer:
            return answer.status, await answer.read()

    async def until_api(self, method, path, wanted, seconds=60):
        """The body's part that is wanted, as soon as it is there (errors may come first: a call that is not known yet)."""
        status, body = None, None
        try:
            async with asyncio.timeout(seconds):
                while True:
                    status, body = await self.api(method, path)
                    if status == 200 and (found := wanted(body)):
                        return found
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{path} answers {status}: {body}") from None

    async def until_agent_said(self, call, text):
        """Until the caller has heard this to its end; then hang up for him."""

        def heard(told):
            state = told.get("state", {"history": ()})
            said = [json.dumps(item) for item in state["history"] if item.get("role") == "assistant"]
            return any(text in item for item in said) and state["quiet"]

        await self.until_api("GET", f"/calls/{call.sid}/live", heard)
        call.hang_up()

    def workers(self):
        """Process ids of the server's workers."""
        pid = self.server.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return {int(child) for child in children}

    async def until(self, condition, what, seconds=60):
        try:
            await until(condition, seconds)
        except TimeoutError:
            raise AssertionError(f"no {what} within {seconds} s") from None

    def refunds(self):
        """The orders that the tool has paid back, each time it ran."""
        book = self.data_dir.parent / "refunds.txt"
        return book.read_text().split() if book.exists() else []

    @contextlib.asynccontextmanager
    async def store(self):
        async with Store.open(self.database_url, node="test") as store:
            yield store


@contextlib.asynccontextmanager
async def phone_house(directory, *, script, hears=(), agent=AGENT, arguments=(), twilio_options=None, **settings):
    directory = Path(directory)
    (directory / "house.py").write_text(agent)
    (directory / "script.json").write_text(msgspec.json.encode(script).decode())  # YAML is a superset of JSON
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    database_url = settings.pop("DATABASE_URL", f"sqlite:///{directory}/data/realtime-bridge.db")
    model = ModelProcess(
        ["--script", str(directory / "script.json"), "--session-seconds", "3600", "--speed", "4", "--hears", *hears],
        scripted=True,
    )
    async with model, Twilio(**(twilio_options or {})) as twilio:
        environment = {
            "AGENT": "house:agent", "TWILIO_ACCOUNT_SID": twilio.account_sid, "TWILIO_AUTH_TOKEN": TOKEN,
            "TWILIO_API_BASE_URL": twilio.url, "TWILIO_NUMBER": NUMBER, "PUBLIC_URL": url,
            "OPENAI_API_KEY": "sk-offline-0123456789", "OPENAI_BASE_URL": model.url, "DATA_DIR": str(directory / "data"),
            "DATABASE_URL": database_url, **settings,
        }  # fmt: skip
        async with serve(directory, *arguments, port=port, **environment) as server:
            twilio.number(NUMBER, voice_url=f"{url}/twilio/voice", status_callback=f"{url}/twilio/status")
            # A connection each: one that is kept may be closed by the server just when it is used again.
            connector = aiohttp.TCPConnector(force_close=True)
            async with aiohttp.ClientSession(url, connector=connector, timeout=aiohttp.ClientTimeout(60)) as client:
                yield House(twilio, model, server, url, directory / "data", database_url, client)


def plain_settings(house):
    """What a program needs to reach this house's Twilio."""
    return Settings(
        _env_file=None,
        twilio_account_sid=house.twilio.account_sid,
        twilio_auth_token=TOKEN,
        twilio_api_base_url=house.twilio.url,
        public_url=house.url,
    )


class Scenarios:
    """Calls that go on in several houses at the same time; each is judged by a test of its own.

        scenarios = Scenarios({"one worker": {}, "two workers": {"WORKERS": "2"}}, script=SCRIPT)

        @scenarios.add
        async def a_caller_is_greeted(house): ...

        test_in_the_house = scenarios.tests()

    All at once, since they take their time and little else. A house with `DATABASE_URL="postgresql"` gets a database on a
    real server.
    """

    def __init__(self, houses, *, seconds_max=150.0, **options):
        self._houses = houses
        self._options = options
        self._seconds_max = seconds_max
        self._scenarios = {}
        self._alone = {}
        self._outcomes = None

    def add(self, scenario):
        self._scenarios[scenario.__name__] = scenario
        return scenario

    def add_alone(self, scenario):
        """One that others would suffer from: it goes on when they are over."""
        self._alone[scenario.__name__] = scenario
        return scenario

    def tests(self):
        @pytest.mark.parametrize("scenario", [*self._scenarios, *self._alone])
        @pytest.mark.parametrize("house", self._houses)
        def test(house, scenario, tmp_path_factory, postgres):
            if self._outcomes is None:
                with postgres.database() as url:
                    self._outcomes = asyncio.run(self._run_all(tmp_path_factory, url))
            outcome = self._outcomes[house]
            if isinstance(outcome, dict):
                outcome = outcome[scenario]
            if outcome is not None:
                raise outcome

        return test

    async def _run_all(self, tmp_path_factory, postgres_url):
        runs = []
        for own in self._houses.values():
            options = {**self._options, **own}
            if options.get("DATABASE_URL") == "postgresql":
                options["DATABASE_URL"] = postgres_url
            runs.append(self._run(tmp_path_factory.mktemp("house"), options))
        return dict(zip(self._houses, await asyncio.gather(*runs, return_exceptions=True), strict=True))

    async def _run(self, directory, options):
        async with phone_house(directory, **options) as house:
            outcomes = await self._all_of(self._scenarios, house)
            for name, scenario in self._alone.items():
                outcomes |= await self._all_of({name: scenario}, house)
        return outcomes

    async def _all_of(self, scenarios, house):
        running = [self._in_time(scenario(house)) for scenario in scenarios.values()]
        outcomes = await asyncio.gather(*running, return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None:
                outcome.add_note(f"---- the server's log\n{house.server.log[-8000:]}")
        return dict(zip(scenarios, outcomes, strict=True))

    async def _in_time(self, scenario):
        async with asyncio.timeout(self._seconds_max):
            await scenario


__all__ = ["CALLER", "NUMBER", "House", "Scenarios", "http", "phone_house", "plain_settings"]
