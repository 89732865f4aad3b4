"""How a server lives and ends: `serve` as a process, with callers on the line."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess

import pytest
from support.phone_server import http
from support.serve_process import serve_process
from support.server_process import PROGRAM, environment

from telephony.testing import HangUp, Ids, SimulatedPhone, Until, WaitForAgent, fetch_stream, place_call
from telephony.testing.caller import Stream

AGENT = "from realtime_bridge import Agent\nfront_desk = Agent(name='Front desk', instructions='Greet.')\n"


@pytest.fixture
def company(tmp_path):
    (tmp_path / "my_company.py").write_text(AGENT)
    return tmp_path


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario(), 240))


class Caller:
    """Listens to the agent, and hangs up when told to."""

    def __init__(self, number: int) -> None:
        self.phone = SimulatedPhone(Ids(call_sid=f"CA{number:032}", stream_sid=f"MZ{number:032}"))
        self.greeted = asyncio.Event()
        self._may_hang_up = False

    async def ring(self, url: str) -> Stream:
        return await fetch_stream(url + "/twilio/voice", ids=self.phone.ids)

    def talk(self, stream: Stream) -> None:
        def hears_greeting() -> bool:
            self.greeted.set()
            return self._may_hang_up

        steps = [WaitForAgent(), Until(hears_greeting, "the test", timeout_s=300), HangUp()]
        self.call = asyncio.create_task(place_call(stream, steps, phone=self.phone))

    async def call_up(self, url: str) -> Caller:
        self.talk(await self.ring(url))
        greeted = asyncio.create_task(self.greeted.wait())
        await asyncio.wait({greeted, self.call}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert self.greeted.is_set(), self.call
        return self

    @property
    def heard_bytes(self) -> int:
        return self.phone.playback.heard_bytes(asyncio.get_running_loop().time())

    async def hang_up(self):
        self._may_hang_up = True
        return await asyncio.wait_for(self.call, 60)


def record(company, number: int) -> dict:
    return json.loads((company / "data" / "calls" / f"CA{number:032}" / "call.json").read_text())


async def ready(url: str) -> int:
    return (await http(url + "/readyz"))[0]


def test_a_server_that_is_told_to_stop_takes_no_new_call_and_hurts_none_that_is_there(company):
    async def scenario():
        async with serve_process(company, DRAIN_SECONDS_MAX="4") as server:
            assert await ready(server.url) == 200
            short, long, ringing = Caller(1), Caller(2), Caller(3)
            await asyncio.gather(short.call_up(server.url), long.call_up(server.url))
            greeting_bytes = long.heard_bytes
            stream = await ringing.ring(server.url)
            server.signal(signal.SIGTERM)
            await server.wait_for("draining: 2 calls may go on for 4 s")
            assert await ready(server.url) == 503
            _, twiml = await http(server.url + "/twilio/voice", {"CallSid": "CA" + "4" * 32, "From": "+15550100"})
            assert "<Say" in twiml, "what callers get when there is no room"
            assert "<Stream" not in twiml
            ringing.talk(stream)
            await asyncio.wait_for(ringing.greeted.wait(), 60)  # its webhook was answered before
            assert (await ringing.hang_up()).failure is None
            assert (await short.hang_up()).failure is None
            result = await asyncio.wait_for(long.call, 60)
            assert "1000" in result.failure, "the server hung up, in order"
            assert long.heard_bytes > greeting_bytes + 2000, "a goodbye was heard"
            assert await server.ended() == 0
            assert not [line for line in server.lines if re.search("ERROR|Traceback", line)]

    run(scenario)
    assert record(company, 2)["disposition"] == "the server stops"
    for number in (1, 3):
        assert record(company, number)["disposition"] != "the server stops"
        assert record(company, number)["transcript"]


def test_workers_share_a_port_and_one_that_dies_or_is_replaced_hurts_no_call_of_the_others(company):
    async def scenario():
        async with serve_process(company, "--workers", "2") as server:
            first = int((await server.wait_for(r"worker 1 starts, process (\d+)"))[1])
            await server.wait_for("worker 2 is ready")
            callers = [Caller(n) for n in range(1, 7)]
            await asyncio.gather(*(caller.call_up(server.url) for caller in callers))
            lost = [c for c in callers if await worker_of(server, c) == "worker 1"]
            kept = [c for c in callers if c not in lost]
            assert lost
            assert kept
            assert await number(server, 'calls_active{direction="inbound"}') == len(callers)
            os.kill(first, signal.SIGKILL)
            for caller in lost:
                assert "1006" in (await asyncio.wait_for(caller.call, 120)).failure
            await server.wait_for(r"worker 1 has ended, killed by signal 9; it held \d+ calls")
            assert await number(server, 'calls_active{direction="inbound"}') == len(kept)
            assert await number(server, "worker_deaths_total") == 1

            server.signal(signal.SIGHUP)
            await server.wait_for("all workers are replaced")
            assert await ready(server.url) == 200
            late = await Caller(9).call_up(server.url)
            for caller in (*kept, late):
                assert (await caller.hang_up()).failure is None
            server.signal(signal.SIGINT)
            assert await server.ended() == 0

    run(scenario)


async def worker_of(server, caller) -> str:
    """As the logs tell."""
    found = await server.wait_for(rf"(worker \d) .*{caller.phone.ids.call_sid}")
    return found[1]


async def number(server, sample: str) -> float:
    _, page = await http(server.url + "/metrics")
    return float(re.search(rf"^realtime_bridge_{re.escape(sample)} (\S+)$", page, re.MULTILINE)[1])


# Python runs it first: the process is told to stop when it is about to import this module of ours.
EARLY = """
import os, signal, sys
class Watch:
    def find_spec(self, name, path, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGTERM)
sys.meta_path.insert(0, Watch())
"""


@pytest.mark.parametrize("module", ["telephony.settings", "my_company"])
def test_a_server_that_is_told_to_stop_while_it_starts_has_not_failed(company, module):
    (company / "sitecustomize.py").write_text(EARLY.format(module=module))
    env = environment(OPENAI_API_KEY="key", AGENT="my_company:front_desk")
    env["PYTHONPATH"] += os.pathsep + str(company)
    ended = subprocess.run(
        [*PROGRAM, "serve", "--port", "0"],
        cwd=company,
        env=env,
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, "Listening" in ended.stderr, "Traceback" in ended.stderr) == (0, False, False), (
        ended.stderr
    )
