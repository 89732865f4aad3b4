"""A caller who approves by a key of their phone: a whole call, over real sockets, with the offline model's server."""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from openai import AsyncOpenAI
from support.api_node import eventually
from support.phone_server import serving
from support.scripted_model import LoudnessVad, ScriptedBrain, ScriptedRecognizer, ToneVoice

from realtime_bridge import Agent, tool
from realtime_bridge.approvals import ApprovalSettings
from realtime_bridge.localmodel.parts import CallTool, Say
from realtime_bridge.localmodel.server import LocalModelServer
from telephony.calls.answering import Switchboard
from telephony.calls.approvals import ApprovalDesk
from telephony.store import Store
from telephony.testing.caller import fetch_stream, place_call
from telephony.testing.script import HangUp, Press, Until, WaitForAgent


@contextlib.asynccontextmanager
async def house(directory, agent, *responses):
    """(store, URL of the voice webhook): a phone server whose model does these deeds."""
    brain = ScriptedBrain(*responses)
    async with contextlib.AsyncExitStack() as stack:
        server = LocalModelServer(
            brain_factory=lambda: brain, recognizer=ScriptedRecognizer(), voice=ToneVoice(), vad_factory=LoudnessVad
        )
        model = await stack.enter_async_context(server)
        openai = await stack.enter_async_context(AsyncOpenAI(api_key="none", base_url=model.base_url))
        store = await stack.enter_async_context(Store.open(f"sqlite:///{directory}/store.db", node="node-1"))
        desk = ApprovalDesk(store)
        stack.push_async_callback(desk.close)
        disk = stack.enter_context(ThreadPoolExecutor(1))
        switchboard = Switchboard(
            agent, openai=openai, model="local", disk=disk, approvals=ApprovalSettings(timeout_s=30.0)
        )
        stack.push_async_callback(switchboard.close)
        switchboard.live.add_listener(desk)
        desk.start()
        phone, _ = await stack.enter_async_context(serving(answer=switchboard.answer))
        yield store, phone.url + "/twilio/voice"


async def waiting_in(store):
    return (await store.approvals.list(status="waiting")).rows


@pytest.mark.parametrize(("key", "booked"), [("1", ["tomorrow"]), ("*", [])])
def test_one_key_lets_the_tool_run_and_another_one_refuses(tmp_path, key, booked):
    ran = []

    @tool(
        needs_approval=True, approval_by_caller="1", filler="Shall I book tomorrow? Press one for yes, or star for no."
    )
    async def book(day: str) -> str:
        ran.append(day)
        return "booked"

    async def main():
        responses = ([CallTool("book", {"day": "tomorrow"})], [Say("Press one or star.")], [Say("Very well.")])
        async with house(tmp_path, Agent(name="desk", tools=[book]), *responses) as (store, url):
            waiting = []

            async def look():
                (row,) = await eventually(lambda: waiting_in(store))
                await eventually(lambda: store.calls.events(row.call_sid))  # it has been told that it waits
                waiting.append(row)

            looking = asyncio.create_task(look())
            steps = (
                Until(lambda: bool(waiting), "been asked"),
                Press("5"),
                Press(key),
                WaitForAgent(quiet_ms=300),
                HangUp(),
            )
            result = await place_call(await fetch_stream(url), steps)
            await looking
            assert result.failure is None
            row = await store.approvals.get(waiting[0].approval_id)
            assert (row.status, row.decided_by) == ("approved" if booked else "rejected", "caller")
            (audit,) = await store.access.audits(subject=row.approval_id)
            assert (audit.who, audit.data["arguments"]) == ("caller", row.arguments)

    asyncio.run(asyncio.wait_for(main(), 120))
    assert ran == booked
