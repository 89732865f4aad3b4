"""What the ledger knows of a phone it cannot see, told by hand; whole calls are in tests/simulation."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telephony.playout import BYTES_PER_MS, EARLY_MARK_BYTES, MARK_BYTES, ItemKey, PlayoutLedger

FIRST = ItemKey("resp_1", "item_1", 0)
SECOND = ItemKey("resp_1", "item_2", 0)


def say(ledger: PlayoutLedger, key: ItemKey, ms: int, now: float) -> None:
    """The model's audio of an item arrives and goes straight to the phone."""
    ledger.received(key, ms * BYTES_PER_MS)
    ledger.sent(key, ms * BYTES_PER_MS, now)


def heard_ms(ledger: PlayoutLedger, now: float) -> list[float]:
    return [item.heard_ms for item in ledger.items(now)]


def round_trip(ledger: PlayoutLedger, seconds: float, *, now: float, times: int = 5) -> None:
    """Marks to an idle phone come back after one round trip."""
    for _ in range(times):
        ledger.mark_echoed(ledger.mark_sent(now), now + seconds)


def test_audio_sent_to_an_idle_phone_plays_by_the_clock():
    ledger = PlayoutLedger()
    say(ledger, FIRST, 1000, now=10.0)
    assert heard_ms(ledger, 10.0) == [0]
    assert heard_ms(ledger, 10.25) == [250]
    assert heard_ms(ledger, 99.0) == [1000]


def test_items_play_one_after_another_however_early_they_were_sent():
    ledger = PlayoutLedger()
    say(ledger, FIRST, 400, now=0.0)
    say(ledger, SECOND, 400, now=0.01)
    assert heard_ms(ledger, 0.3) == [300, 0]
    assert heard_ms(ledger, 0.5) == [400, 100]


def test_a_model_slower_than_real_time_leaves_gaps_that_do_not_count_as_heard():
    ledger = PlayoutLedger()
    for n in range(4):
        say(ledger, FIRST, 200, now=n * 0.5)
    assert heard_ms(ledger, 1.55) == pytest.approx([650], abs=0.2)


def test_a_late_run_shows_in_its_marks():
    ledger = PlayoutLedger()
    round_trip(ledger, 0.080, now=0.0)
    say(ledger, FIRST, 200, now=1.0)
    name = ledger.mark_sent(1.0)
    say(ledger, FIRST, 2000, now=1.0)
    ledger.mark_echoed(name, 1.0 + 0.200 + 0.080 + 0.150)  # the phone started 150 ms late
    assert heard_ms(ledger, 2.0)[0] == pytest.approx(850, abs=1)


def test_an_overdue_mark_bounds_what_can_have_been_heard():
    ledger = PlayoutLedger()
    round_trip(ledger, 0.080, now=0.0)
    say(ledger, FIRST, 400, now=1.0)
    ledger.mark_sent(1.0)
    say(ledger, FIRST, 2000, now=1.1)
    assert heard_ms(ledger, 3.0)[0] < 520  # two seconds on, the mark at 400 ms has not come back


def test_a_phone_that_never_echoes_is_judged_by_the_clock():
    ledger = PlayoutLedger()
    say(ledger, FIRST, 400, now=0.0)
    ledger.mark_sent(0.0)
    say(ledger, FIRST, 2000, now=0.1)
    assert heard_ms(ledger, 1.0) == [1000]


def test_an_echoed_mark_is_certainly_heard():
    ledger = PlayoutLedger()
    say(ledger, FIRST, 1000, now=0.0)
    name = ledger.mark_sent(0.0)
    assert ledger.mark_echoed(name, 0.2)
    assert heard_ms(ledger, 0.2) == [1000]


def test_a_clear_returns_what_was_cut_and_where():
    ledger = PlayoutLedger()
    say(ledger, FIRST, 300, now=0.0)
    ledger.completed(FIRST)
    say(ledger, SECOND, 700, now=0.0)
    (cut,) = ledger.clear(0.5)
    assert (cut.key, cut.heard_ms, cut.sent_ms, cut.audio_ms) == (SECOND, 200, 700, 700)
    assert ledger.unplayed_ms(0.5) == 0
    assert ledger.clear(0.6) == ()


def test_an_item_the_model_has_not_finished_is_cut_even_when_all_of_it_so_far_was_heard():
    ledger = PlayoutLedger()
    say(ledger, FIRST, 300, now=0.0)
    (cut,) = ledger.clear(5.0)
    assert cut.heard_ms == 300


def test_marks_that_a_clear_threw_away_do_not_count_when_they_come_back():
    ledger = PlayoutLedger()
    say(ledger, FIRST, 5000, now=0.0)
    thrown_away = ledger.mark_sent(0.0)
    ledger.clear(0.1)
    say(ledger, SECOND, 1000, now=0.2)
    assert not ledger.mark_echoed(thrown_away, 0.25)
    assert heard_ms(ledger, 0.3) == pytest.approx([100], abs=0.2)


@pytest.mark.parametrize("name", ["", "m0", "m99", "somebody else's"])
def test_marks_nobody_sent_say_nothing(name):
    ledger = PlayoutLedger()
    say(ledger, FIRST, 1000, now=0.0)
    assert not ledger.mark_echoed(name, 0.5)
    assert heard_ms(ledger, 0.5) == [500]


def test_the_same_echo_twice_counts_once():
    ledger = PlayoutLedger()
    say(ledger, FIRST, 100, now=0.0)
    name = ledger.mark_sent(0.0)
    assert ledger.mark_echoed(name, 0.2)
    assert not ledger.mark_echoed(name, 0.9)


def test_marks_stand_close_at_a_run_s_start_and_never_more_than_200_ms_apart():
    ledger = PlayoutLedger()
    places = []
    left = 8000 * 3
    ledger.received(FIRST, left)
    while left:
        piece = min(left, ledger.bytes_until_mark(0.0))
        ledger.sent(FIRST, piece, 0.0)
        left -= piece
        if ledger.mark_is_due:
            places.append(ledger.sent_wire)
            ledger.mark_sent(0.0)
    steps = [b - a for a, b in zip([0, *places], places, strict=False)]
    assert steps[0] == EARLY_MARK_BYTES
    assert max(steps) == MARK_BYTES <= 200 * BYTES_PER_MS


def test_padding_at_an_item_s_end_is_none_of_its_audio():
    ledger = PlayoutLedger()
    ledger.received(FIRST, 100)
    ledger.sent(FIRST, 160, 0.0)
    ledger.completed(FIRST)
    begun, ended = ledger.advance(1.0)
    assert begun == FIRST
    assert (ended.key, ended.heard_ms) == (FIRST, 12.5)
    assert ledger.items(1.0) == ()


def test_the_filter_s_tail_is_never_claimed_as_audio_of_the_item():
    ledger = PlayoutLedger()
    ledger.received(FIRST, 100)
    ledger.sent(FIRST, 124, 0.0)
    (item,) = ledger.items(9.0)
    assert item.heard_ms == item.audio_ms == 12.5


def test_begin_and_end_of_each_item_are_told_once_and_foretold():
    ledger = PlayoutLedger()
    say(ledger, FIRST, 300, now=0.0)
    ledger.completed(FIRST)
    say(ledger, SECOND, 300, now=0.0)
    told = []
    now = 0.0
    while (at := ledger.next_change_at(now)) < 2:
        now = max(at, now + 0.001)
        for change in ledger.advance(now):
            what = "begins" if isinstance(change, ItemKey) else "ends"
            told.append((what, getattr(change, "key", change).item_id, round(now, 2)))
    assert told == [("begins", "item_1", 0.0), ("ends", "item_1", 0.3), ("begins", "item_2", 0.3)]


def test_played_spans_leave_out_what_a_clear_took_back():
    ledger = PlayoutLedger()
    say(ledger, FIRST, 1000, now=0.0)
    ledger.clear(0.25)
    say(ledger, SECOND, 100, now=0.5)
    spans = ledger.take_played(3.0)
    assert [(s.wire_start, s.wire_end, s.played_at) for s in spans] == [(0, 2000, 0.0), (8000, 8800, 0.5)]
    assert ledger.take_played(4.0) == []


def test_spans_wait_until_their_marks_are_back_unless_the_stream_is_over():
    ledger = PlayoutLedger()
    say(ledger, FIRST, 5000, now=0.0)
    assert [s.wire_end for s in ledger.take_played(2.0)] == [8000]
    assert [s.wire_end for s in ledger.take_played(2.0, final=True)] == [16000]


steps = st.lists(
    st.tuples(
        st.sampled_from(["send", "mark", "echo", "clear", "advance", "spans", "complete"]),
        st.integers(1, 4000),
        st.floats(0, 1.0, allow_nan=False),
    ),
    max_size=60,
)


@given(steps)
def test_whatever_happens_heard_never_exceeds_sent_nor_sent_what_was_received(story):
    ledger = PlayoutLedger()
    now, n, marks, wire_done = 0.0, 0, [], 0
    key = ItemKey("r", "i0", 0)
    for what, amount, wait in story:
        now += wait
        if what == "send":
            ledger.received(key, amount)
            ledger.sent(key, amount, now)
        elif what == "mark":
            marks.append(ledger.mark_sent(now))
        elif what == "echo" and marks:
            ledger.mark_echoed(marks[amount % len(marks)], now)
        elif what == "clear":
            for cut in ledger.clear(now):
                assert 0 <= cut.heard_ms <= cut.sent_ms <= cut.audio_ms
            n += 1
            key = ItemKey("r", f"i{n}", 0)
        elif what == "advance":
            ledger.advance(now)
            key = next((p.key for p in ledger.items(now)), ItemKey("r", f"i{(n := n + 1)}", 0))
        elif what == "complete":
            ledger.completed(key)
            n += 1
            key = ItemKey("r", f"i{n}", 0)
        for item in ledger.items(now):
            assert 0 <= item.heard_ms <= item.sent_ms <= item.audio_ms
        assert 0 <= ledger.heard_wire(now) <= ledger.sent_wire
        assert ledger.plays_until(now) >= now
        assert math.isfinite(ledger.round_trip_ms)
        for span in ledger.take_played(now) if what == "spans" else []:
            assert wire_done <= span.wire_start < span.wire_end <= ledger.sent_wire
            wire_done = span.wire_end
