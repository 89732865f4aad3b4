"""A phone house at night: what callers hear when a model, a database, a deploy or a worker's death gets in their way.

    python tests/bench/bench_disasters.py --callers 20 --database sqlite
    python tests/bench/bench_disasters.py --callers 20 --database postgresql

Two workers, a simulated Twilio and a model, each a process of its own; the callers are on the line while it happens.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from support import disasters
from support.phone_house import phone_house
from support.postgres import PostgresServer


async def night(directory, url, away, callers):
    numbers = (f"+1415555{number:04}" for number in itertools.count(2000))
    async with phone_house(
        directory,
        script=disasters.SCRIPT,
        WORKERS="2",
        DATABASE_URL=url,
        DRAIN_SECONDS_MAX="120",
        SILENCE_SECONDS="600",
    ) as house:
        steps = {
            "the model restarted": lambda: disasters.model_restarted(house, callers, numbers),
            "the database away": lambda: disasters.database_away(house, callers, numbers, away),
            "a deploy": lambda: disasters.deployed(house, callers, numbers),
            "a worker killed": lambda: disasters.worker_killed(house, callers, numbers),
            "the server stopped": lambda: disasters.drained(house, callers, numbers),
        }
        for name, step in steps.items():
            began = time.monotonic()
            try:
                facts = await step()
            except BaseException:
                sys.stderr.write(house.server.log[-6000:] + "\n")
                raise
            sys.stdout.write(f"{name:20} {time.monotonic() - began:5.1f} s  {facts}\n")
            sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--callers", type=int, default=20)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        if options.database == "sqlite":
            path = Path(directory) / "calls.db"
            url, away, server = f"sqlite:///{path}", lambda: disasters.sqlite_locked(path), None
        else:
            server = PostgresServer()
            url, away = server.url(), lambda: disasters.postgres_stopped(server)
        try:
            asyncio.run(night(directory, url, away, options.callers))
        finally:
            if server is not None:
                server.close()


if __name__ == "__main__":
    main()
