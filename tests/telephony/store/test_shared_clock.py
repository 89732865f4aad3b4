"""Processes whose machines' clocks differ go by the database's."""

import logging
import re
from datetime import timedelta

from support.quiet import quietly
from support.stores import approval

from telephony.store import Store
from telephony.store.approvals import Approvals
from telephony.store.database import open_database
from telephony.store.shared_clock import SharedClock, utc_now

WRONG = timedelta(minutes=7)


def wrong(apart):
    return lambda: utc_now() + apart


@quietly()
async def test_a_clock_that_is_wrong_is_corrected_by_the_databases(postgres_url, caplog):
    async with open_database(postgres_url) as database:
        for apart in (WRONG, -WRONG):
            clock = SharedClock(database, wrong(apart))
            await clock.measure()
            await clock.measure()
            assert abs(clock() - utc_now()) < timedelta(minutes=1)
    warned = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 2
    assert re.search(r"-4(19|20)\.\d s from this machine's", warned[0])


@quietly()
async def test_an_approval_expires_by_one_clock_on_machines_whose_own_differ(postgres_url):
    async with open_database(postgres_url) as database:
        early, late = SharedClock(database, wrong(-WRONG)), SharedClock(database, wrong(WRONG))
        await early.measure()
        await late.measure()
        here, there = Approvals(database, early), Approvals(database, late)
        await here.ask(approval("ap-1", asked_at=early(), expires_at=early() + timedelta(minutes=2)))
        await here.ask(approval("ap-2", asked_at=early(), expires_at=early() - timedelta(minutes=2)))
        assert [row.approval_id for row in await there.expire(late())] == ["ap-2"]
        assert (await there.decide("ap-1", approved=True, by="ann")).won


@quietly()
async def test_a_store_goes_by_its_databases_clock(database_url):
    async with Store.open(database_url, node="n") as store:
        assert abs(store.now() - utc_now()) < timedelta(minutes=1)
