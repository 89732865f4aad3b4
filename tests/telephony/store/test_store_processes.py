"""Several processes on one database at once: what may happen once happens once."""

import asyncio
import json
from datetime import timedelta

import pytest
from support.stores import NOON, approval, opened

from telephony.store import Store

RACE = """
import asyncio, json, sys
from support.stores import NOON, attempt, opened

async def main(url, process):
    async with opened(url) as store:
        print("ready", flush=True)
        sys.stdin.readline()

        async def decide(approval_id, task):
            decision = await store.approvals.decide(approval_id, approved=task % 2 == 0, by=f"{process}/{task}")
            return ["decide", approval_id, decision.won, decision.row.decided_by]

        async def claim(key, task):
            claimed = await store.attempts.claim(attempt(f"at-{process}-{key}-{task}", key))
            return ["claim", key, claimed.fresh, claimed.row.attempt_id]

        async def use(token, task):
            return ["use", token, await store.stream_tokens.use(token, "CA1", NOON) is not None, ""]

        work = [each(f"{n}", task) for task in range(4) for n in range(4) for each in (decide, claim, use)]
        print(json.dumps(await asyncio.gather(*work)), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def test_of_all_who_decide_claim_or_use_the_same_thing_at_once_one_wins(database_url, run_beside):
    async def prepare():
        async with opened(database_url) as store:
            for number in range(4):
                await store.approvals.ask(approval(f"{number}"))
                await store.stream_tokens.put(f"{number}", "CA1", NOON + timedelta(seconds=60), {})

    asyncio.run(prepare())
    answers = [answer for line in run_beside(RACE, database_url, 3) for answer in json.loads(line)]
    for kind in ("decide", "claim", "use"):
        for number in range(4):
            about = [answer for answer in answers if answer[:2] == [kind, f"{number}"]]
            assert len(about) == 12
            assert sum(won for _, _, won, _ in about) == 1, about
            assert len({row for *_, row in about}) == 1  # all were told the same


OPEN = """
import asyncio, sys
from support.stores import call, opened

print("ready", flush=True)
sys.stdin.readline()

async def main(url, number):
    async with opened(url) as store:
        await store.calls.begin(call(f"CA{number}"))
    print("done", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request, tmp_path):
    """A DATABASE_URL of each kind, without a table."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'new' / 'store.db'}"
        return
    with request.getfixturevalue("postgres").database() as url:
        yield url


def test_workers_that_start_at_once_on_an_empty_database_all_succeed(empty_url, run_beside):
    assert run_beside(OPEN, empty_url, 3) == ["done"] * 3

    async def count():
        async with Store.open(empty_url, node="n") as store:
            return len((await store.calls.list()).rows)

    assert asyncio.run(count()) == 3
