"""A machine that Twilio found out before the agent's stream was there."""

import asyncio
from types import SimpleNamespace

import pytest
from support.stores import attempt, opened

from telephony.call_details import CallDetails
from telephony.calls.machine_news import MachineNews


@pytest.mark.parametrize(
    ("answered_by", "plan", "told"),
    [
        ("fax", {"on_machine": "hang_up"}, ["fax"]),
        ("machine_end_beep", {"on_machine": "leave_message", "machine_message": "Call us."}, ["machine_end_beep"]),
        ("human", {"on_machine": "hang_up"}, []),
        (None, {"on_machine": "hang_up"}, []),
        ("fax", {}, []),
    ],
)
def test_it_is_looked_up_when_the_call_begins_where_something_follows_from_it(sqlite_url, answered_by, plan, told):
    async def scenario():
        heeded = []

        async def machine_detected(who):
            heeded.append(who)

        async with opened(sqlite_url) as store:
            await store.attempts.claim(attempt(call_sid="CA1", status="in-progress", answered_by=answered_by))
            details = CallDetails(call_sid="CA1", direction="outbound", attempt_id="at-1", **plan)
            news = MachineNews(store)
            control = SimpleNamespace(machine_detected=machine_detected)
            news.call_began(SimpleNamespace(sid="CA1", details=details, control=control))
            await news.close()
        assert heeded == told

    asyncio.run(scenario())
