"""Tokens that any worker of a server may redeem, on a real database."""

import asyncio
from contextlib import asynccontextmanager

from telephony.call_details import CallDetails
from telephony.shared_tokens import SharedTokens
from telephony.store import Store
from telephony.store.errors import StoreError
from telephony.tokens import CallTokens, TokenVerdict

CALL = CallDetails(call_sid="CA1", caller="+15550100", called="+15550199", agent="shop:agent", carrier={"city": "Ulm"})


class Worker:
    def __init__(self, store):
        self.own = CallTokens()
        self.learned = []
        self.shared = SharedTokens(store.stream_tokens, self.learned.append)

    async def ring(self, details=CALL):
        token = self.own.issue(details.call_sid, 0)
        await self.shared.share(token, details)
        return token

    async def media(self, token, call_sid="CA1"):
        return await self.shared.redeem(token, call_sid, self.own.redeem(token, call_sid, 0))


@asynccontextmanager
async def two_workers(tmp_path):
    url = f"sqlite:///{tmp_path}/calls.db"
    async with Store.open(url, node="a") as one, Store.open(url, node="b") as two:
        yield Worker(one), Worker(two)


def on_two_workers(test):
    def run(tmp_path):
        async def main():
            async with asyncio.timeout(60), two_workers(tmp_path) as (one, two):
                await test(one, two)

        asyncio.run(main())

    return run


@on_two_workers
async def test_a_call_that_rang_at_one_worker_is_talked_to_at_another_once(one, two):
    token = await one.ring()
    assert await two.media(token) is TokenVerdict.VALID
    assert two.learned == [CALL]
    assert await two.media(token) is TokenVerdict.UNKNOWN
    assert await one.media(token) is TokenVerdict.UNKNOWN


@on_two_workers
async def test_a_worker_takes_its_own_call_and_no_other_worker_can_take_it_then(one, two):
    token = await one.ring()
    assert await one.media(token) is TokenVerdict.VALID
    assert one.learned == []
    assert await two.media(token) is TokenVerdict.UNKNOWN


@on_two_workers
async def test_a_token_of_another_call_opens_nothing_and_stays_good(one, two):
    token = await one.ring()
    assert await two.media(token, "CA2") is TokenVerdict.UNKNOWN
    assert await two.media("no token", "CA1") is TokenVerdict.UNKNOWN
    assert await two.media(token) is TokenVerdict.VALID


@on_two_workers
async def test_many_sockets_with_one_token_open_one_stream(one, two):
    token = await one.ring()
    verdicts = await asyncio.gather(*(worker.media(token) for worker in (one, two) * 10))
    assert verdicts.count(TokenVerdict.VALID) == 1


class Away:
    """A database that cannot be reached."""

    async def put(self, *_):
        raise StoreError("the database is away", retryable=True)

    use = put


def test_while_the_store_is_away_a_worker_serves_its_own_calls_and_no_others():
    async def main():
        own = CallTokens()
        shared = SharedTokens(Away(), lambda _: None)
        token = own.issue("CA1", 0)
        await shared.share(token, CALL)
        assert await shared.redeem(token, "CA1", own.redeem(token, "CA1", 0)) is TokenVerdict.VALID
        assert await shared.redeem(token, "CA1", own.redeem(token, "CA1", 0)) is TokenVerdict.UNKNOWN
        assert await shared.redeem("foreign", "CA9", own.redeem("foreign", "CA9", 0)) is TokenVerdict.UNKNOWN

    asyncio.run(main())


@on_two_workers
async def test_a_token_issued_while_the_store_was_away_is_good_when_it_is_back(one, two):
    stored, one.shared._store = one.shared._store, Away()
    token = await one.ring()
    one.shared._store = stored
    assert await two.media(token) is TokenVerdict.UNKNOWN
    assert await one.media(token) is TokenVerdict.VALID
