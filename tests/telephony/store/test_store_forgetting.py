"""What has been kept for long enough is deleted, with all that belongs to it; what is younger stays."""

from datetime import timedelta

from support.quiet import quietly
from support.stores import NOON, Clock, approval, attempt, call, call_end, opened

from telephony.housekeeping import Keep, forget
from telephony.store import forgetting
from telephony.store.rows import TurnRow

DAY = timedelta(days=1)


async def fill(store, name, at, **end):
    sid = f"CA-{name}"
    said = (TurnRow(role="assistant", text="Hello."),)
    await store.calls.finish(
        sid, call_end(ended_at=at, transcript=said, **end), call=call(sid, created_at=at, attempt_id=f"at-{name}")
    )
    await store.calls.event(sid, "handoff", {}, at)
    await store.approvals.ask(approval(f"ap-{name}", call_sid=sid, asked_at=at))
    await store.attempts.claim(attempt(f"at-{name}", f"key-{name}", created_at=at, call_sid=sid, status="completed"))


async def left(store, name):
    sid = f"CA-{name}"
    return (
        await store.calls.get(sid) is not None,
        len(await store.calls.turns(sid)),
        len(await store.calls.events(sid)),
        await store.approvals.get(f"ap-{name}") is not None,
        await store.attempts.get(f"at-{name}") is not None,
    )


ALL, NONE = (True, 1, 1, True, True), (False, 0, 0, False, False)


@quietly()
async def test_old_calls_go_with_all_that_belongs_to_them(database_url, monkeypatch):
    monkeypatch.setattr(forgetting, "ROWS_AT_ONCE", 2)
    async with opened(database_url, Clock(NOON)) as store:
        for number in range(5):
            await fill(store, f"old{number}", NOON - 31 * DAY)
        await fill(store, "young", NOON - 29 * DAY)
        await fill(store, "recorded", NOON - 31 * DAY, recording="calls/CA-recorded")
        await store.calls.event("CA-of no call", "problem", {}, NOON - 31 * DAY)
        await store.attempts.claim(attempt("at-lost", "key-lost", created_at=NOON - 31 * DAY))
        await forget(store, Keep(calls=30))
        assert [await left(store, f"old{number}") for number in range(5)] == [NONE] * 5
        assert await left(store, "young") == ALL
        assert await left(store, "recorded") == ALL
        assert await store.calls.events("CA-of no call") == ()
        assert await store.attempts.get("at-lost") is not None  # nobody knows yet what became of it


@quietly()
async def test_the_audit_and_tokens_that_have_ended_go_by_their_age(database_url):
    clock = Clock(NOON - 400 * DAY)
    async with opened(database_url, clock) as store:
        access = store.access
        await access.audit("ann", "call.hang_up", "CA1")
        await access.create_token("expired", ("calls:read",), clock.now + DAY)
        revoked, _ = await access.create_token("revoked", ("calls:read",))
        await access.revoke(revoked.token_id)
        await access.create_token("valid", ("calls:read",))
        clock.now = NOON
        await access.audit("bob", "call.hang_up", "CA2")
        await forget(store, Keep())
        assert len(await access.list()) == 3
        await forget(store, Keep(audit=365))
        assert [row.who for row in await access.audits()] == ["bob"]
        assert [row.name for row in await access.list()] == ["valid"]
