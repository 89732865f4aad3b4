"""What holds the event loop up is named in the log, and counted."""

import asyncio
import logging
import threading
import time

import uvloop
from support.numbers import Numbers
from support.quiet import until

from telephony.loop_watch import watched_loop


def slow_tool(seconds):
    time.sleep(seconds)


def watch(scenario, *, loop_factory=None, **options):
    async def main():
        with watched_loop(**options):
            await scenario()

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(main())


def test_whoever_blocks_the_loop_is_named_with_its_stack_once_and_then_for_how_long(caplog):
    async def blocked():
        slow_tool(0.7)
        await asyncio.sleep(0.05)

    for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
        caplog.clear()
        numbers = Numbers()
        watch(blocked, loop_factory=factory)
        stack, summary = [record.getMessage() for record in caplog.records]
        assert "in slow_tool" in stack
        assert "the event loop was held up for " in summary
        assert numbers.added("loop_blocks_total") == 1
        assert numbers.added("loop_lag_seconds_bucket", le="0.25") < numbers.added("loop_lag_seconds_bucket", le="+Inf")


def test_a_loop_that_is_not_blocked_is_not_mentioned(caplog):
    numbers = Numbers()
    watch(lambda: until(lambda: numbers.added("loop_lag_seconds_count") >= 3), blocked_s=30)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_the_log_is_not_flooded(caplog):
    async def often_blocked():
        for _ in range(5):
            slow_tool(0.4)
            await asyncio.sleep(0.01)
            await asyncio.sleep(0.11)

    watch(often_blocked)
    stacks = [record for record in caplog.records if "in:\n" in record.getMessage()]
    assert len(stacks) == 3


def test_the_thread_ends_with_its_loop():
    watch(lambda: asyncio.sleep(0))
    asyncio.run(until(lambda: not watches()))


def watches():
    return [thread for thread in threading.enumerate() if thread.name == "event loop's watch"]
