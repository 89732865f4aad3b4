"""Tokens, operators, suppressed numbers, streams' tokens, nodes: who may do what, and for how long."""

from datetime import timedelta

import pytest
from sqlalchemy import text
from support.quiet import quietly
from support.stores import CALLER, NOON, OURS, Clock, opened, stores

from realtime_bridge.errors import MisuseError


@quietly()
async def test_a_token_is_found_by_its_secret_alone(database_url):
    clock = Clock()
    async with opened(database_url, clock) as store:
        row, secret = await store.access.create_token("CRM", ("calls:read", "calls:write"))
        assert secret.startswith("rb_")
        found = await store.access.find_token(secret)
        assert found == row
        assert found.scopes == ("calls:read", "calls:write")
        for wrong in ("", "rb_", secret[:-1], secret + "x", row.token_id, "rb_" + "x" * 10_000, "ü"):
            assert await store.access.find_token(wrong) is None
        clock.pass_s(1)
        (listed,) = await store.access.list()
        assert listed.last_used_at == NOON


@quietly()
async def test_expired_and_revoked_tokens_are_not_found(database_url):
    clock = Clock()
    async with opened(database_url, clock) as store:
        _, short = await store.access.create_token("short", (), NOON + timedelta(seconds=10))
        row, revoked = await store.access.create_token("revoked", ())
        clock.pass_s(9)
        assert await store.access.find_token(short) is not None
        clock.pass_s(1)
        assert await store.access.find_token(short) is None
        assert await store.access.revoke(row.token_id)
        assert not await store.access.revoke(row.token_id)
        assert await store.access.find_token(revoked) is None


@quietly()
async def test_secrets_are_nowhere_in_the_database(sqlite_url):
    async with opened(sqlite_url) as store:
        _, secret = await store.access.create_token("CRM", ())
        await store.access.add_operator("ann", "correct horse battery", ())
        dump = await store._database.read(
            lambda c: str([row for t in ("tokens", "operators") for row in c.execute(text(f"SELECT * FROM {t}"))]),
            "dump",
        )
    assert "CRM" in dump
    assert secret not in dump
    assert "correct horse" not in dump


@quietly()
async def test_an_operator_is_known_by_the_right_password_until_disabled(database_url):
    async with opened(database_url) as store:
        added = await store.access.add_operator("ann", "correct horse battery", ("approvals",))
        assert await store.access.add_operator("ann", "another password", ()) is None
        assert await store.access.check_operator("ann", "correct horse battery") == added
        assert await store.access.check_operator("ann", "another password") is None
        assert await store.access.check_operator("bob", "correct horse battery") is None
        assert await store.access.check_operator("ann", "x" * 10**6) is None
        assert await store.access.disable_operator("ann")
        assert not await store.access.disable_operator("ann")
        assert await store.access.check_operator("ann", "correct horse battery") is None
        (listed,) = await store.access.operators()
        assert listed.disabled_at == NOON


@quietly()
async def test_short_and_endless_passwords_are_refused(sqlite_url):
    async with opened(sqlite_url) as store:
        for password in ("short", "x" * 2000):
            with pytest.raises(MisuseError, match="password"):
                await store.access.add_operator("ann", password, ())


@quietly()
async def test_the_audit_is_read_newest_first(database_url):
    async with opened(database_url) as store:
        for number in range(5):
            await store.access.audit("ann", "token.revoke", f"t{number % 2}", {"n": number})
        first = await store.access.audits(limit=2)
        second = await store.access.audits(limit=2, before=first[-1].audit_id)
        assert [line.data["n"] for line in (*first, *second)] == [4, 3, 2, 1]
        assert [line.data["n"] for line in await store.access.audits(subject="t1")] == [3, 1]


@quietly()
async def test_a_suppressed_number_stays_so_until_it_is_removed(database_url):
    async with opened(database_url) as store:
        assert await store.suppressions.add(CALLER, reason="asked on the phone", by="ann")
        assert not await store.suppressions.add(CALLER, reason="again")
        await store.suppressions.add(OURS)
        assert await store.suppressions.contains(CALLER)
        assert not await store.suppressions.contains("+15005550009")
        rows = await store.suppressions.list()
        assert [(row.number, row.reason, row.added_by) for row in rows] == [
            (OURS, "", ""),
            (CALLER, "asked on the phone", "ann"),
        ]
        assert await store.suppressions.list(after=OURS) == rows[1:]
        assert CALLER not in repr(rows)
        assert await store.suppressions.remove(CALLER)
        assert not await store.suppressions.remove(CALLER)
        assert not await store.suppressions.contains(CALLER)


@quietly()
async def test_a_streams_token_works_once_for_its_call_in_its_time(database_url):
    later = NOON + timedelta(seconds=60)
    async with stores(database_url, 2) as (here, there):
        await here.stream_tokens.put("h1", "CA1", later, {"agent": "Billing"})
        assert await there.stream_tokens.use("h1", "CA2", NOON) is None
        assert await there.stream_tokens.use("h2", "CA1", NOON) is None
        assert await there.stream_tokens.use("h1", "CA1", NOON) == {"agent": "Billing"}
        assert await here.stream_tokens.use("h1", "CA1", NOON) is None
        await here.stream_tokens.put("h3", "CA3", later, {})
        assert await there.stream_tokens.use("h3", "CA3", later) is None
        assert await here.stream_tokens.forget_expired(later) == 1


@quietly()
async def test_nodes_live_while_they_say_so(database_url):
    clock = Clock()
    async with opened(database_url, clock) as store:
        await store.nodes.heartbeat("n1", {"calls": 3})
        clock.pass_s(10)
        await store.nodes.heartbeat("n2")
        assert [row.node for row in await store.nodes.alive(NOON)] == ["n1", "n2"]
        assert [row.node for row in await store.nodes.alive(clock.now)] == ["n2"]
        await store.nodes.heartbeat("n1", {"calls": 4})
        first, _ = await store.nodes.alive(clock.now)
        assert (first.started_at, first.seen_at, first.details) == (NOON, clock.now, {"calls": 4})
        assert await store.nodes.leave("n1")
        clock.pass_s(100)
        assert await store.nodes.forget_silent(clock.now) == 1
        assert await store.nodes.alive(NOON) == ()
