"""A phone house at night: what goes wrong, what callers hear of it, and that nothing is lost or done twice.

`tests/bench/bench_disasters.py` does the same with more callers, and prints what it measures.
"""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from support import disasters

CALLERS = 4
OTHER_OFFICE = "+14155550177"


@pytest.fixture(scope="module")
def nights(tmp_path_factory, postgres):
    """What happened in a house on SQLite and in one on PostgreSQL, in the same night."""

    async def both(url):
        lite = tmp_path_factory.mktemp("lite")
        path = Path(lite) / "calls.db"
        return await asyncio.gather(
            disasters.night(
                lite, f"sqlite:///{path}", lambda: disasters.sqlite_locked(path), CALLERS, OVERFLOW_NUMBER=OTHER_OFFICE
            ),
            disasters.night(
                tmp_path_factory.mktemp("pg"),
                url,
                lambda: disasters.postgres_stopped(postgres),
                CALLERS,
                OVERFLOW_QUEUE="morning",
            ),
        )

    with postgres.database() as url:
        return dict(zip(("sqlite", "postgresql"), asyncio.run(asyncio.wait_for(both(url), 400)), strict=True))


@pytest.fixture(params=["sqlite", "postgresql"])
def night(nights, request):
    return nights[request.param]


def test_a_model_that_is_restarted_answers_every_caller_and_greets_nobody_twice(night):
    assert night["model"] == {
        "answered": CALLERS, "greetings": Counter({1: CALLERS}), "ends": Counter({"done": CALLERS}),
    }  # fmt: skip


def test_calls_go_on_without_a_database_and_their_records_are_stored_later(night):
    database = night["database"]
    assert (database["answered"], database["ends"]) == (CALLERS, Counter({"done": CALLERS}))


def test_a_deploy_loses_no_call(night):
    assert night["deploy"] == {"answered": CALLERS + 2, "ends": Counter({"done": CALLERS + 2})}


def test_callers_of_a_worker_that_dies_get_an_apology_and_others_notice_nothing(night):
    worker = night["worker"]
    spared, of = worker["spared"]
    assert (spared, worker["hit"] + of) == (of, CALLERS)
    assert worker["apology_s"] < 15
    assert worker["ends"].total() == CALLERS
    assert worker["ends"]["done"] == of


def test_a_server_that_stops_says_goodbye_and_leaves_no_call_without_its_end(night):
    assert (night["stop"]["exit"], night["stop"]["answered"]) == (0, CALLERS)
    assert night["stop"]["goodbyes"] == CALLERS
    assert night["stop"]["ends"].total() == CALLERS


def test_who_calls_a_server_that_stops_reaches_another_number_or_a_queue(nights):
    assert nights["sqlite"]["stop"]["overflow"] == [OTHER_OFFICE]
    assert nights["postgresql"]["stop"]["overflow"] == ["morning"]


def test_every_call_of_the_night_replays_to_the_same_answers_also_those_that_were_killed(night):
    tapes = night["tapes"]
    assert tapes["changed"] == []
    assert tapes["calls"] >= 5 * CALLERS
    assert tapes["killed"] == night["worker"]["hit"]
    assert tapes["missing_s"] < 30  # about half a second where disk and processor have nothing else to do
