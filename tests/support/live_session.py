"""A RealtimeSession on a ScriptedTransport, for tests of the shell."""

import asyncio
from contextlib import asynccontextmanager

from realtime_bridge import Agent, RealtimeSession, tool
from realtime_bridge.transport.scripted import ScriptedTransport
from realtime_bridge.wire import client


@tool
async def look_up(order: str) -> str:
    return f"{order} was shipped"


def run(main):
    asyncio.run(asyncio.wait_for(main(), 120))


@asynccontextmanager
async def session(agent=None, *, transport=None, **options):
    """A session on a scripted transport, with all its events in `events`."""
    transport = transport or ScriptedTransport()
    made = RealtimeSession(agent or Agent("desk", "Be kind.", tools=[look_up]), transport=transport, **options)
    made.events = []
    made.on(None, made.events.append)
    async with made:
        yield made, transport


def of(made, kind):
    return [event for event in made.events if event.type == kind]


async def until(made, kind, count=1):
    """Wait for the `count`th event of a type."""
    enough = asyncio.Event()

    def look(_):
        if len(of(made, kind)) >= count:
            enough.set()

    stop = made.on(None, look)
    look(None)
    await asyncio.wait_for(enough.wait(), 60)
    stop()
    return of(made, kind)[count - 1]


async def answer(transport, call_id=None):
    """The next result of a call that the model is told."""

    def is_result(event):
        return event.item.type == "function_call_output" and call_id in (None, event.item.call_id)

    event = await transport.wait_for(client.ConversationItemCreate, when=is_result)
    return event.item.output
