"""10,000 sockets that never send `start`: what it costs the server, and how long callers wait for the first word meanwhile.

    python tests/bench/bench_silent_sockets.py --sockets 10000 --callers 10

Half are media sockets with a right signature, half never ask for anything; all are opened again as they are dropped.
Server, model and crowd are processes of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from support.disasters import SCRIPT
from support.phone_house import phone_house
from support.server_process import environment
from support.twilio_application import TOKEN

from telephony.testing import Pause

TESTS = Path(__file__).parents[1]


def say(text):
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def rss_mb(house):
    """Of the server and its workers."""
    pids = {house.server.process.pid} | house.workers()
    lines = [Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0] for pid in pids]
    return sum(map(int, lines)) / 1024


async def first_words(house, count):
    """How long each of these callers waited for the agent's first sound, in seconds; None: in vain."""
    waits = []
    for number in range(count):
        rang = time.monotonic()
        call = await house.ring(Pause(60_000), from_=f"+1415555{number:04}")
        try:
            await call.until_heard(0.1, timeout_s=30)
            waits.append(call.heard.audible[0].start - rang if call.streams else None)
        except TimeoutError:
            waits.append(None)
        call.hang_up()
        await call.until_status("completed", "no-answer")
    return waits


def told(waits):
    got = [wait for wait in waits if wait is not None]
    return f"{len(got)} of {len(waits)} greeted, after {statistics.median(got):.2f} s, at most {max(got):.2f} s"


@contextlib.asynccontextmanager
async def crowd(url, sockets):
    env = environment()
    env["PYTHONPATH"] += f":{TESTS}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "support.silent_sockets", url, TOKEN, str(sockets // 2), str(sockets - sockets // 2)),
        env=env, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def run(options):
    with tempfile.TemporaryDirectory() as directory:
        async with phone_house(directory, script=SCRIPT, WORKERS=str(options.workers)) as house:
            say(f"alone:          {told(await first_words(house, options.callers))}; {rss_mb(house):.0f} MB")
            async with crowd(house.url, options.sockets) as counts:
                opened = 0
                while opened < options.sockets:
                    there, opened, upgraded = map(int, (await counts.readline()).split())
                say(f"in the crowd:   {opened} connections opened, {upgraded} of them media sockets; {there} are there")
                waits = await first_words(house, options.callers)
                say(f"                {told(waits)}; {rss_mb(house):.0f} MB")
            await asyncio.sleep(12)
            say(f"afterwards:     {told(await first_words(house, options.callers))}; {rss_mb(house):.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sockets", type=int, default=10_000)
    parser.add_argument("--callers", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
