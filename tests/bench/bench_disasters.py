"""A phone house at night: what callers hear when a model, a database, a deploy or a worker's death gets in their way.

    python tests/bench/bench_disasters.py --callers 20 --database sqlite
    python tests/bench/bench_disasters.py --callers 20 --database postgresql

Two workers, a simulated Twilio and a model, each a process of its own; the callers are on the line while it happens.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from support import disasters
from support.postgres import PostgresServer


def tell(name, facts):
    sys.stdout.write(f"{name:10} {facts}\n")
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
            asyncio.run(disasters.night(directory, url, away, options.callers, tell))
        finally:
            if server is not None:
                server.close()


if __name__ == "__main__":
    main()
