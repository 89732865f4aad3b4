"""The bus: every subscriber of every node hears every message from its subscribing on, in order, whatever fails."""

import asyncio
import logging
from datetime import timedelta

import pytest
from sqlalchemy import text
from support.quiet import quietly, until
from support.stores import Clock, opened, stores

from realtime_bridge.errors import MisuseError
from telephony.store import bus


def heard(store, topic="t"):
    """A list that fills with the bodies of what comes."""
    bodies = []
    store.bus.subscribe(topic, lambda message: bodies.append(message.body["n"]))
    return bodies


@quietly("asyncio", "uvloop")
async def test_every_node_hears_every_message_in_the_same_order(database_url):
    async with stores(database_url, 3) as nodes:
        ears = [heard(node) for node in nodes]

        async def publish(node, first):
            for n in range(first, first + 10):
                await node.bus.publish("t", {"n": n})

        await asyncio.gather(*(publish(node, 10 * number) for number, node in enumerate(nodes)))
        await until(lambda: all(len(ear) == 30 for ear in ears))
        assert sorted(ears[0]) == list(range(30))
        assert ears[1] == ears[0]
        assert ears[2] == ears[0]


@quietly()
async def test_a_message_for_one_node_is_heard_there_alone(database_url):
    async with stores(database_url, 2) as (here, there):
        mine, theirs = heard(here), heard(there)
        await here.bus.publish("t", {"n": 1}, node="node-1")
        await here.bus.publish("t", {"n": 2})
        await until(lambda: mine == [2] and theirs == [1, 2])


@quietly()
async def test_a_message_says_who_sent_it_when_on_which_topic(database_url):
    async with opened(database_url) as store:
        messages = []
        store.bus.subscribe("call.command", messages.append)
        heard(store, "call.result")
        message_id = await store.bus.publish("call.command", {"verb": "hang_up"})
        await until(lambda: messages)
        (message,) = messages
        assert (message.message_id, message.topic, message.sender) == (message_id, "call.command", "node-0")
        assert (message.node, message.body) == (None, {"verb": "hang_up"})


@quietly()
async def test_what_was_published_before_subscribing_is_over(database_url):
    async with stores(database_url, 2) as (here, there):
        first = heard(there)
        await here.bus.publish("t", {"n": 1})
        await until(lambda: first == [1])
        second = heard(there)
        await here.bus.publish("t", {"n": 2})
        await until(lambda: first == [1, 2])
        assert second == [2]
    async with opened(database_url) as later:
        third = heard(later)
        await later.bus.publish("t", {"n": 3})
        await until(lambda: third)
        assert third == [3]


@quietly()
async def test_a_handler_that_fails_stops_nobody(database_url, caplog):
    async with opened(database_url) as store:

        def fail(message):
            raise RuntimeError("a handler's own")

        store.bus.subscribe("t", fail)
        bodies = heard(store)
        for n in range(3):
            await store.bus.publish("t", {"n": n})
        await until(lambda: bodies == [0, 1, 2])
    assert len([record for record in caplog.records if "handler" in record.message]) == 3


@quietly()
async def test_a_fault_of_the_buss_own_is_told_and_the_bus_goes_on(sqlite_url, caplog, monkeypatch):
    monkeypatch.setattr("telephony.store.store.RESTART_S", 0.01)
    async with opened(sqlite_url) as store:
        bodies = heard(store)
        read = store._database.read

        async def fail_once(*_):
            monkeypatch.setattr(store._database, "read", read)
            raise ZeroDivisionError

        monkeypatch.setattr(store._database, "read", fail_once)
        await store.bus.publish("t", {"n": 1})
        await until(lambda: bodies == [1])
    assert "the store's bus failed, and begins again" in caplog.text


@quietly()
async def test_a_closed_subscription_hears_nothing_more_even_when_a_handler_closes_it(sqlite_url):
    async with opened(sqlite_url) as store:
        bodies = []
        store.bus.subscribe("t", lambda _: second.close())
        second = store.bus.subscribe("t", bodies.append)
        second.close()
        third = store.bus.subscribe("t", bodies.append)
        third.close()
        third.close()  # harmless
        others = heard(store)
        await store.bus.publish("t", {"n": 1})
        await until(lambda: others)
        assert bodies == []


@quietly()
async def test_bodies_that_are_no_json_or_too_long_are_refused(sqlite_url):
    async with opened(sqlite_url) as store:
        with pytest.raises(MisuseError, match="no JSON"):
            await store.bus.publish("t", {"n": object()})
        with pytest.raises(MisuseError, match="at most"):
            await store.bus.publish("t", {"n": "x" * 300_000})


@quietly()
async def test_old_messages_are_deleted_and_their_ids_never_given_again(database_url):
    clock = Clock()
    async with opened(database_url, clock) as store:
        old = await store.bus.publish("t", {"n": 1})
        clock.pass_s(timedelta(minutes=9).total_seconds())
        assert await store.bus.forget_old() == 0
        clock.pass_s(timedelta(minutes=2).total_seconds())
        assert await store.bus.forget_old() == 1
        assert await store.bus.publish("t", {"n": 2}) > old


@quietly()
async def test_a_long_backlog_is_read_to_its_end(sqlite_url):
    async with stores(sqlite_url, 2) as (here, there):
        bodies = heard(there)
        await here._database.write(
            lambda c: c.execute(
                text(
                    "INSERT INTO messages (topic, body, sender, at) VALUES ('t', :body, 'x', '2026-03-14 12:00:00.0')"
                ),
                [{"body": f'{{"n": {n}}}'} for n in range(450)],
            ),
            "write behind the bus's back",
        )
        await until(lambda: len(bodies) == 450)
        assert bodies == list(range(450))


@quietly()
async def test_on_postgres_other_nodes_hear_at_once(postgres_url, monkeypatch):
    """By NOTIFY: nobody looks by himself here."""
    monkeypatch.setattr(bus, "POLL_S_POSTGRES", 3600.0)
    async with stores(postgres_url, 2) as (here, there):
        bodies = heard(there)
        await here.bus.publish("t", {"n": 0})  # LISTEN may still be on its way
        await until(lambda: len(bodies) == 1)
        for n in range(1, 6):
            await here.bus.publish("t", {"n": n})
            await until(lambda n=n: len(bodies) == n + 1)


@quietly()
async def test_after_an_outage_of_postgres_messages_come_again_by_themselves(postgres, postgres_url, caplog):
    caplog.set_level(logging.INFO)
    async with stores(postgres_url, 2) as (here, there):
        bodies = heard(there)
        await here.bus.publish("t", {"n": 0})
        await until(lambda: bodies == [0])
        postgres.stop()
        try:
            await until(lambda: "no notices from Postgres" in caplog.text)
        finally:
            postgres.start()
        await here.bus.publish("t", {"n": 1})
        await until(lambda: bodies == [0, 1])
        await until(lambda: caplog.text.count("notices from Postgres come again") == 2)
        await here.bus.publish("t", {"n": 2})
        await until(lambda: bodies == [0, 1, 2])
