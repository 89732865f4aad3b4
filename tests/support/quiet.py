"""Async tests that must leave nothing behind: no task, no socket, no transport, no complaint of the loop's.

The loops complain about what nobody looked at ("Task exception was never retrieved") when it is thrown away, so each test
ends with a collection of all that came into being during it.
"""

import asyncio
import contextlib
import functools
import gc
import inspect
import logging
import os
import stat
from pathlib import Path

import pytest
import uvloop

TEST_S_MAX = 120
SETTLE_S_MAX = 30.0  # sockets close, and their tasks end, a few turns of the loop after the last event

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def quietly(*loops: str, keeps: tuple[type, ...] = ()):
    """Run an async test on these loops (default: uvloop, which servers run on), and have it leave nothing behind.

    No instance of `keeps` that came into being may be left either.
    """

    def decorate(test):
        signature = inspect.signature(test)

        @pytest.mark.parametrize("loop_name", loops or ("uvloop",))
        @functools.wraps(test)
        def run(loop_name, **fixtures):
            gc.freeze()
            try:
                left = _left_behind_by(functools.partial(test, **fixtures), LOOPS[loop_name], keeps)
                if left:
                    # The interpreter may hold on to the last of something (an error, a frame). A leak is what stays.
                    again = _left_behind_by(functools.partial(test, **fixtures), LOOPS[loop_name], keeps)
                    assert len(again) < 2 * len(left), f"still in memory: {again}"
            finally:
                gc.unfreeze()

        name = inspect.Parameter("loop_name", inspect.Parameter.KEYWORD_ONLY)
        run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), name])
        return run

    return decorate


def _left_behind_by(test, new_loop, keeps: tuple[type, ...]) -> list[str]:
    """Run it; names what instances of these types are then in memory."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(_watched(test))
    _forget_what_was_logged()
    gc.collect()
    return [repr(thing) for thing in gc.get_objects() if isinstance(thing, keeps)]


def _forget_what_was_logged() -> None:
    """pytest keeps the records of a test, and those keep errors with all that was on the stack."""
    for record in gc.get_objects():
        if isinstance(record, logging.LogRecord):
            record.msg, record.args, record.exc_info = record.getMessage(), (), None
            vars(record).pop("websocket", None)  # `websockets` adds its connection, which keeps its last error


async def _watched(test) -> None:
    loop = asyncio.get_running_loop()
    complaints = []
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    tasks, sockets = asyncio.all_tasks(), open_sockets()
    async with asyncio.timeout(TEST_S_MAX):
        await test()
    left = None
    with contextlib.suppress(TimeoutError):
        await until(lambda: (asyncio.all_tasks(), open_sockets()) == (tasks, sockets), SETTLE_S_MAX)
    left = [*(asyncio.all_tasks() - tasks), *(open_sockets() - sockets)]
    assert not left, f"left behind: {left}"
    gc.collect()
    await asyncio.sleep(0)  # complaints are made in the loop
    assert not complaints, complaints


def open_sockets() -> set[int]:
    """File descriptors of this process that are sockets."""
    sockets = set()
    for entry in Path("/dev/fd").iterdir():
        with contextlib.suppress(OSError):  # the listing's own descriptor is gone by now
            if stat.S_ISSOCK(os.fstat(int(entry.name)).st_mode):
                sockets.add(int(entry.name))
    return sockets


async def until(condition, timeout_s: float = 60.0) -> None:
    """Wait for what tells nobody when it happens. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - as the docstring says
            await asyncio.sleep(0.002)
