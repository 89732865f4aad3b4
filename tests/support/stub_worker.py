"""A worker without a phone server, for tests of the supervisor: it answers each connection with its process id.

`STUB` says how it behaves: "" as it should, "dies" at its start with status 3, "stubborn" does not end when told to.
A connection that sends "call" is a call until it closes: a worker that is told to end lets it finish.
"""

import asyncio
import os
import signal
import socket
import sys

from telephony.worker_link import WorkerEnd, WorkerState, worker_identity

CALLS = set()


class Stub(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        transport.write(b"%d\n" % os.getpid())

    def data_received(self, data):
        if data == b"call":
            CALLS.add(self)
        elif data == b"die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif data == b"block":
            os.kill(os.getpid(), signal.SIGSTOP)

    def connection_lost(self, exc):
        CALLS.discard(self)


async def main():
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    behaviour = os.environ.get("STUB", "")
    tasks = []
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, (lambda: None) if behaviour == "stubborn" else ending.set)
    if behaviour == "dies":
        sys.exit(3)
    _, descriptor = worker_identity()
    link = WorkerEnd(
        socket.socket(fileno=descriptor),
        on_connection=lambda c: tasks.append(loop.create_task(loop.connect_accepted_socket(Stub, c))),
        on_retire=ending.set,
        on_orphaned=ending.set,
    )
    with link:
        while not (ending.is_set() and not CALLS):
            state = WorkerState.DRAINING if ending.is_set() else WorkerState.READY
            link.report(state, calls=len(CALLS), connections=0)
            await asyncio.sleep(0.02)


asyncio.run(main())
