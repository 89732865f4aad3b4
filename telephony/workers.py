"""Several processes on one port: starts them, hands them connections, replaces the dead, ends them in order.

The supervisor does nothing else, so that nothing but itself can bring it down: it loads no agent, opens no database, and
holds no call. A worker that dies takes its calls with it, and no others. SIGHUP replaces every worker by a fresh one, which
has loaded the code that is there now, and lets the calls of the old ones finish. Signals are passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from telephony.signals import Signals
from telephony.worker_link import WORKER_ENV, SupervisorEnd, WorkerReport, WorkerState

log = logging.getLogger(__name__)

START_S_MAX: Final = 90.0  # from a worker's start to its readiness
SHORT_LIFE_S: Final = 30.0  # whoever dies sooner is started again after a pause
PAUSE_S_FIRST: Final = 0.1
PAUSE_S_MAX: Final = 10.0
DEATHS_MAX: Final = 8  # in a row, each after a short life and with no other worker ready: then it is given up
STALE_S: Final = 1.0  # a worker that has not reported for so long is busy with something else
ACCEPTS_AT_ONCE: Final = 64
PAUSE_S_ACCEPT: Final = 1.0
KILL_S_MAX: Final = 5.0


@dataclass(eq=False, slots=True)
class _Worker:
    number: int
    process: asyncio.subprocess.Process
    link: SupervisorEnd
    began_at: float
    report: WorkerReport = field(default_factory=lambda: WorkerReport(WorkerState.STARTING, 0, 0, 0))
    reported_at: float = 0.0
    given: int = 0  # connections, ever
    retiring: bool = False
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def load(self, now: float) -> tuple[int, bool, int]:
        """Whoever has the smallest gets the next connection."""
        busy = self.report.calls + self.report.connections + (self.given - self.report.taken)
        return self.report.state, now - self.reported_at > STALE_S, busy


class Supervisor:
    """`run` it. `command` starts a worker, which finds its number and its link in the environment (`worker_identity`)."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        command: Sequence[str],
        workers: int,
        stop_s_max: float,
        environment: Mapping[str, str] | None = None,
        on_death: Callable[[int], None] = lambda _: None,
    ) -> None:
        """`listener`: closed at the end. `stop_s_max`: how long workers may take to end before they are killed.

        `on_death` is told the number of each worker that has ended, before another one can have it.
        """
        listener.setblocking(False)
        self._listener = listener
        self._command = list(command)
        self._wanted = workers
        self._stop_s_max = stop_s_max
        self._environment = environment
        self._on_death = on_death
        self._workers: dict[int, _Worker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._accepting = False
        self._serving = False  # the first worker has been ready
        self._stopping = False
        self._deaths = 0  # in a row
        self._status = 0

    async def run(self, signals: Signals, *, on_ready: Callable[[], None]) -> int:
        """Until told to stop; the exit status: 0, or that of a worker that failed. `on_ready`: the first worker is."""
        try:
            first = await self._start()
            if not await self._is_ready(first):
                return self._status or 1
            self._serving = True
            told = asyncio.create_task(signals.next())  # from here on, signals are for the workers
            on_ready()
            for _ in range(1, self._wanted):
                await self._start()
            await self._until_told(signals, told)
            return self._status
        finally:
            self._stopping = True
            self._accept(wanted=False)
            self._listener.close()
            await self._kill()
            for task in tuple(self._tasks):
                task.cancel()

    # ---- connections -------------------------------------------------------------------------------------------------

    def _accept(self, *, wanted: bool) -> None:
        """Take connections, or leave them in the kernel's queue, as while no worker could serve them."""
        if wanted == self._accepting:
            return
        self._accepting = wanted
        loop = asyncio.get_running_loop()
        if wanted:
            loop.add_reader(self._listener.fileno(), self._take)
        else:
            loop.remove_reader(self._listener.fileno())

    def _take(self) -> None:
        for _ in range(ACCEPTS_AT_ONCE):
            if not self._candidates():
                self._accept(wanted=False)
                return
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as e:  # out of file descriptors: asking again at once would not help
                log.error("no connection can be taken for now: %s", e)  # noqa: TRY400 - the trace says no more
                self._accept(wanted=False)
                asyncio.get_running_loop().call_later(PAUSE_S_ACCEPT, self._accept_again)
                return
            with connection:
                self._give(connection)

    def _accept_again(self) -> None:
        self._accept(wanted=not self._listener_closed)

    def _give(self, connection: socket.socket) -> None:
        now = asyncio.get_running_loop().time()
        for worker in sorted(self._candidates(), key=lambda worker: worker.load(now)):
            if worker.link.give(connection):
                worker.given += 1
                return
        log.error("a connection was dropped: no worker takes it")

    def _candidates(self) -> list[_Worker]:
        return [w for w in self._workers.values() if not w.retiring and w.report.state is not WorkerState.STARTING]

    def _reported(self, number: int, report: WorkerReport) -> None:
        worker = self._workers.get(number)
        if worker is None:
            return
        worker.report, worker.reported_at = report, asyncio.get_running_loop().time()
        if report.state is not WorkerState.STARTING and not worker.ready.is_set():
            worker.ready.set()
            log.info("worker %d is ready", number)
            self._changed.set()
            self._accept_again()

    @property
    def _listener_closed(self) -> bool:
        return self._listener.fileno() < 0

    # ---- workers -----------------------------------------------------------------------------------------------------

    async def _start(self) -> _Worker:
        number = next(n for n in range(1, 1000) if n not in self._workers)
        link = SupervisorEnd(lambda report: self._reported(number, report))
        with link.workers_side as theirs:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # a terminal's Ctrl-C comes to the supervisor alone
                env={**os.environ, **(self._environment or {}), WORKER_ENV: f"{number}:{theirs.fileno()}"},
            )
        worker = _Worker(number, process, link, asyncio.get_running_loop().time())
        self._workers[number] = worker
        self._do(self._watch(worker), f"worker {number}")
        log.info("worker %d starts, process %d", number, process.pid)
        return worker

    async def _is_ready(self, worker: _Worker) -> bool:
        """Wait until it serves; False when it ends before, or does not get there in time."""
        waits = [asyncio.create_task(worker.ready.wait()), asyncio.create_task(worker.process.wait())]
        try:
            await asyncio.wait(waits, timeout=START_S_MAX, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if worker.ready.is_set() and worker.process.returncode is None:
            return True
        if worker.process.returncode is None:
            log.error("worker %d is not ready after %g s", worker.number, START_S_MAX)
            worker.process.kill()
        else:
            self._status = self._status or abs(worker.process.returncode)
        return False

    async def _watch(self, worker: _Worker) -> None:
        status = await worker.process.wait()
        worker.link.close()
        self._workers.pop(worker.number, None)
        self._on_death(worker.number)
        self._changed.set()
        ended_as_told = worker.retiring or self._stopping
        if ended_as_told and status < 0 and not worker.ready.is_set():
            status = 0  # the signal to end came before it could answer any
        if status or not ended_as_told:
            how = f"killed by signal {-status}" if status < 0 else f"exit status {status}"
            log.error("worker %d has ended, %s; it held %d calls", worker.number, how, worker.report.calls)
        if ended_as_told:
            self._status = self._status or (1 if status else 0)
        elif self._serving:
            await self._replace(worker)

    async def _replace(self, dead: _Worker) -> None:
        """Start another one: at once, or after a pause that grows with each short life in a row."""
        lived_s = asyncio.get_running_loop().time() - dead.began_at
        self._deaths = self._deaths + 1 if lived_s < SHORT_LIFE_S else 1
        if self._deaths > DEATHS_MAX and not self._candidates():
            log.critical("%d workers have died in a row, and none is left: giving up", self._deaths)
            self._status = 1
            self._stopping = True
            self._changed.set()
            return
        await asyncio.sleep(min(PAUSE_S_FIRST * 2 ** min(self._deaths - 1, 10), PAUSE_S_MAX))
        while not self._stopping:
            try:
                await self._start()
            except OSError as e:  # the machine has no process or no file descriptor left
                log.error("no worker can be started: %s", e)  # noqa: TRY400 - the trace says no more
                await asyncio.sleep(PAUSE_S_MAX)
            else:
                return

    def _has(self, worker: _Worker) -> bool:
        return self._workers.get(worker.number) is worker

    async def _roll(self) -> None:
        """Replace every worker by a fresh one, one after the other; the old ones finish their calls."""
        old = [worker for worker in self._workers.values() if not worker.retiring]
        log.info("replacing %d workers", len(old))
        for worker in old:
            if not self._has(worker):
                continue  # it has died, and was replaced
            fresh = await self._start()
            if not await self._is_ready(fresh):
                log.error("the new worker does not start: the old ones stay")
                fresh.retiring = True  # whatever becomes of it, it is not replaced
                self._status = 0
                return
            leaver = worker if self._has(worker) else fresh  # it has died meanwhile: as above
            leaver.retiring = True
            leaver.link.retire()
        log.info("all workers are replaced")

    # ---- the end -----------------------------------------------------------------------------------------------------

    async def _until_told(self, signals: Signals, told: asyncio.Task[int]) -> None:
        rolling: asyncio.Task[None] | None = None
        deadline: float | None = None
        while not (self._stopping and not self._workers):
            self._changed.clear()
            changed = asyncio.create_task(self._changed.wait())
            left_s = None if deadline is None else max(0.0, deadline - asyncio.get_running_loop().time())
            await asyncio.wait({told, changed}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
            if told.done():
                number = told.result()
                told = asyncio.create_task(signals.next())
                if number == signal.SIGHUP:
                    if not self._stopping and (rolling is None or rolling.done()):
                        rolling = self._do(self._roll(), "replacing the workers")
                    continue
                deadline = asyncio.get_running_loop().time() + self._stop_s_max
                self._pass_on(number)
                if rolling is not None:
                    rolling.cancel()
            elif left_s == 0.0:
                log.error("%d workers did not end within %g s", len(self._workers), self._stop_s_max)
                self._status = 1
                break
        told.cancel()

    def _pass_on(self, number: int) -> None:
        first, self._stopping = not self._stopping, True
        for worker in self._workers.values():
            if first and worker.retiring and number == signal.SIGTERM:
                continue  # it does already what this asks for, and would take it for the second time
            with contextlib.suppress(ProcessLookupError):
                worker.process.send_signal(number)

    async def _kill(self) -> None:
        """Whoever is left, dies."""
        waits = []
        for worker in tuple(self._workers.values()):
            with contextlib.suppress(ProcessLookupError):
                worker.process.kill()
            waits.append(asyncio.ensure_future(worker.process.wait()))
        if waits:
            await asyncio.wait(waits, timeout=KILL_S_MAX)

    def _do(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s has failed", task.get_name(), exc_info=error)
