"""The offline model's process: it lives as long as the one that started it, and no signal of a terminal reaches it."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

PARENT = """
import asyncio, os
from telephony.offline import offline_model
async def main():
    async with offline_model() as url:
        print(url, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def listens(url: str) -> bool:
    host, port = url.split("/")[2].split(":")

    async def connect():
        _, writer = await asyncio.open_connection(host, int(port))
        writer.close()
        await writer.wait_closed()

    try:
        asyncio.run(connect())
    except OSError:
        return False
    return True


def test_the_model_ends_with_a_parent_that_was_killed_and_not_by_a_terminals_ctrl_c():
    pytest.importorskip("hibari")
    environment = {**os.environ, "PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment, process_group=0
    ) as parent:
        url = parent.stdout.readline().strip()
        assert listens(url)
        parent.send_signal(signal.SIGSTOP)  # so that it cannot tell the model to end
        os.killpg(parent.pid, signal.SIGINT)
        assert listens(url)
        parent.kill()

    async def gone():
        async with asyncio.timeout(60):
            while await asyncio.to_thread(listens, url):  # noqa: ASYNC110 - another process's doing
                await asyncio.sleep(0.1)

    asyncio.run(gone())
