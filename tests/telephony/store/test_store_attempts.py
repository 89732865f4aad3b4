"""Attempts: one per idempotency key, stored before dialling, and followed to a final state."""

from datetime import timedelta

import pytest
from support.quiet import quietly
from support.stores import NOON, Clock, attempt, opened

from realtime_bridge.errors import InternalError


@quietly()
async def test_the_second_who_asks_with_a_key_finds_the_attempt_of_the_first(database_url):
    async with opened(database_url) as store:
        first = await store.attempts.claim(attempt("at-1", "k", details={"amd": "async"}, parameters={"a": "b"}))
        second = await store.attempts.claim(attempt("at-2", "k"))
        assert (first.fresh, second.fresh) == (True, False)
        assert first.row == second.row == attempt("at-1", "k", details={"amd": "async"}, parameters={"a": "b"})
        assert await store.attempts.get("at-2") is None
        assert await store.attempts.by_key("k") == first.row


@quietly()
async def test_an_attempts_id_is_nobody_elses(database_url):
    async with opened(database_url) as store:
        await store.attempts.claim(attempt("at-1", "k1"))
        with pytest.raises(InternalError, match="at-1"):
            await store.attempts.claim(attempt("at-1", "k2"))
        assert await store.attempts.by_key("k2") is None


@quietly()
async def test_an_attempt_is_followed_from_the_dialling_to_the_end(database_url):
    clock = Clock()
    async with opened(database_url, clock) as store:
        await store.attempts.claim(attempt())
        clock.pass_s(1)
        assert await store.attempts.placed("at-1", "CA1")
        assert await store.attempts.update("CA1", "ringing")
        assert await store.attempts.update("CA1", "in-progress", answered_by="machine_start")
        assert not await store.attempts.update("CA1", "ringing")
        assert await store.attempts.update("CA1", "completed")
        assert not await store.attempts.update("CA1", "failed", code=31000)
        found = await store.attempts.by_call("CA1")
        assert (found.status, found.answered_by, found.code) == ("completed", "machine_start", None)
        assert found.updated_at == NOON + timedelta(seconds=1)


@quietly()
async def test_who_answered_is_kept_when_it_comes_after_the_end(database_url):
    async with opened(database_url) as store:
        await store.attempts.claim(attempt())
        await store.attempts.placed("at-1", "CA1")
        await store.attempts.update("CA1", "completed")
        assert await store.attempts.update("CA1", "in-progress", answered_by="human")
        assert not await store.attempts.update("CA1", "in-progress", answered_by="fax")
        found = await store.attempts.get("at-1")
        assert (found.status, found.answered_by) == ("completed", "human")


@quietly()
async def test_placing_may_be_told_twice_and_late_but_not_with_another_call(database_url):
    async with opened(database_url) as store:
        await store.attempts.claim(attempt())
        assert await store.attempts.placed("at-1", "CA1")  # by the webhook, which was faster than Twilio's answer
        await store.attempts.update("CA1", "in-progress")
        assert await store.attempts.placed("at-1", "CA1")
        assert not await store.attempts.placed("at-1", "CA2")
        assert not await store.attempts.placed("at-9", "CA9")
        found = await store.attempts.get("at-1")
        assert (found.call_sid, found.status) == ("CA1", "in-progress")


@quietly()
async def test_a_refused_attempt_stays_refused_and_says_why(database_url):
    async with opened(database_url) as store:
        await store.attempts.claim(attempt())
        assert await store.attempts.refused("at-1", 21211, "Twilio calls the number invalid")
        assert not await store.attempts.refused("at-1", None, "again")
        assert not await store.attempts.placed("at-1", "CA1")
        found = await store.attempts.get("at-1")
        assert (found.status, found.code, found.reason) == ("refused", 21211, "Twilio calls the number invalid")


@quietly()
async def test_unsettled_attempts_are_those_that_a_crash_may_have_left(database_url):
    async with opened(database_url) as store:
        for number in range(5):
            created = NOON + timedelta(seconds=number)
            await store.attempts.claim(attempt(f"at-{number}", f"k{number}", created_at=created))
        await store.attempts.placed("at-1", "CA1")
        await store.attempts.update("CA1", "busy")
        await store.attempts.placed("at-2", "CA2")
        await store.attempts.refused("at-3", None, "suppressed")
        unsettled = await store.attempts.unsettled(NOON + timedelta(seconds=4))
        assert [row.attempt_id for row in unsettled] == ["at-0", "at-2"]


@quietly()
async def test_attempts_are_listed_in_pages(database_url):
    async with opened(database_url) as store:
        for number in range(4):
            await store.attempts.claim(attempt(f"at-{number}", f"k{number}"))
        await store.attempts.refused("at-2", None, "no")
        first = await store.attempts.list(limit=2)
        second = await store.attempts.list(limit=2, before=first.before)
        assert [row.attempt_id for row in (*first.rows, *second.rows)] == ["at-3", "at-2", "at-1", "at-0"]
        assert second.before is None
        assert [row.attempt_id for row in (await store.attempts.list(status="refused")).rows] == ["at-2"]
