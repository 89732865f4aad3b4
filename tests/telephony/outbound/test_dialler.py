"""The dialler against a simulated Twilio: what it refuses, what it asks for, and that nobody is ever rung twice."""

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec
import pytest
from support.dialling import ANN, BOB, CAL, FAULTS, FROM, TOO_MANY, dialling, patience

from telephony.outbound.dialler import Dialler, plan_of_attempt
from telephony.outbound.machine import MachinePlan
from telephony.outbound.requests import CallRequest, DialRefused
from telephony.outbound.settlement import GIVE_UP_AFTER, LOST_AFTER, call_row, reconcile
from telephony.store import Store
from telephony.store.rows import AttemptRow, CallEnd
from telephony.testing.twilio import Busy, NoAnswer
from telephony.twilio.voice_request import read_voice_request

LATER = LOST_AFTER + timedelta(seconds=5)
MUCH_LATER = GIVE_UP_AFTER + timedelta(seconds=5)


def now(after=timedelta(0)):
    return datetime.now(UTC) + after


async def until(condition, seconds=60.0):
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the store of another process has no event to wait for
            await asyncio.sleep(0.02)


async def refusal(placing) -> DialRefused:
    with pytest.raises(DialRefused) as refused:
        await placing
    return refused.value


def test_a_call_is_placed_and_followed_to_its_end(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            placed = await world.place(
                "+1 (202) 555-0111", agent="sales", parameters={"order": "A 1"}, ring_seconds=12, requested_by="Eve"
            )
            assert placed.fresh
            row = await world.store.attempts.get(placed.attempt_id)
            assert (row.to_number, row.from_number, row.agent) == (ANN, FROM, "sales")
            assert (row.parameters, row.details["requested_by"]) == ({"order": "A 1"}, "Eve")
            (call,) = world.twilio.calls_to(ANN)
            assert call.sid == placed.call_sid

            async def over():
                row = await world.store.calls.get(call.sid)
                return row is not None and row.status == "completed"

            await until(over)
            assert (await world.store.attempts.get(placed.attempt_id)).status == "completed"
            asked = next(each for each in world.front.asked if each.method == "POST")
            assert asked.form["Timeout"] == ["12"]
            assert asked.form["TimeLimit"] == ["3660"]  # Twilio cuts off after the server had time for a goodbye
            stored = await world.store.calls.get(call.sid)
            assert (stored.direction, stored.attempt_id, stored.status) == ("outbound", placed.attempt_id, "completed")
            assert stored.parameters == {"order": "A 1"}

    asyncio.run(scenario())


@pytest.mark.parametrize(("behaviour", "status"), [(Busy(), "busy"), (NoAnswer(), "no-answer")])
def test_a_call_that_nobody_answers_is_finished_by_what_twilio_tells(sqlite_url, behaviour, status):
    async def scenario():
        async with dialling(sqlite_url) as world:
            world.twilio.person(ANN, behaviour)
            placed = await world.place(ANN, ring_seconds=1)

            async def over():
                row = await world.store.calls.get(placed.call_sid)
                return row is not None and row.finished_at is not None

            await until(over)
            assert (await world.store.calls.get(placed.call_sid)).disposition == status
            assert (await world.store.attempts.get(placed.attempt_id)).status == status

    asyncio.run(scenario())


REFUSED = [
    ({"to": "911"}, {}, "emergency", "to: emergency"),
    ({"to": "+19005551234"}, {}, "premium", "premium"),
    ({"to": "+442079460123"}, {}, "country", "ALLOWED_COUNTRIES"),
    ({"to": "2025550111"}, {}, "not_a_number", "with +"),
    ({"to": ANN, "ring_seconds": 0}, {}, "request", "ring_seconds"),
    ({"to": ANN, "call_seconds_max": 9999}, {}, "request", "CALL_SECONDS_MAX"),
    ({"to": ANN, "idempotency_key": ""}, {}, "request", "idempotency_key"),
    ({"to": ANN, "parameters": {"a b": "x"}}, {}, "request", "parameters: a name"),
    ({"to": ANN, "parameters": {"a": "x" * 500}}, {}, "request", "500"),
    ({"to": ANN, "parameters": {f"p{n}": "" for n in range(21)}}, {}, "request", "at most 20"),
    ({"to": ANN, "on_machine": "x" * 2000}, {}, "request", "on_machine"),
    ({"to": ANN, "agent": "nobody"}, {}, "request", "agent: 'nobody'"),
    ({"to": ANN, "from_": "Alice"}, {}, "request", "from: "),
    ({"to": ANN}, {"twilio_number": None}, "settings", "TWILIO_NUMBER"),
    ({"to": ANN}, {"public_url": None}, "settings", "PUBLIC_URL"),
]


def test_what_may_not_be_dialled_is_refused_before_anything_is_stored_or_sent(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            for asked, changed, reason, said in REFUSED:
                dialler = Dialler(
                    store=world.store,
                    rest=world.rest,
                    settings=world.settings.model_copy(update=changed),
                    has_agent=lambda name: name != "nobody",
                )
                refused = await refusal(dialler.place(CallRequest(**asked)))
                assert refused.reason == reason, asked
                assert said in str(refused)
            assert (await world.store.attempts.list()).rows == ()
            assert world.front.asked == []

    asyncio.run(scenario())


def test_without_credentials_every_call_is_refused(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            refused = await refusal(
                Dialler(store=world.store, rest=None, settings=world.settings).place(CallRequest(to=ANN))
            )
            assert (refused.reason, "TWILIO_ACCOUNT_SID" in str(refused)) == ("settings", True)

    asyncio.run(scenario())


def test_a_suppressed_number_is_not_dialled_however_it_is_written(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            await world.store.suppressions.add(ANN, reason="asked for it")
            assert (await refusal(world.place("+1 202-555-0111"))).reason == "suppressed"
            assert world.rung(ANN) == 0

    asyncio.run(scenario())


def test_what_twilio_refuses_is_told_with_its_code_and_told_again_for_the_same_key(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            for code, reason in {21215: "settings", 13225: "refused", 21216: "settings", 21217: "refused"}.items():
                world.twilio.permissions.refused[ANN] = code
                first = await refusal(world.place(ANN, idempotency_key=f"key {code}"))
                again = await refusal(world.place(ANN, idempotency_key=f"key {code}"))
                assert (first.reason, first.code) == (again.reason, again.code) == (reason, code)
                assert (str(first), first.attempt_id) == (str(again), again.attempt_id)
                row = await world.store.attempts.get(first.attempt_id)
                assert (row.status, row.code) == ("refused", code)
            assert len([each for each in world.front.asked if each.method == "POST"]) == 4

    asyncio.run(scenario())


def test_haste_is_waited_out_and_refused_when_it_lasts(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            world.before = [TOO_MANY, TOO_MANY]
            await world.place(ANN)
            assert world.rung(ANN) == 1
            world.before = [TOO_MANY] * 9
            assert (await refusal(world.place(BOB))).reason == "busy"
            assert world.rung(BOB) == 0

    asyncio.run(scenario())


def test_the_same_key_places_one_call_whoever_asks_and_how_often(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world, other_node(sqlite_url, world) as other:
            asked = CallRequest(to=ANN, idempotency_key="order 17")
            placed = await asyncio.gather(*(each.place(asked) for each in (world.dialler, other.dialler) * 4))
            assert len({each.call_sid for each in placed}) == 1
            assert [each.fresh for each in placed].count(True) == 1
            assert world.rung(ANN) == 1

    asyncio.run(scenario())


class Node:
    def __init__(self, dialler, store):
        self.dialler, self.store = dialler, store


@contextlib.asynccontextmanager
async def other_node(database_url, world):
    async with Store.open(database_url, node="there") as store:
        dialler = Dialler(store=store, rest=world.rest, settings=world.settings, limits=patience(2))
        yield Node(dialler, store)
        await dialler.close()


def test_a_lost_answer_is_made_good_by_the_callback(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url, settle_seconds=30, request_seconds=0.4) as world:
            for last, (name, fault) in enumerate(FAULTS.items()):
                number = f"+1202555014{last}"
                world.twilio.person(number, answers_after_s=0.05)
                world.after = [fault]
                placed = await world.place(number)
                assert [call.sid for call in world.twilio.calls_to(number)] == [placed.call_sid], name

    asyncio.run(scenario())


def test_a_webhook_that_cannot_be_heeded_at_the_moment_is_sent_again(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            world.hiccups = 3
            placed = await world.place(ANN)

            async def over():
                return (await world.store.attempts.get(placed.attempt_id)).status == "completed"

            await until(over)
            assert world.hiccups == 0

    asyncio.run(scenario())


def test_a_lost_answer_without_a_callback_is_found_in_twilios_list(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            world.deaf, world.after = True, [FAULTS["reset"]]
            placed = await world.place(ANN)
            assert placed.call_sid == world.twilio.calls_to(ANN)[0].sid
            assert (await world.store.attempts.get(placed.attempt_id)).call_sid == placed.call_sid

    asyncio.run(scenario())


def test_what_was_never_dialled_stays_unknown_and_is_given_up_in_the_end(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            world.before = [FAULTS["500"]]
            refused = await refusal(world.place(ANN, idempotency_key="k"))
            assert refused.reason == "unknown"
            assert not await reconcile(world.store, world.rest, now(LATER))
            assert (await world.store.attempts.get(refused.attempt_id)).status == "claimed"
            assert (await reconcile(world.store, world.rest, now(MUCH_LATER))).given_up == 1
            assert (await refusal(world.place(ANN, idempotency_key="k"))).reason == "unknown"
            assert world.rung(ANN) == 0

    asyncio.run(scenario())


def test_two_lost_calls_to_one_number_are_not_taken_for_each_other(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            world.deaf, world.before, world.after = True, [FAULTS["500"]], [FAULTS["reset"]]
            lost = [await refusal(world.place(ANN)) for _ in range(2)]
            assert {each.reason for each in lost} == {"unknown"}
            for each in lost:
                assert (await world.store.attempts.get(each.attempt_id)).call_sid is None

    asyncio.run(scenario())


def test_asking_and_going_away_leaves_a_stored_call(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            asking = asyncio.create_task(world.place(ANN))
            while world.rung(ANN) == 0:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])
            await world.dialler.close()
            (row,) = (await world.store.attempts.list()).rows
            assert row.call_sid == world.twilio.calls_to(ANN)[0].sid

    asyncio.run(scenario())


def test_a_claim_that_has_grown_old_is_not_dialled(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            times = iter([now(), now(timedelta(seconds=31))])
            slow = Dialler(store=world.store, rest=world.rest, settings=world.settings, clock=lambda: next(times))
            assert (await refusal(slow.place(CallRequest(to=ANN)))).reason == "busy"
            assert world.rung(ANN) == 0

    asyncio.run(scenario())


def test_what_to_do_with_a_machine_is_asked_of_twilio_and_kept(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            placed = await world.place(ANN, on_machine="Please call us back.")
            form = next(each for each in world.front.asked if each.method == "POST").form
            assert (form["MachineDetection"], form["AsyncAmd"]) == (["DetectMessageEnd"], ["true"])
            assert form["AsyncAmdStatusCallback"][0].endswith(
                f"/twilio/amd?attempt={placed.attempt_id}#rc=3&rp=5xx,ct,rt"
            )
            row = await world.store.attempts.get(placed.attempt_id)
            assert plan_of_attempt(row) == MachinePlan(on_machine="leave_message", message="Please call us back.")

    asyncio.run(scenario())


# ---- after a crash -----------------------------------------------------------------------------------------------------


def test_a_crash_between_dialling_and_storing_is_made_good_at_the_next_start(sqlite_url):
    """Attempt claimed, Twilio asked, and the process killed: the call is found, and told how it went."""

    async def scenario():
        async with dialling(sqlite_url) as world:
            world.deaf = True
            crashed = CrashingDialler(store=world.store, rest=world.rest, settings=world.settings)
            with pytest.raises(Crash):
                await crashed.place(CallRequest(to=ANN, idempotency_key="k"))
            (call,) = world.twilio.calls_to(ANN)
            await call.until_status("completed")
            assert not await reconcile(world.store, world.rest, now())  # somebody may still be dialling
            done = await reconcile(world.store, world.rest, now(LATER))
            assert (done.found, done.given_up) == (1, 0)
            (row,) = (await world.store.attempts.list()).rows
            assert (row.call_sid, row.status) == (call.sid, "completed")
            assert not (await reconcile(world.store, world.rest, now(LATER))).found
            placed = await world.place(ANN, idempotency_key="k")
            assert (placed.call_sid, placed.fresh) == (call.sid, False)
            assert world.rung(ANN) == 1

    asyncio.run(scenario())


class Crash(BaseException):
    pass


class CrashingDialler(Dialler):
    async def _placed(self, row, call_sid):
        raise Crash


def test_calls_of_a_dead_node_are_closed_from_twilios_books_and_those_of_the_living_left_alone(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world, other_node(sqlite_url, world) as other:
            sids = {}
            for name, number in {"dead": ANN, "alive": BOB, "ours": CAL}.items():
                placed = await world.place(number)
                sids[name] = placed.call_sid
            for call in world.twilio.calls.values():
                await call.until_status("completed")
            await world.store.calls.answered(sids["dead"], "dead", now())
            await world.store.calls.answered(sids["alive"], "there", now())
            await world.store.calls.answered(sids["ours"], "here", now())
            await other.store.nodes.heartbeat("there")
            beat = now()
            done = await reconcile(
                world.store, world.rest, beat + timedelta(seconds=30), is_live={sids["ours"]}.__contains__
            )
            assert done.finished == 0  # too early to say
            for each in sids.values():
                assert (await world.store.calls.get(each)).finished_at is None
            # the other node has grown silent too by then, as far as the database knows
            done = await reconcile(
                world.store, world.rest, beat + timedelta(minutes=20), is_live={sids["ours"]}.__contains__
            )
            assert done.finished == 2
            assert (await world.store.calls.get(sids["dead"])).disposition == "lost"
            assert (await world.store.calls.get(sids["ours"])).finished_at is None
            again = await reconcile(
                world.store, world.rest, beat + timedelta(minutes=20), is_live={sids["ours"]}.__contains__
            )
            assert again.finished == 0

    asyncio.run(scenario())


def test_who_has_answered_is_stored_though_the_callback_tells_nothing_else(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            placed = await world.place(ANN, on_machine="hang_up")
            told = read_voice_request({"CallSid": placed.call_sid, "AccountSid": "AC1", "AnsweredBy": "fax"})
            for _ in range(2):
                await world.dialler.on_status(placed.attempt_id, told)
            assert (await world.store.attempts.get(placed.attempt_id)).answered_by == "fax"

    asyncio.run(scenario())


def test_the_final_state_of_a_call_that_was_told_while_nobody_listened_is_asked_for(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            world.deaf = True
            placed = await world.place(ANN)
            await world.twilio.calls_to(ANN)[0].until_status("completed")
            sids = {"told": placed.call_sid, "gone": "CA" + "f" * 32, "had": "CA" + "e" * 32}
            for name, sid in sids.items():
                row = call_row(await world.store.attempts.get(placed.attempt_id), sid)
                end = CallEnd(disposition="transferred", ended_at=now(), duration_ms=1000)
                await world.store.calls.finish(sid, end, call=msgspec.structs.replace(row, call_sid=sid))
                node = world.store.node if name == "had" else "dead"
                await world.store.calls.answered(sid, node, now(timedelta(hours=-1)))

            async def states():
                return {name: (await world.store.calls.get(sid)).status for name, sid in sids.items()}

            await reconcile(world.store, world.rest, now(timedelta(seconds=50)))
            assert set((await states()).values()) == {"in-progress"}  # Twilio may be about to say it
            later = [
                await reconcile(world.store, world.rest, now(LATER), is_live={sids["had"]}.__contains__)
                for _ in range(2)
            ]
            assert (await states())["had"] == "in-progress"
            assert (await states())["told"] == (await states())["gone"] == "completed"
            assert (await world.store.calls.get(sids["told"])).disposition == "transferred"
            assert [done.finished for done in later] == [0, 0]

    asyncio.run(scenario())


def test_a_twilio_that_does_not_answer_leaves_everything_for_the_next_time(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            world.deaf = True
            placed = await world.place(ANN)
            await world.twilio.calls_to(ANN)[0].until_status("completed")
            world.twilio.faults.rest("error", times=20)
            done = await reconcile(world.store, world.rest, now(LATER))
            assert done.failed == 2
            assert (await world.store.attempts.get(placed.attempt_id)).status == "queued"
            world.twilio.faults.clear()
            assert (await reconcile(world.store, world.rest, now(LATER))).updated >= 1
            assert (await world.store.attempts.get(placed.attempt_id)).status == "completed"

    asyncio.run(scenario())


def test_calls_that_twilio_does_not_know_are_not_asked_for_for_ever(sqlite_url):
    async def scenario():
        async with dialling(sqlite_url) as world:
            nowhere = "CA" + "f" * 32
            row = AttemptRow(
                attempt_id="a", idempotency_key="a", to_number=ANN, from_number=FROM, created_at=now(), details={}
            )
            await world.store.attempts.claim(row)
            await world.store.attempts.placed("a", nowhere)
            await world.store.calls.begin(call_row(row, nowhere))
            assert (await reconcile(world.store, world.rest, now(LATER))).failed == 1  # it may be too new for a list
            await reconcile(world.store, world.rest, now(MUCH_LATER))
            assert (await world.store.attempts.get("a")).status == "failed"
            assert (await world.store.calls.get(nowhere)).disposition == "failed"
            assert not await reconcile(world.store, world.rest, now(MUCH_LATER))

    asyncio.run(scenario())


# ---- whatever happens ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("database", "days"), [("sqlite", 6), ("postgresql", 2)])
def test_nobody_is_rung_twice_whatever_fails(request, tmp_path, database, days):
    """Requests fail before and after they are carried out, webhooks are lost, repeated and late, askers go away and ask
    again on another node, and the books are reconciled in between. A failure is repeated by its seed."""
    with contextlib.ExitStack() as databases:
        if database == "sqlite":
            urls = [f"sqlite:///{tmp_path / str(seed)}.db" for seed in range(days)]
        else:
            server = request.getfixturevalue("postgres")
            urls = [databases.enter_context(server.database()) for _ in range(days)]
        asyncio.run(bad_days(urls))


async def bad_days(urls):
    async with contextlib.AsyncExitStack() as stack:
        days = []
        for seed, url in enumerate(urls):
            world = await stack.enter_async_context(dialling(url, settle_seconds=0.3, request_seconds=0.4))
            days.append(bad_day(world, await stack.enter_async_context(other_node(url, world)), seed))
        await asyncio.gather(*days)  # which is mostly waiting


async def bad_day(world, other, seed):
    rng = Random(seed)
    numbers = (ANN, BOB, CAL)

    def fault(chance):
        return rng.choice(list(FAULTS.values())) if rng.random() < chance else None

    async def ask(node, number):
        asking = asyncio.create_task(node.dialler.place(CallRequest(to=number, idempotency_key=f"to {number}")))
        await asyncio.wait([asking], timeout=rng.choice([0.01, 0.1, 3]))
        asking.cancel()
        with contextlib.suppress(DialRefused, asyncio.CancelledError):
            await asking

    world.before = [each for _ in range(3) if (each := fault(0.3) or (TOO_MANY if rng.random() < 0.3 else None))]
    world.after = [fault(0.5) for _ in range(6)]
    for _ in range(4):
        kind = rng.choice(["lost", "duplicate", "late"])
        world.twilio.faults.webhook(kind, kind="status", times=rng.randrange(4), delay_s=rng.random() / 2)
    for _ in range(3):
        asked = [(rng.choice([world, other]), number) for number in numbers for _ in range(2)]
        rng.shuffle(asked)
        await asyncio.gather(*(ask(node, number) for node, number in asked))
        world.twilio.faults.rest(rng.choice(["error", "garbage", "reset-before", "too-many"]), method="GET")
        await reconcile(world.store, world.rest, now(rng.choice([timedelta(0), LATER])))
    await world.dialler.close()
    await other.dialler.close()
    assert {number: world.rung(number) for number in numbers if world.rung(number) > 1} == {}, seed
    world.twilio.faults.clear()
    for _ in range(5):  # on a slow machine, time runs out for one or the other
        if not (await reconcile(world.store, world.rest, now(LATER))).failed:
            break
    for row in (await world.store.attempts.list()).rows:
        calls = world.twilio.calls_to(row.to_number)
        assert row.call_sid == (calls[0].sid if calls else None), seed
