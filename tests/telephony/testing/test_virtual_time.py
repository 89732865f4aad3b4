"""The event loop in virtual time."""

import asyncio
import time

import pytest

from realtime_bridge.errors import MisuseError
from telephony.testing import VirtualTimeLoop, run_virtual


def test_an_hour_passes_at_once():
    async def wait():
        clock = asyncio.get_running_loop().time
        before = clock()
        await asyncio.sleep(3600)
        return clock() - before

    began = time.perf_counter()
    assert run_virtual(wait()) == 3600
    assert time.perf_counter() - began < 60


def test_timers_ring_in_order_and_at_their_very_times():
    async def ring():
        loop = asyncio.get_running_loop()
        rung = []
        due = [loop.time() + seconds for seconds in (0.3, 0.02, 3000.1, 0.1)]
        for at in due:
            loop.call_at(at, lambda at=at: rung.append((at, loop.time())))
        await asyncio.sleep(4000)
        return due, rung

    due, rung = run_virtual(ring())
    assert [at for at, _ in rung] == sorted(due)
    assert all(rang_at == pytest.approx(at, abs=1e-9) for at, rang_at in rung)


def test_every_run_begins_at_the_same_time():
    async def now():
        return asyncio.get_running_loop().time()

    assert run_virtual(now()) == run_virtual(now())


def test_time_stands_still_while_anything_is_ready():
    async def work():
        clock = asyncio.get_running_loop().time
        before = clock()
        for _ in range(1000):
            await asyncio.sleep(0)
        return clock() - before

    assert run_virtual(work()) == 0


def test_a_timeout_comes_when_its_time_has_come():
    async def wait():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(600):
                await asyncio.Event().wait()

    run_virtual(wait())


def test_work_for_threads_is_done_on_the_spot():
    def fail():
        raise ValueError("no")

    async def work():
        clock = asyncio.get_running_loop().time
        before = clock()
        assert await asyncio.to_thread(divmod, 7, 2) == (3, 1)
        with pytest.raises(ValueError, match="no"):
            await asyncio.get_running_loop().run_in_executor(None, fail)
        return clock() - before

    assert run_virtual(work()) == 0


def test_waiting_for_what_cannot_come_fails_at_once_and_says_who_waits():
    async def wait_for_nothing():
        await asyncio.Event().wait()

    async def main():
        waiting = asyncio.create_task(wait_for_nothing(), name="the reader")
        await waiting

    with pytest.raises(MisuseError, match=r"the reader \(.*wait_for_nothing, line \d+\)"):
        run_virtual(main())


def test_a_program_that_never_rests_fails():
    async def spin():
        while True:  # noqa: ASYNC110 - the mistake that is to be found
            await asyncio.sleep(0)

    with pytest.raises(MisuseError, match=r"stands still.*spin"):
        run_virtual(spin())


def test_what_is_left_after_a_failure_is_cancelled_in_order():
    undone = []

    async def main():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            undone.append("tidied up")

    with pytest.raises(MisuseError):
        run_virtual(main())
    assert undone == ["tidied up"]


@pytest.mark.parametrize(
    "reach_out",
    [
        lambda _: asyncio.open_connection("127.0.0.1", 9),
        lambda _: asyncio.start_server(print, "127.0.0.1", 0),
        lambda _: asyncio.create_subprocess_exec("true"),
        lambda loop: loop.getaddrinfo("localhost", 80),
        lambda loop: loop.sock_recv(None, 1),
        lambda loop: asyncio.sleep(0, loop.add_reader(0, print)),
    ],
    ids=["connect", "serve", "run", "resolve", "receive", "watch"],
)
def test_the_real_world_is_refused(reach_out):
    async def main():
        await reach_out(asyncio.get_running_loop())

    with pytest.raises(MisuseError, match="runs in virtual time"):
        run_virtual(main())


def test_it_is_a_loop_for_asyncio_s_own_runner():
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(asyncio.sleep(10, "done")) == "done"
        assert runner.run(asyncio.sleep(10, "again")) == "again"
