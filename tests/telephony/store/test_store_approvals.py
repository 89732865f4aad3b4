"""Approvals: whoever decides first wins, on any node; what has expired, or whose call is over, can never run."""

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.quiet import quietly
from support.stores import NOON, Clock, approval, opened, stores

from realtime_bridge.errors import MisuseError


@quietly("asyncio", "uvloop")
async def test_an_approval_waits_until_it_is_decided(database_url):
    clock = Clock()
    row = approval(details={"text": "Refund $1.50?"}, node="n1")
    async with opened(database_url, clock) as store:
        assert await store.approvals.ask(row)
        assert not await store.approvals.ask(approval(arguments="{}"))
        assert await store.approvals.get("ap-1") == row
        assert (await store.approvals.list(status="waiting")).rows == (row,)
        clock.pass_s(10)
        decision = await store.approvals.decide("ap-1", approved=True, by="operator Ann", always=True)
        assert decision.won
        assert (decision.row.status, decision.row.decided_by, decision.row.always) == ("approved", "operator Ann", True)
        assert decision.row.decided_at == NOON + timedelta(seconds=10)
        assert decision.row.arguments == '{"amount": 1.50,  "order": "A-1"}'  # to the letter
        assert (await store.approvals.list(status="waiting")).rows == ()


@quietly()
async def test_the_second_decision_is_told_how_it_stands(database_url):
    async with stores(database_url, 2) as (here, there):
        await here.approvals.ask(approval())
        first = await there.approvals.decide("ap-1", approved=False, by="Bob", message="Ask for the receipt.")
        second = await here.approvals.decide("ap-1", approved=True, by="Ann")
        assert first.won
        assert not second.won
        assert second.row == first.row
        assert second.row.message == "Ask for the receipt."


@quietly()
async def test_nothing_is_decided_that_was_never_asked(database_url):
    async with opened(database_url) as store:
        decision = await store.approvals.decide("ap-9", approved=True, by="Ann")
        assert (decision.won, decision.row) == (False, None)
        assert await store.access.audits() == ()


@quietly()
async def test_the_audit_says_who_decided_what_with_which_arguments(database_url):
    async with opened(database_url) as store:
        await store.approvals.ask(approval())
        await store.approvals.decide("ap-1", approved=True, by="Ann")
        await store.approvals.decide("ap-1", approved=False, by="Bob")  # too late: nothing was done
        (line,) = await store.access.audits(subject="ap-1")
        assert (line.who, line.action, line.at) == ("Ann", "approval.approved", NOON)
        assert line.data == {
            "call_sid": "CA1",
            "tool": "refund",
            "arguments": approval().arguments,
            "message": None,
            "always": False,
        }


@quietly()
async def test_an_expired_approval_cannot_be_decided_even_before_anybody_noticed(database_url):
    clock = Clock()
    async with opened(database_url, clock) as store:
        await store.approvals.ask(approval())
        clock.pass_s(300)  # to the second: expired
        decision = await store.approvals.decide("ap-1", approved=True, by="Ann")
        assert not decision.won
        assert decision.row.status == "expired"
        assert decision.row.decided_by is None


@quietly()
async def test_each_expired_approval_is_told_to_one_node(database_url):
    async with stores(database_url, 3) as nodes:
        for number in range(20):
            await nodes[0].approvals.ask(approval(f"ap-{number}", expires_at=NOON + timedelta(seconds=number)))
        now = NOON + timedelta(seconds=14)
        told = await asyncio.gather(*(node.approvals.expire(now) for node in nodes for _ in range(2)))
        ended = [row.approval_id for rows in told for row in rows]
        assert sorted(ended) == sorted(f"ap-{number}" for number in range(15))
        assert all(row.status == "expired" for rows in told for row in rows)
        assert await nodes[0].approvals.expire(now) == ()


@quietly()
async def test_a_call_that_is_over_takes_its_waiting_approvals_along(database_url):
    async with opened(database_url) as store:
        for number in range(3):
            await store.approvals.ask(approval(f"ap-{number}"))
        await store.approvals.ask(approval("other", call_sid="CA2"))
        await store.approvals.decide("ap-0", approved=True, by="Ann")
        cancelled = await store.approvals.cancel_call("CA1")
        assert {(row.approval_id, row.status) for row in cancelled} == {("ap-1", "cancelled"), ("ap-2", "cancelled")}
        assert not (await store.approvals.decide("ap-1", approved=True, by="Ann")).won
        assert (await store.approvals.decide("other", approved=True, by="Ann")).won
        assert await store.approvals.cancel_call("CA1") == ()


@quietly()
async def test_one_approval_can_be_cancelled_while_its_call_goes_on(database_url):
    async with opened(database_url) as store:
        await store.approvals.ask(approval("ap-1"))
        await store.approvals.ask(approval("ap-2"))
        assert await store.approvals.cancel("ap-1")
        assert not await store.approvals.cancel("ap-1")
        assert not (await store.approvals.decide("ap-1", approved=True, by="Ann")).won
        assert (await store.approvals.decide("ap-2", approved=True, by="Ann")).won
        assert not await store.approvals.cancel("ap-2")


@quietly()
async def test_approvals_are_listed_in_pages(database_url):
    async with opened(database_url) as store:
        for number in range(5):
            await store.approvals.ask(approval(f"ap-{number}", call_sid=f"CA{number % 2}"))
        first = await store.approvals.list(limit=3)
        second = await store.approvals.list(limit=3, before=first.before)
        assert [row.approval_id for row in (*first.rows, *second.rows)] == ["ap-4", "ap-3", "ap-2", "ap-1", "ap-0"]
        assert second.before is None
        assert len((await store.approvals.list(call_sid="CA1")).rows) == 2
        with pytest.raises(MisuseError, match="before"):
            await store.approvals.list(before="yesterday")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("decide"), st.integers(0, 1), st.booleans()),
        st.tuples(st.just("expire"), st.integers(0, 1)),
        st.tuples(st.just("cancel"), st.integers(0, 1)),
        st.tuples(st.just("wait"), st.sampled_from([1, 200])),
    ),
    max_size=8,
)


def test_an_approval_leaves_waiting_once_in_whatever_order_things_happen(database_url):
    number = iter(range(10**6))

    async def in_that_order(store, clock, steps):
        approval_id, call_sid = f"ap-{next(number)}", f"CA{next(number)}"
        asked = approval(
            approval_id, call_sid=call_sid, asked_at=clock.now, expires_at=clock.now + timedelta(seconds=300)
        )
        await store.approvals.ask(asked)
        changes = []
        for step in steps:
            match step:
                case ("wait", seconds):
                    clock.pass_s(seconds)
                case ("decide", _, approved):
                    decision = await store.approvals.decide(approval_id, approved=approved, by="Ann")
                    if decision.won:
                        assert clock.now < asked.expires_at
                        changes.append("approved" if approved else "rejected")
                case ("expire", _):
                    changes += [
                        r.status for r in await store.approvals.expire(clock.now) if r.approval_id == approval_id
                    ]
                case ("cancel", _):
                    changes += [row.status for row in await store.approvals.cancel_call(call_sid)]
        assert len(changes) <= 1
        row = await store.approvals.get(approval_id)
        if changes:
            assert row.status == changes[0]
        else:
            assert row.status in ("waiting", "expired")

    with asyncio.Runner() as runner:
        clock = Clock()
        context = opened(database_url, clock)
        store = runner.run(context.__aenter__())

        @settings(max_examples=25, deadline=None)
        @given(STEPS)
        def try_it(steps):
            runner.run(in_that_order(store, clock, steps))

        try:
            try_it()
        finally:
            runner.run(context.__aexit__(None, None, None))
