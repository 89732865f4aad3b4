"""Calls: begun by whoever hears of them first, with states that only move forward and an end that is told once."""

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.quiet import quietly
from support.stores import CALLER, NOON, OURS, Clock, call, call_end, opened

from realtime_bridge.errors import MisuseError
from telephony.store import StoreError
from telephony.store.rows import CallFilter, EventRow, StreamEnd, ToolRow, TurnRow
from telephony.store.states import FINAL, UNDER_WAY, is_final, may_follow

SECOND = timedelta(seconds=1)


@quietly("asyncio", "uvloop")
async def test_a_call_comes_back_as_it_was_stored(database_url):
    row = call(
        parameters={"campaign": "März \U0001f600"}, carrier={"FromCity": "SAN JOSÉ"}, parent_call_sid="CA0", node="n1"
    )
    async with opened(database_url) as store:
        assert await store.calls.begin(row)
        assert await store.calls.get("CA1") == row
        assert await store.calls.get("CA2") is None


@quietly()
async def test_times_are_utc_whatever_zone_they_come_from(database_url):
    elsewhere = NOON.astimezone(tz=msgspec.json.decode('"2026-03-14T12:00:00+05:30"', type=type(NOON)).tzinfo)
    async with opened(database_url) as store:
        await store.calls.begin(call(created_at=elsewhere))
        found = await store.calls.get("CA1")
        assert found.created_at == NOON
        assert found.created_at.utcoffset() == timedelta(0)


@quietly()
async def test_a_time_without_a_zone_is_refused(database_url):
    async with opened(database_url) as store:
        with pytest.raises(StoreError, match="store a call") as refused:
            await store.calls.begin(call(created_at=NOON.replace(tzinfo=None)))
        assert not refused.value.retryable


@quietly()
async def test_who_hears_of_a_call_later_adds_what_it_knows_and_takes_nothing_away(database_url):
    async with opened(database_url) as store:
        await store.calls.begin(call(agent=None, status="in-progress", carrier={"FromCity": "BERLIN"}))
        assert not await store.calls.begin(call(agent="Billing", node="n2", status="ringing", attempt_id="at-1"))
        assert not await store.calls.begin(call(agent="Another", from_number="+15005550009"))
        found = await store.calls.get("CA1")
        assert (found.agent, found.node, found.attempt_id) == ("Billing", "n2", "at-1")
        assert (found.status, found.carrier, found.from_number) == ("in-progress", {"FromCity": "BERLIN"}, CALLER)


@quietly()
async def test_late_and_repeated_callbacks_change_nothing(database_url):
    async with opened(database_url) as store:
        await store.calls.begin(call(status="queued"))
        assert await store.calls.status("CA1", "initiated", NOON, 0)
        assert await store.calls.status("CA1", "in-progress", NOON + SECOND, 2)
        assert not await store.calls.status("CA1", "ringing", NOON + 2 * SECOND, 1)
        assert not await store.calls.status("CA1", "in-progress", NOON + 3 * SECOND, 2)
        assert await store.calls.status("CA1", "completed", NOON + 9 * SECOND, 3)
        assert not await store.calls.status("CA1", "completed", NOON + 10 * SECOND, 3)
        assert not await store.calls.status("CA1", "failed", NOON + 11 * SECOND, 4)
        found = await store.calls.get("CA1")
        assert (found.status, found.sequence) == ("completed", 3)
        assert (found.answered_at, found.ended_at) == (NOON + SECOND, NOON + 9 * SECOND)


@quietly()
async def test_a_status_of_an_unknown_call_is_not_stored(database_url):
    async with opened(database_url) as store:
        assert not await store.calls.status("CA9", "completed", NOON)
        assert not await store.calls.answered("CA9", "n1", NOON)


def test_states_move_forward_to_a_final_one():
    for status in (*UNDER_WAY, *FINAL):
        assert not any(is_final(before) for before in may_follow(status))
        assert status not in may_follow(status)
    with pytest.raises(MisuseError, match="asleep"):
        may_follow("asleep")


@given(st.lists(st.sampled_from([*UNDER_WAY, *sorted(FINAL)])))
def test_in_whatever_order_states_are_told_the_first_final_one_stays(told):
    state, path = "claimed", ["claimed"]
    for status in told:
        if state in may_follow(status):
            state = status
            path.append(state)
    finals = [status for status in told if is_final(status)]
    assert state == (finals[0] if finals else max(told, key=UNDER_WAY.index, default="claimed"))
    assert len(set(path)) == len(path)


@quietly()
async def test_the_node_that_answers_has_the_call(database_url):
    async with opened(database_url) as store:
        await store.calls.begin(call())
        assert await store.calls.answered("CA1", "n7", NOON + SECOND)
        assert await store.calls.answered("CA1", "n7", NOON + 2 * SECOND)
        found = await store.calls.get("CA1")
        assert (found.node, found.status, found.answered_at) == ("n7", "in-progress", NOON + SECOND)


TURNS = (
    TurnRow(role="assistant", text="Hello.", agent="Front desk", start_ms=0, end_ms=700),
    TurnRow(role="user", text="Grüß Gott", start_ms=900, end_ms=1500),
    TurnRow(role="assistant", text="Your order is", cut=True, unheard="on its way.", start_ms=1600),
)
TOOLS = (
    ToolRow(call_id="c1", name="refund", arguments={"amount": 1.5, "of": ["a", None]}, start_ms=5, outcome="done"),
    ToolRow(call_id="c2", name="refund", arguments={}, start_ms=9, end_ms=10, output="no", approved=False),
)


@quietly()
async def test_a_calls_end_is_stored_once_with_all_that_was_said(database_url):
    clock = Clock(NOON + timedelta(minutes=3))
    end = call_end(
        status="completed", transcript=TURNS, tools=TOOLS, usage={"input": 5}, cost_usd=0.25, recording="calls/CA1",
        problems=("the disk was slow",),
    )  # fmt: skip
    async with opened(database_url, clock) as store:
        await store.calls.begin(call(status="in-progress"))
        assert await store.calls.turns("CA1") == ()
        assert await store.calls.finish("CA1", end)
        assert not await store.calls.finish("CA1", call_end(disposition="lost", transcript=TURNS[:1]))
        found = await store.calls.get("CA1")
        assert found == call(
            status="completed", ended_at=end.ended_at, finished_at=clock.now, duration_ms=90_000,
            disposition="caller hung up", recording="calls/CA1", usage={"input": 5}, cost_usd=0.25,
            problems=("the disk was slow",),
            streams=(
                StreamEnd(
                    stream_sid="MZ1", disposition="caller hung up", ended_at=end.ended_at, duration_ms=90_000,
                    recording="calls/CA1", usage={"input": 5}, cost_usd=0.25, problems=("the disk was slow",),
                ),
            ),
        )  # fmt: skip
        assert await store.calls.turns("CA1") == TURNS
        assert await store.calls.tools("CA1") == TOOLS


@quietly()
async def test_a_call_that_comes_back_has_two_streams_and_is_not_over_between_them(database_url):
    first = call_end(
        disposition="transferred", transcript=TURNS[:2], tools=TOOLS[:1], usage={"input": 5, "output": 2}, cost_usd=0.25,
        recording="calls/CA1", problems=("a",),
    )  # fmt: skip
    second = call_end(
        stream_sid="MZ2", ended_at=NOON + 200 * SECOND, duration_ms=40_000, transcript=TURNS[2:], tools=TOOLS[1:],
        usage={"input": 1}, cost_usd=0.5, recording="calls/CA1/2", problems=("b",),
    )  # fmt: skip
    async with opened(database_url) as store:
        await store.calls.begin(call(status="in-progress"))
        await store.calls.answered("CA1", "n1", NOON)
        await store.calls.finish("CA1", first)
        assert await store.calls.unfinished() == ()
        await store.calls.answered("CA1", "n1", NOON)  # repeated, from a spool
        assert (await store.calls.get("CA1")).disposition == "transferred"

        await store.calls.begin(call(status="in-progress", created_at=NOON + 150 * SECOND))
        await store.calls.answered("CA1", "n2", NOON + 150 * SECOND)
        found = await store.calls.get("CA1")
        assert (found.node, found.finished_at, found.disposition, found.ended_at) == ("n2", None, None, None)
        assert [row.call_sid for row in await store.calls.unfinished()] == ["CA1"]

        for _ in range(2):
            await store.calls.finish("CA1", second)
            await store.calls.finish("CA1", first)
            await store.calls.answered("CA1", "n2", NOON + 150 * SECOND)
        found = await store.calls.get("CA1")
        assert (found.disposition, found.ended_at) == ("caller hung up", second.ended_at)
        assert (found.duration_ms, found.usage, found.cost_usd) == (130_000, {"input": 6, "output": 2}, 0.75)
        assert (found.recording, found.problems) == ("calls/CA1", ("a", "b"))
        assert [(s.stream_sid, s.recording) for s in found.streams] == [("MZ1", "calls/CA1"), ("MZ2", "calls/CA1/2")]
        assert [(turn.text, turn.stream) for turn in await store.calls.turns("CA1")] == [
            (turn.text, number) for turn, number in zip(TURNS, (1, 1, 2), strict=True)
        ]
        assert [(tool.call_id, tool.stream) for tool in await store.calls.tools("CA1")] == [("c1", 1), ("c2", 2)]


@quietly()
async def test_a_call_that_nobody_answered_has_no_stream(database_url):
    async with opened(database_url) as store:
        await store.calls.begin(call())
        busy = call_end(stream_sid="", disposition="busy", status="busy", duration_ms=0)
        assert await store.calls.finish("CA1", busy)
        assert not await store.calls.finish("CA1", busy)
        found = await store.calls.get("CA1")
        assert (found.disposition, found.status, found.streams) == ("busy", "busy", ())


@quietly()
async def test_a_second_stream_whose_end_nobody_told_leaves_the_first_ones_words(database_url):
    async with opened(database_url) as store:
        await store.calls.begin(call(status="in-progress"))
        await store.calls.finish("CA1", call_end(disposition="transferred", transcript=TURNS))
        await store.calls.answered("CA1", "n2", NOON + 150 * SECOND)
        lost = call_end(stream_sid="", disposition="lost", reconstructed=True, problems=("gone",), duration_ms=200_000)
        assert await store.calls.finish("CA1", lost)
        found = await store.calls.get("CA1")
        assert (found.disposition, found.problems, found.duration_ms) == ("lost", ("gone",), 200_000)
        assert await store.calls.turns("CA1") == TURNS
        await store.calls.finish("CA1", call_end(stream_sid="MZ2", ended_at=NOON + 160 * SECOND))
        found = await store.calls.get("CA1")
        assert (found.disposition, found.problems, found.reconstructed) == ("caller hung up", (), False)


@quietly()
async def test_an_end_that_was_found_out_gives_way_to_the_word_of_who_had_the_call(database_url):
    found_out = call_end(stream_sid="", disposition="lost", reconstructed=True, ended_at=NOON)
    async with opened(database_url) as store:
        await store.calls.begin(call())
        assert await store.calls.finish("CA1", found_out)
        assert not await store.calls.finish("CA1", found_out)
        assert (await store.calls.get("CA1")).reconstructed
        assert await store.calls.finish("CA1", call_end(transcript=TURNS, tools=TOOLS))
        assert not await store.calls.finish("CA1", found_out)
        assert not await store.calls.finish("CA1", call_end(disposition="told twice", transcript=TURNS[:1]))
        found = await store.calls.get("CA1")
        assert (found.disposition, found.reconstructed) == ("caller hung up", False)
        assert await store.calls.turns("CA1") == TURNS


@quietly()
async def test_the_end_of_an_unknown_call_is_refused_unless_it_brings_the_call(database_url):
    async with opened(database_url) as store:
        with pytest.raises(StoreError, match="never begun") as refused:
            await store.calls.finish("CA1", call_end())
        assert not refused.value.retryable
        assert await store.calls.finish("CA1", call_end(transcript=TURNS), call=call())
        assert (await store.calls.get("CA1")).disposition == "caller hung up"


@quietly()
async def test_what_no_database_can_keep_in_a_text_is_replaced(database_url):
    odd = "a\0b\ud800c"
    async with opened(database_url) as store:
        await store.calls.begin(call(carrier={"CallerName": "a\0b"}))
        await store.calls.finish("CA1", call_end(transcript=(TurnRow(role="user", text=odd),)))
        (turn,) = await store.calls.turns("CA1")
        assert turn.text == "a\ufffdb\ufffdc"
        assert (await store.calls.get("CA1")).carrier == {"CallerName": "a\0b"}


@quietly()
async def test_events_come_in_order_and_a_repeated_key_is_the_same_event(database_url):
    async with opened(database_url) as store:
        assert await store.calls.event("CA1", "handoff", {"to": "Billing"}, NOON, event_key="k1")
        assert not await store.calls.event("CA1", "handoff", {"to": "Billing"}, NOON, event_key="k1")
        assert await store.calls.event("CA1", "dtmf", {"digit": "5"}, NOON)
        assert await store.calls.event("CA1", "dtmf", {"digit": "5"}, NOON)
        await store.calls.event("CA2", "dtmf", {}, NOON)
        first, second, third = await store.calls.events("CA1")
        assert first == EventRow(
            event_id=first.event_id, call_sid="CA1", kind="handoff", data={"to": "Billing"}, at=NOON
        )
        assert await store.calls.events("CA1", after=first.event_id) == (second, third)
        assert await store.calls.events("CA1", limit=1) == (first,)


@quietly()
async def test_pages_of_calls_do_not_shift_when_new_ones_come(database_url):
    async with opened(database_url) as store:
        for number in range(7):
            # Two at a time have the same time: ids tell them apart.
            await store.calls.begin(call(f"CA{number}", created_at=NOON + SECOND * (number // 2)))
        seen, before = [], None
        while True:
            page = await store.calls.list(limit=3, before=before)
            seen += [row.call_sid for row in page.rows]
            await store.calls.begin(call(f"CB{len(seen)}", created_at=NOON + timedelta(hours=1)))
            if (before := page.before) is None:
                break
        assert seen == ["CA6", "CA5", "CA4", "CA3", "CA2", "CA1", "CA0"]


@quietly()
async def test_calls_are_listed_by_what_is_asked_for(database_url):
    async with opened(database_url) as store:
        await store.calls.begin(call("CA1", agent="A"))
        await store.calls.begin(call("CA2", agent="B", direction="outbound", from_number=OURS, to_number=CALLER))
        await store.calls.begin(call("CA3", agent="B", from_number="+15005550009", created_at=NOON + SECOND))
        await store.calls.status("CA3", "completed", NOON)

        async def listed(**wanted):
            return [row.call_sid for row in (await store.calls.list(CallFilter(**wanted))).rows]

        assert await listed() == ["CA3", "CA2", "CA1"]
        assert await listed(agent="B", direction="outbound") == ["CA2"]
        assert await listed(number=CALLER) == ["CA2", "CA1"]
        assert await listed(status="completed") == ["CA3"]
        assert await listed(since=NOON + SECOND) == ["CA3"]
        assert await listed(until=NOON + SECOND) == ["CA2", "CA1"]
        for wrong in ("", "x", "2026-03-14T12:00:00~CA1", "~"):
            with pytest.raises(MisuseError, match="before"):
                await store.calls.list(before=wrong)


@quietly()
async def test_past_calls_are_those_that_are_over_on_either_side(database_url):
    async with opened(database_url) as store:
        for number in range(4):
            await store.calls.begin(call(f"CA{number}", created_at=NOON + SECOND * number))
            if number != 2:
                await store.calls.status(f"CA{number}", "completed", NOON)
        assert [row.call_sid for row in await store.calls.past(CALLER)] == ["CA3", "CA1", "CA0"]
        assert [row.call_sid for row in await store.calls.past(OURS, limit=1)] == ["CA3"]
        assert await store.calls.past("+15005550009") == ()
        assert await store.calls.past("") == ()


@quietly()
async def test_unfinished_calls_are_those_whose_end_nobody_told(database_url):
    async with opened(database_url) as store:
        for number in range(4):
            await store.calls.begin(call(f"CA{number}", node=f"n{number % 2}", created_at=NOON + SECOND * number))
        await store.calls.finish("CA0", call_end())
        await store.calls.status("CA1", "completed", NOON)
        assert [row.call_sid for row in await store.calls.unfinished()] == ["CA1", "CA2", "CA3"]
        assert [row.call_sid for row in await store.calls.unfinished("n1")] == ["CA1", "CA3"]


def test_rows_do_not_show_numbers():
    shown = repr((call(), call_end(), TURNS))
    assert CALLER not in shown
    assert "CA1" in shown
