"""The supervisor of several workers, with real processes that do little (`support/stub_worker.py`)."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from support.quiet import until

from telephony import workers as workers_module
from telephony.listener import listen
from telephony.signals import Signals
from telephony.workers import Supervisor

REPOSITORY = Path(__file__).parents[2]
STUB = Path(__file__).parents[1] / "support" / "stub_worker.py"


class Supervised:
    """A supervisor that runs, and what it has told."""

    def __init__(self, *, workers=2, stop_s_max=10.0, behaviour=""):
        self.listener = listen("127.0.0.1", 0)
        self.port = self.listener.getsockname()[1]
        self.deaths = []
        self.writers = []
        self._death = asyncio.Event()
        self.ready = asyncio.Event()
        self.supervisor = Supervisor(
            self.listener,
            command=[sys.executable, str(STUB)],
            workers=workers,
            stop_s_max=stop_s_max,
            environment={"STUB": behaviour, "PYTHONPATH": str(REPOSITORY)},
            on_death=self._on_death,
        )
        self.task = asyncio.create_task(self._run())
        self.signals = Signals(self.task)

    def _on_death(self, number):
        self.deaths.append(number)
        self._death.set()

    async def _run(self):
        await asyncio.sleep(0)
        return await self.supervisor.run(self.signals, on_ready=self.ready.set)

    async def connect(self):
        """(reader, writer, process id of whoever serves it)"""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        return reader, writer, int(await reader.readline())

    async def whose(self):
        _, writer, pid = await self.connect()
        writer.close()
        return pid

    async def serving(self, count):
        """Wait until so many workers have answered at the same time."""
        answered = set()
        while len(answered) < count:
            answered.add(await self.whose())

    async def of_each(self, count):
        """A connection to each of so many workers."""
        found = {}
        while len(found) < count:
            connection = await self.connect()
            found.setdefault(connection[2], connection)
        return list(found.values())

    async def told(self, pid, *, calls):
        """Wait until this worker has told that it has so many calls, and nothing else to do."""
        (worker,) = (worker for worker in self.supervisor._workers.values() if worker.process.pid == pid)
        await until(lambda: (worker.report.calls, worker.report.connections) == (calls, 0))

    async def died(self, count):
        """Wait until so many workers have ended."""
        while len(self.deaths) < count:
            await self._death.wait()
            self._death.clear()

    async def ended(self):
        return await asyncio.wait_for(self.task, 60)


@contextlib.asynccontextmanager
async def supervised(**options):
    made = Supervised(**options)
    try:
        yield made
    finally:
        made.task.cancel()
        await asyncio.wait([made.task])
        for writer in made.writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


def run(scenario):
    asyncio.run(asyncio.wait_for(scenario(), 120))


def alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_a_burst_of_connections_is_spread_evenly(monkeypatch):
    monkeypatch.setattr(workers_module, "STALE_S", 60.0)  # nobody is too busy to tell what it has

    async def scenario():
        async with supervised() as server:
            await server.ready.wait()
            await server.serving(2)
            calls = []
            for _ in range(40):
                calls.append(await server.connect())
                calls[-1][1].write(b"call")
            assert min(Counter(pid for _, _, pid in calls).values()) >= 17, "but for what was told too late"
            gone = calls[0][2]
            for _, writer, pid in calls:
                if pid == gone:
                    writer.close()
            await server.told(gone, calls=0)
            assert {(await server.connect())[2] for _ in range(5)} == {gone}, "the idle one takes what comes next"

    run(scenario)


def test_a_worker_that_is_killed_takes_its_connections_with_it_and_no_others_and_is_replaced():
    async def scenario():
        async with supervised() as server:
            await server.ready.wait()
            await server.serving(2)
            victim, other = await server.of_each(2)
            victim[1].write(b"die")
            assert await victim[0].read() == b""
            while not server.deaths:
                assert await server.whose() == other[2], "nobody else is given a connection meanwhile"
                await asyncio.sleep(0.01)
            await server.serving(2)
            assert not other[0].at_eof()
            assert len(server.deaths) == 1

    run(scenario)


def test_a_worker_that_is_stuck_is_given_nothing_more():
    async def scenario():
        async with supervised() as server:
            await server.ready.wait()
            await server.serving(2)
            _, writer, stuck = await server.connect()
            writer.write(b"block")
            await asyncio.sleep(workers_module.STALE_S + 0.1)
            assert stuck not in {await server.whose() for _ in range(10)}
            os.kill(stuck, signal.SIGCONT)

    run(scenario)


def test_workers_are_replaced_one_by_one_without_a_connection_lost():
    async def scenario():
        async with supervised() as server:
            await server.ready.wait()
            await server.serving(2)
            calls = await server.of_each(2)
            for _, writer, _ in calls:
                writer.write(b"call")
            before = {pid for _, _, pid in calls}
            server.signals.send(signal.SIGHUP)
            served = set()
            while len(served - before) < 2:
                served.add(await server.whose())  # raises, if one connection is refused or dropped
            assert all(alive(pid) for pid in before), "their calls go on"
            assert before.isdisjoint([await server.whose() for _ in range(6)])
            for _, writer, _ in calls:
                writer.close()
            await server.died(2)
            assert not any(alive(pid) for pid in before)
            server.signals.send(signal.SIGTERM)
            assert await server.ended() == 0

    run(scenario)


def test_told_to_stop_it_waits_for_the_workers_calls():
    async def scenario():
        async with supervised() as server:
            await server.ready.wait()
            await server.serving(2)
            _, writer, pid = await server.connect()
            writer.write(b"call")
            await server.told(pid, calls=1)
            server.signals.send(signal.SIGTERM)
            await server.died(1)  # the idle one
            assert await server.whose() == pid, "a call whose webhook was answered may still come"
            assert not server.task.done()
            writer.close()
            assert await server.ended() == 0
            with pytest.raises(OSError, match="Connect call failed"):
                await server.whose()

    run(scenario)


def test_workers_that_do_not_end_are_killed():
    async def scenario():
        async with supervised(stop_s_max=0.3, behaviour="stubborn") as server:
            await server.ready.wait()
            pid = await server.whose()
            server.signals.send(signal.SIGTERM)
            assert await server.ended() == 1
            assert not alive(pid)

    run(scenario)


def test_a_first_worker_that_fails_ends_it_all_with_its_status():
    async def scenario():
        async with supervised(behaviour="dies") as server:
            assert await server.ended() == 3
            assert not server.ready.is_set()

    run(scenario)


def test_workers_that_keep_dying_are_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(workers_module, "DEATHS_MAX", 2)
    monkeypatch.setattr(workers_module, "PAUSE_S_FIRST", 0.01)

    async def scenario():
        async with supervised(workers=1) as server:
            await server.ready.wait()
            server.supervisor._environment["STUB"] = "dies"
            _, writer, _ = await server.connect()
            writer.write(b"die")
            assert await server.ended() == 1
            assert len(server.deaths) == 3

    run(scenario)


def test_new_code_that_does_not_start_leaves_the_old_workers_in_place():
    async def scenario():
        async with supervised() as server:
            await server.ready.wait()
            await server.serving(2)
            before = {pid for _, _, pid in await server.of_each(2)}
            server.supervisor._environment["STUB"] = "dies"
            server.signals.send(signal.SIGHUP)
            while not server.deaths:
                assert await server.whose() in before
            assert {pid for _, _, pid in await server.of_each(2)} == before
            server.signals.send(signal.SIGTERM)
            assert await server.ended() == 0

    run(scenario)


def test_connections_wait_while_no_worker_is_there():
    async def scenario():
        async with supervised(workers=1) as server:
            await server.ready.wait()
            _, writer, pid = await server.connect()
            writer.write(b"die")
            await server.died(1)
            assert await asyncio.wait_for(server.whose(), 60) != pid

    run(scenario)


def test_a_worker_whose_supervisor_dies_ends_when_its_calls_are_over():
    async def scenario():
        async with supervised(workers=1) as server:
            await server.ready.wait()
            _, writer, pid = await server.connect()
            writer.write(b"call")
            await server.told(pid, calls=1)
            (worker,) = server.supervisor._workers.values()
            worker.link.close()  # what the end of the supervisor's process does
            await asyncio.sleep(0.1)
            assert alive(pid)
            writer.close()
            assert await asyncio.wait_for(worker.process.wait(), 60) == 0

    run(scenario)


def test_a_worker_that_dies_while_it_is_replaced_leaves_no_worker_too_many():
    async def scenario():
        async with supervised() as server:
            await server.ready.wait()
            first, second = await server.of_each(2)
            server.signals.send(signal.SIGHUP)
            second[1].write(b"die")
            first[1].write(b"die")
            await server.died(2)
            await server.of_each(2)
            server.signals.send(signal.SIGTERM)
            assert await server.ended() == 0
            assert len(server.deaths) <= 6, "two that died, two that replaced them or were new, and what retired"

    run(scenario)


def test_a_machine_without_file_descriptors_takes_connections_again_when_it_has_some(monkeypatch, caplog):
    monkeypatch.setattr(workers_module, "PAUSE_S_ACCEPT", 0.1)

    class Full:
        """A listening socket that cannot accept; anything else is the real one's."""

        def __init__(self, listener):
            self._listener = listener

        def accept(self):
            raise OSError(24, "Too many open files")

        def __getattr__(self, name):
            return getattr(self._listener, name)

    async def scenario():
        async with supervised(workers=1) as server:
            await server.ready.wait()
            server.supervisor._listener = Full(server.listener)
            began = time.monotonic()
            waiting = asyncio.create_task(server.whose())
            await until(lambda: caplog.text.count("Too many open files") >= 4)
            assert time.monotonic() - began > 0.29, "it does not ask without a pause"
            server.supervisor._listener = server.listener
            await asyncio.wait_for(waiting, 60)

    run(scenario)
