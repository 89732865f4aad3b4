"""Several processes on one database at once: what may happen once happens once."""

import asyncio
import json
from datetime import timedelta

from support.stores import NOON, approval, opened

PROGRAM = """
import asyncio, json, sys
from support.stores import NOON, attempt, opened

async def race(store, process):
    async def decide(approval_id, task):
        decision = await store.approvals.decide(approval_id, approved=task % 2 == 0, by=f"{process}/{task}")
        return ["decide", approval_id, decision.won, decision.row.decided_by]

    async def claim(key, task):
        claimed = await store.attempts.claim(attempt(f"at-{process}-{key}-{task}", key))
        return ["claim", key, claimed.fresh, claimed.row.attempt_id]

    async def use(token, task):
        return ["use", token, await store.stream_tokens.use(token, "CA1", NOON) is not None, ""]

    return await asyncio.gather(*(each(f"{n}", task) for task in range(4) for n in range(4) for each in (decide, claim, use)))

async def main(url, process):
    print("imported", flush=True)
    sys.stdin.readline()
    async with opened(url) as store:
        print("opened", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        print(json.dumps(await race(store, process)), flush=True)

import telephony.store.store, alembic.command
asyncio.run(main(*sys.argv[1:]))
"""


def test_workers_start_at_once_on_an_empty_database_and_of_all_who_decide_claim_or_use_one_wins(
    empty_database_url, start_programs
):
    workers = start_programs(PROGRAM, empty_database_url, 3)
    workers.come_to("imported")
    workers.go()
    workers.come_to("opened")  # each of them, though only one can have made the tables

    async def prepare():
        async with opened(empty_database_url) as store:
            for number in range(4):
                await store.approvals.ask(approval(f"{number}"))
                await store.stream_tokens.put(f"{number}", "CA1", NOON + timedelta(seconds=60), {})

    asyncio.run(prepare())
    workers.go()
    answers = [answer for line in workers.ends() for answer in json.loads(line)]
    for kind in ("decide", "claim", "use"):
        for number in range(4):
            about = [answer for answer in answers if answer[:2] == [kind, f"{number}"]]
            assert len(about) == 12
            assert sum(won for _, _, won, _ in about) == 1, about
            assert len({row for *_, row in about}) == 1  # all were told the same
