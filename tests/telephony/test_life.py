"""What signals do to a server, in one process: `serve_until_told` on a real server and a real line."""

import asyncio
import signal

from support.phone_server import closed_with, http, in_call, serving
from support.quiet import until

from telephony.life import serve_until_told
from telephony.signals import Signals


class Living:
    """A server that lives until it is told otherwise."""

    def __init__(self, server, *, drain_seconds_max=600.0):
        self.goodbyes = 0
        self.saying_goodbye = asyncio.Event()
        self.goodbye_takes = asyncio.Event()
        self.task = asyncio.create_task(self._live(server, drain_seconds_max))
        self.signals = Signals(self.task)

    @classmethod
    async def begun(cls, server, *, calls=1, **options):
        """One that waits for signals, and whose calls have begun."""
        life = cls(server, **options)
        await until(lambda: server.media.calls == calls)
        await asyncio.sleep(0.1)
        return life

    async def _live(self, server, drain_seconds_max):
        await asyncio.sleep(0)
        await serve_until_told(server, self.signals, drain_seconds_max=drain_seconds_max, say_goodbye=self._say_goodbye)

    async def _say_goodbye(self):
        self.goodbyes += 1
        self.saying_goodbye.set()
        await self.goodbye_takes.wait()

    async def ended(self):
        await asyncio.wait_for(self.task, 60)


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario(), 120))


def test_nobody_on_the_line_means_that_a_server_ends_at_once():
    async def scenario():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            async with serving() as (server, _):
                life = await Living.begun(server, calls=0)
                life.signals.send(number)
                await life.ended()
                assert server.media.draining
                assert life.goodbyes == 0

    run(scenario)


def test_sigterm_waits_for_the_end_of_each_call():
    async def scenario():
        async with serving() as (server, _):
            async with in_call(server) as (socket, writer):
                life = await Living.begun(server)
                life.signals.send(signal.SIGTERM)
                await asyncio.sleep(0.3)
                assert not life.task.done()
                status, _ = await http(server.url + "/readyz")
                assert status == 503
                await socket.send(writer.stop(), text=True)
                assert await closed_with(socket) == (1000, "goodbye")
            await life.ended()
            assert life.goodbyes == 0

    run(scenario)


def test_ctrl_c_says_goodbye_at_once():
    async def scenario():
        async with serving() as (server, _), in_call(server):
            life = await Living.begun(server)
            life.goodbye_takes.set()
            life.signals.send(signal.SIGINT)
            await until(lambda: life.goodbyes == 1)
            life.task.cancel()

    run(scenario)


def test_a_second_signal_says_goodbye_at_once_and_a_third_one_ends_it_all():
    async def scenario():
        async with serving() as (server, _), in_call(server):
            life = await Living.begun(server)
            life.signals.send(signal.SIGTERM)
            await asyncio.sleep(0.1)
            assert life.goodbyes == 0
            life.signals.send(signal.SIGTERM)
            await until(lambda: life.goodbyes == 1)
            assert not life.task.done()
            life.signals.send(signal.SIGTERM)
            await life.ended()
            assert server.media.calls == 1, "whoever leaves the server's context closes it"

    run(scenario)


def test_a_call_that_outlasts_the_drain_is_told_goodbye():
    async def scenario():
        async with serving() as (server, _):
            async with in_call(server) as (socket, writer):
                life = await Living.begun(server, drain_seconds_max=0.1)
                life.signals.send(signal.SIGTERM)
                await asyncio.wait_for(life.saying_goodbye.wait(), 60)
                life.goodbye_takes.set()
                await socket.send(writer.stop(), text=True)
            await life.ended()

    run(scenario)
