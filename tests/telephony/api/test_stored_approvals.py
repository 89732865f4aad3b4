"""Approvals of live calls: stored, decided once by anybody on any node, and never run when they are over."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from support.api_node import OTHER_SID, SID, ask, eventually, node, refunding
from support.live_session import answer
from support.postgres import PostgresServer

from realtime_bridge.transport import base
from telephony.announce import Announcer
from telephony.calls.decisions import decide
from telephony.store import StoreError
from telephony.store.rows import ApprovalRow

PATIENCE_S = 60.0


def run(main):
    asyncio.run(asyncio.wait_for(main, 120))


@pytest.fixture
def sqlite(tmp_path):
    return f"sqlite:///{tmp_path}/store.db"


@pytest.fixture(scope="module")
def postgres():
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request, tmp_path):
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/store.db"
        return
    with request.getfixturevalue("postgres").database() as url:
        yield url


async def waiting(at, count=1, **listed):
    """The stored requests that wait, once there are so many."""
    page = await eventually(lambda: _page(at, count, listed))
    return page.rows


async def _events(at, count):
    events = await at.store.calls.events(SID)
    return events if len(events) >= count else None


async def _page(at, count, listed):
    page = await at.store.approvals.list(status="waiting", **listed)
    return page if len(page.rows) >= count else None


async def ended_as(at, approval_id):
    """Its status, once it waits no more."""
    return await eventually(lambda: _end(at, approval_id))


async def _end(at, approval_id):
    row = await at.store.approvals.get(approval_id)
    return row.status if row is not None and row.status != "waiting" else None


def test_a_request_is_stored_with_its_exact_arguments_and_an_end_before_the_sessions(sqlite):
    async def main():
        async with node(sqlite) as at, at.call(timeout_s=PATIENCE_S) as call:
            before = datetime.now(UTC)
            call.asks('{"amount": 5.50 }')
            (row,) = await waiting(at)
            assert (row.call_sid, row.agent, row.tool, row.arguments) == (SID, "desk", "refund", '{"amount": 5.50 }')
            assert row.node == "node-1"
            patience = row.expires_at - before
            assert timedelta(seconds=PATIENCE_S - 5) < patience < timedelta(seconds=PATIENCE_S)
            status, listed, _ = await ask("GET", at.url + "/approvals?status=waiting", await at.token("approvals:read"))
            assert status == 200
            assert [(a["approval_id"], a["arguments"]) for a in listed["approvals"]] == [
                (row.approval_id, row.arguments)
            ]

    run(main())


@pytest.mark.parametrize(("verb", "ran"), [("approve", [5.0]), ("reject", [])])
def test_a_decision_on_any_node_reaches_the_call(database, verb, ran):
    async def main():
        async with node(database) as owner, node(database, "node-2") as other, owner.call() as call:
            call.asks()
            (row,) = await waiting(other)
            body = {"message": "Ask the manager."} if verb == "reject" else None
            secret = await other.token("approvals:decide", name="ann")
            url = f"{other.url}/approvals/{row.approval_id}/{verb}"
            status, decided, _ = await ask("POST", url, secret, body)
            assert (status, decided["status"], decided["decided_by"]) == (200, verb.rstrip("e") + "ed", "token:ann")
            told = await answer(call.transport)
            assert call.ran == ran
            assert ("Ask the manager." in told) is (verb == "reject")
            assert (await ask("POST", url, secret, body))[0] == 200, "sending it again changes nothing"
            (entry,) = await owner.store.access.audits(subject=row.approval_id)
            assert (entry.who, entry.action) == ("token:ann", f"approval.{decided['status']}")
            assert entry.data["arguments"] == '{"amount":5}'
        assert call.ran == ran

    run(main())


def test_the_first_of_many_decisions_wins_wherever_it_was_made(database):
    async def main():
        async with node(database) as owner, node(database, "node-2") as other, owner.call() as call:
            call.asks()
            (row,) = await waiting(owner)
            secret = await owner.token("approvals:decide")
            verbs = [(at, verb) for at in (owner, other) for verb in ("approve", "reject")] * 2
            answers = await asyncio.gather(
                *(ask("POST", f"{at.url}/approvals/{row.approval_id}/{verb}", secret) for at, verb in verbs)
            )
            final = (await owner.store.approvals.get(row.approval_id)).status
            for (_, verb), (status, told, _) in zip(verbs, answers, strict=True):
                agrees = final.startswith(verb[:6])
                assert status == (200 if agrees else 409)
                if not agrees:
                    assert told["code"] == f"approval-{final}"
                    assert told["approval"]["status"] == final
            assert len(await owner.store.access.audits(subject=row.approval_id)) == 1
            await answer(call.transport)
        assert call.ran == ([5.0] if final == "approved" else [])

    run(main())


def test_always_holds_for_the_rest_of_the_call(sqlite):
    async def main():
        async with node(sqlite) as at, at.call() as call:
            call.asks(call_id="call_1")
            (row,) = await waiting(at)
            url = f"{at.url}/approvals/{row.approval_id}/approve"
            assert (await ask("POST", url, await at.token(), {"always": True}))[1]["always"] is True
            await answer(call.transport, "call_1")
            call.asks('{"amount":6}', call_id="call_2")
            await answer(call.transport, "call_2")
            assert call.ran == [5.0, 6.0]
            assert len((await at.store.approvals.list()).rows) == 1

    run(main())


def test_a_decision_whose_word_was_lost_is_found_in_the_store(sqlite):
    async def main():
        async with node(sqlite) as at, at.call() as call:
            call.asks()
            (row,) = await waiting(at)
            await at.store.approvals.decide(row.approval_id, approved=True, by="somebody")  # says nothing on the bus
            await answer(call.transport)
            assert call.ran == [5.0]

    run(main())


def test_what_has_expired_can_never_run(sqlite):
    async def main():
        async with node(sqlite) as at, at.call(timeout_s=0.4) as call:
            call.asks()
            (row,) = await waiting(at)
            resolved = await call.told("tool_approval_resolved")
            assert (resolved.by, resolved.approved) == ("timeout", False)
            assert await ended_as(at, row.approval_id) == "expired"
            url = f"{at.url}/approvals/{row.approval_id}/approve"
            status, problem, _ = await ask("POST", url, await at.token())
            assert (status, problem["code"]) == (409, "approval-expired")
        assert call.ran == []

    run(main())


def test_a_call_that_hangs_up_cancels_what_waits(sqlite):
    async def main():
        async with node(sqlite) as at:
            async with at.call() as call:
                call.asks()
                (row,) = await waiting(at)
            assert await ended_as(at, row.approval_id) == "cancelled"
            decision = await decide(at.store, row.approval_id, approved=True, by="late")
            assert (decision.won, decision.row.status) == (False, "cancelled")
            assert call.ran == []
            assert len(at.desk) == 0
            await eventually(lambda: _events(at, 2))
            assert [event.kind for event in await _events(at, 2)] == ["approval_requested", "approval_resolved"]

    run(main())


def test_requests_of_dead_processes_are_cancelled_and_those_of_live_ones_are_not(sqlite):
    async def main():
        long_ago = datetime.now(UTC) - timedelta(minutes=5)

        def row(name, node_name):
            return ApprovalRow(
                approval_id=name, call_sid=OTHER_SID, call_id=name, agent="desk", tool="refund", arguments="{}",
                asked_at=long_ago, expires_at=long_ago + timedelta(hours=1), node=node_name,
            )  # fmt: skip

        async with node(sqlite) as at, node(sqlite, "node-2"):
            for name, node_name in (("gone", "node-9"), ("alive", "node-2"), ("before", "node-1")):
                await at.store.approvals.ask(row(name, node_name))
            await at.desk.sweep()
            found = {r.approval_id: r.status for r in (await at.store.approvals.list()).rows}
            assert found == {"gone": "cancelled", "alive": "waiting", "before": "cancelled"}

    run(main())


@pytest.mark.parametrize(("keys", "ran", "status"), [("51", [5.0], "approved"), ("5*", [], "rejected")])
def test_the_caller_decides_by_key_where_the_tool_allows_it(sqlite, keys, ran, status):
    async def main():
        async with node(sqlite) as at, at.call(refunding(refunds := [], approval_by_caller="1")) as call:
            call.transport.feed(base.DtmfReceived(digit="1"))  # before anybody asked: no answer to anything
            call.asks()
            (row,) = await waiting(at)
            await call.told("dtmf")
            await eventually(lambda: at.store.calls.events(SID))  # it has been told that it waits
            for key in keys:
                call.transport.feed(base.DtmfReceived(digit=key))
            await answer(call.transport)
            assert refunds == ran
            decided = await at.store.approvals.get(row.approval_id)
            assert (decided.status, decided.decided_by) == (status, "caller")

    run(main())


def test_keys_decide_nothing_where_the_tool_does_not_say_so(sqlite):
    async def main():
        async with node(sqlite) as at, at.call() as call:
            call.asks()
            (row,) = await waiting(at)
            for key in "1*#":
                call.transport.feed(base.DtmfReceived(digit=key))
            await call.told("dtmf", 3)
            assert (await at.store.approvals.get(row.approval_id)).status == "waiting"

    run(main())


def test_without_a_database_the_call_goes_on_and_nothing_is_approved(sqlite, caplog):
    async def main():
        async with node(sqlite) as at:

            async def away(*_):
                raise StoreError("the database is away", retryable=True)

            async with at.call(timeout_s=0.6) as call:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(at.store.approvals, "ask", away)
                    call.asks()
                    assert "Nobody approved" in await answer(call.transport)
                assert (await call.told("tool_approval_resolved")).by == "timeout"
            assert call.ran == []

    run(main())
    assert "the database is away" in caplog.text


def test_a_database_that_comes_back_makes_it_approvable(sqlite):
    async def main():
        async with node(sqlite) as at, at.call() as call:
            stored, failures = at.store.approvals.ask, [1, 2]

            async def flaky(row):
                if failures:
                    failures.pop()
                    raise StoreError("locked", retryable=True)
                return await stored(row)

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(at.store.approvals, "ask", flaky)
                call.asks()
                (row,) = await waiting(at)
            await decide(at.store, row.approval_id, approved=True, by="somebody")
            await answer(call.transport)
            assert call.ran == [5.0]

    run(main())


def test_requests_and_their_end_are_announced(sqlite):
    async def main():
        posts = asyncio.Queue()

        async def receive(reader, writer):
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            posts.put_nowait(json.loads(await reader.readexactly(size)))
            writer.write(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n")
            writer.close()

        async with await asyncio.start_server(receive, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            announcer = Announcer(f"http://127.0.0.1:{port}/", "a secret of some length")
            async with (
                contextlib.aclosing(_Closing(announcer)),
                node(sqlite, announcer=announcer) as at,
                at.call() as call,
            ):
                call.asks()
                asked = await posts.get()
                assert (asked["type"], asked["data"]["arguments"]) == ("approval.requested", '{"amount":5}')
                await decide(at.store, asked["data"]["approval_id"], approved=True, by="somebody")
                ended = await posts.get()
                assert (ended["type"], ended["data"]["status"]) == ("approval.resolved", "approved")
                assert ended["data"]["ran"] is True

    run(main())


class _Closing:
    def __init__(self, announcer):
        self._announcer = announcer

    async def aclose(self):
        await self._announcer.close()


def test_a_row_that_was_changed_in_the_database_is_not_run(sqlite, caplog):
    async def main():
        async with node(sqlite) as at, at.call() as call:
            call.asks()
            (row,) = await waiting(at)
            real = at.store.approvals.get

            async def forged(approval_id):
                found = await real(approval_id)
                return type(found)(
                    **{f: getattr(found, f) for f in found.__struct_fields__} | {"arguments": '{"amount":5000}'}
                )

            await at.store.approvals.decide(row.approval_id, approved=True, by="somebody")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(at.store.approvals, "get", forged)
                await answer(call.transport)
            assert call.ran == []

    run(main())
    assert "was changed in the database" in caplog.text


def test_a_decision_that_comes_too_late_for_its_session_is_told_as_not_run(sqlite, caplog):
    async def main():
        async with node(sqlite, look_again_s=60.0) as at, at.call(timeout_s=2.0) as call:
            call.asks()
            (row,) = await waiting(at)
            await at.store.approvals.decide(row.approval_id, approved=True, by="somebody")  # and nobody tells the call
            assert (await call.told("tool_approval_resolved")).by == "timeout"
            (_, ended) = await eventually(lambda: _events(at, 2))
            assert (ended.data["status"], ended.data["ran"]) == ("approved", False)
            assert call.ran == []

    run(main())
    assert "came too late" in caplog.text
