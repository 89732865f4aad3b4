"""Processes that do as they are asked: one request, one answer, over a pipe.

    worker = Worker("model", model.main, core=0)
    url = worker.ask("listen")

In the process, `main` runs `obey(pipe, handlers)` on its event loop, where `handlers` maps a request's name to a
coroutine function. What a handler raises comes back as the answer and is raised from `ask`.
"""

import asyncio
import multiprocessing
import os
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from multiprocessing.connection import Connection
from typing import Any

import uvloop

ANSWER_S_MAX = 120.0

Main = Callable[..., Coroutine[Any, Any, None]]


class Worker:
    """One process on one core. `main` is given the pipe and `arguments`, and runs on uvloop, as the product does."""

    def __init__(self, name: str, main: Main, *arguments: Any, core: int) -> None:
        self._name = name
        self._pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_run, args=(main, core, theirs, *arguments), name=name, daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, what: str, *arguments: Any) -> Any:
        self._pipe.send((what, arguments))
        if not self._pipe.poll(ANSWER_S_MAX):
            raise TimeoutError(f"{self._name} did not answer {what!r}")
        failure, answer = self._pipe.recv()
        if failure:
            raise RuntimeError(f"{self._name} failed at {what!r}:\n{failure}")
        return answer

    def stop(self) -> None:
        self._pipe.send(None)
        self._process.join(10)
        self._process.kill()


async def obey(pipe: Connection, handlers: Mapping[str, Callable[..., Awaitable[Any]]]) -> None:
    """Answer requests until told to stop."""
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    loop.add_reader(pipe.fileno(), arrived.set)
    while True:
        await arrived.wait()
        arrived.clear()
        while pipe.poll():
            request = pipe.recv()
            if request is None:
                loop.remove_reader(pipe.fileno())
                return
            what, arguments = request
            try:
                answer = ("", await handlers[what](*arguments))
            except Exception:  # noqa: BLE001 - whatever it was, who asked is told
                answer = (traceback.format_exc(), None)
            pipe.send(answer)


def _run(main: Main, core: int, pipe: Connection, *arguments: Any) -> None:
    os.sched_setaffinity(0, {core % (os.cpu_count() or 1)})
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(pipe, *arguments))
