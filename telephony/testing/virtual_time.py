"""An event loop in virtual time: whenever nothing is ready to run, its clock jumps to the next timer.

So an hour passes in the time its computing takes, and the same program always runs the same way: no socket, thread or
real clock comes between. What needs the real world is refused with a MisuseError. So is waiting for what cannot come: a
program in which nothing is left to happen fails at once and names the tasks that wait, where it would hang on a real clock.

    result = run_virtual(place_virtual_call(answer, steps))
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, Final, NoReturn, TypeVar, TypeVarTuple

from realtime_bridge.errors import MisuseError

START_S: Final = 1000.0  # any moment of a monotonic clock; fixed, since a float's last bit depends on it
RESOLUTION_S: Final = 1e-9  # of the clock: timers this close together ring together
STEPS_MAX: Final = 100_000  # of the loop, without time moving on
TASKS_TOLD_MAX: Final = 20

_Value = TypeVar("_Value")
_Arguments = TypeVarTuple("_Arguments")


def run_virtual(main: Coroutine[Any, Any, _Value]) -> _Value:
    """Run a coroutine as `asyncio.run` does, in virtual time. Raises MisuseError when it waits for the real world."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """The loop; for `asyncio.Runner(loop_factory=VirtualTimeLoop)`.

    Work for threads (`asyncio.to_thread`, `run_in_executor`) is done on the spot, in no time.
    """

    def __init__(self) -> None:
        super().__init__()
        # What a subclass owes this base, in all versions from 3.11 to 3.13: a selector, and the two methods below.
        self._selector = _Jumps(self)
        self._clock_resolution = RESOLUTION_S
        self._now = START_S
        self._steps = 0

    def time(self) -> float:
        return self._now

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002 - the base's signature
        func: Callable[[*_Arguments], _Value],
        *args: *_Arguments,
    ) -> asyncio.Future[_Value]:
        outcome: asyncio.Future[_Value] = self.create_future()
        try:
            outcome.set_result(func(*args))
        except Exception as e:  # noqa: BLE001 - an executor's errors lie in its futures
            outcome.set_exception(e)
        return outcome

    def pass_time(self, seconds: float | None) -> None:
        """Nothing runs for so long; None: for ever. Raises MisuseError when the program has come to a standstill."""
        if seconds is None:
            raise MisuseError(f"nothing is left to happen in virtual time, and still there wait: {self._waiting()}")
        if seconds > 0:
            self._now += seconds
            self._steps = 0
            return
        self._steps += 1
        if self._steps > STEPS_MAX:
            self._steps = 0  # what is cancelled now must still run
            raise MisuseError(f"virtual time stands still, as these never rest: {self._waiting()}")

    def _waiting(self) -> str:
        told = sorted(f"{task.get_name()} ({_place(task)})" for task in asyncio.all_tasks(self))
        return ", ".join(told[:TASKS_TOLD_MAX]) + (" …" if len(told) > TASKS_TOLD_MAX else "")

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no sockets, and so no events of any."""

    def _write_to_self(self) -> None:
        """Would wake the loop from another thread; it never sleeps."""


class _Jumps:
    """Stands where a loop waits for sockets: moves the clock instead."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        self._loop.pass_time(timeout)
        return []


def _place(task: asyncio.Task[Any]) -> str:
    stack = task.get_stack(limit=1)
    return f"{stack[0].f_code.co_qualname}, line {stack[0].f_lineno}" if stack else "not begun"


def _refusing(name: str) -> Callable[..., NoReturn]:
    def refuse(*_args: object, **_options: object) -> NoReturn:
        raise MisuseError(f"`{name}` needs the real world, and this program runs in virtual time")

    return refuse


for _name in (
    *("create_connection", "create_server", "create_datagram_endpoint", "connect_accepted_socket", "start_tls"),
    *("create_unix_connection", "create_unix_server", "connect_read_pipe", "connect_write_pipe", "sendfile"),
    *("getaddrinfo", "getnameinfo", "subprocess_exec", "subprocess_shell", "add_reader", "add_writer"),
    *("sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into", "sock_sendall", "sock_sendto"),
    *("sock_connect", "sock_accept", "sock_sendfile", "add_signal_handler"),
):
    setattr(VirtualTimeLoop, _name, _refusing(_name))
