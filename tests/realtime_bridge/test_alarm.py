"""The one timer of a call: rings when the deadline comes, however often it was moved."""

import asyncio

import pytest
import uvloop

from realtime_bridge.alarm import SLACK_S, Alarm


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def on_loop(request):
    """Runs a test on asyncio's own loop and on uvloop."""

    def run(test):
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(asyncio.wait_for(test(), 120))

    return run


class Bell:
    """Keeps when it rang."""

    def __init__(self):
        self.loop = asyncio.get_running_loop()
        self.rang_at = []
        self.rang = asyncio.Event()
        self.alarm = Alarm(self.ring)

    def ring(self):
        self.rang_at.append(self.loop.time())
        self.rang.set()


def test_it_rings_when_the_deadline_comes(on_loop):
    async def test():
        bell = Bell()
        at = bell.loop.time() + 0.02
        bell.alarm.set(at)
        await bell.rang.wait()
        assert bell.rang_at[0] >= at - SLACK_S

    on_loop(test)


def test_a_deadline_that_has_passed_rings_at_once(on_loop):
    async def test():
        bell = Bell()
        bell.alarm.set(bell.loop.time() - 1)
        bell.alarm.set(bell.loop.time() - 2)
        await bell.rang.wait()
        assert len(bell.rang_at) == 1

    on_loop(test)


def test_a_deadline_that_was_put_off_rings_once_and_later(on_loop):
    async def test():
        bell = Bell()
        at = bell.loop.time()
        for delay in (0.005, 0.02, 0.03):
            bell.alarm.set(at + delay)
        await bell.rang.wait()
        assert bell.rang_at[0] >= at + 0.03 - SLACK_S

    on_loop(test)


def test_a_deadline_that_was_brought_forward_rings_sooner(on_loop):
    async def test():
        bell = Bell()
        bell.alarm.set(bell.loop.time() + 60)
        bell.alarm.set(bell.loop.time() + 0.005)
        await bell.rang.wait()

    on_loop(test)


def test_without_a_deadline_it_is_silent_and_can_be_set_again(on_loop):
    async def test():
        bell, clock = Bell(), Bell()
        bell.alarm.set(bell.loop.time() + 0.002)
        bell.alarm.set(None)
        clock.alarm.set(bell.loop.time() + 0.01)
        await clock.rang.wait()
        assert not bell.rang_at
        bell.alarm.set(bell.loop.time() + 0.002)
        bell.alarm.cancel()
        bell.alarm.set(bell.loop.time() + 0.002)
        await bell.rang.wait()
        assert len(bell.rang_at) == 1

    on_loop(test)
