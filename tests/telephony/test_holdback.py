"""Audio kept back for guardrails: let go when released or overdue, always in order."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from telephony.holdback import Holdback
from telephony.playout import ItemKey

FIRST, SECOND = ItemKey("r1", "i1", 0), ItemKey("r2", "i2", 0)


def taken(holdback, now):
    return [piece.audio for piece in holdback.take(now)]


def test_audio_waits_until_its_budget_is_spent():
    holdback = Holdback(500)
    assert (bool(holdback), holdback.due_at) == (False, inf)
    holdback.hold(FIRST, b"a", 100, 10.0)
    holdback.hold(FIRST, b"b", 200, 10.2)
    assert holdback
    assert holdback.due_at == 10.5
    assert taken(holdback, 10.4) == []
    assert taken(holdback, 10.5) == [b"a"]
    assert holdback.due_at == 10.7
    assert taken(holdback, 99.0) == [b"b"]
    assert not holdback


def test_audio_goes_as_far_as_it_is_released():
    holdback = Holdback(5000)
    for n in range(1, 4):
        holdback.hold(FIRST, bytes([n]), 100 * n, 0.0)
    holdback.release("i1", 0, 250)
    assert taken(holdback, 0.1) == [b"\1", b"\2"]
    holdback.release("i1", 0, 100)  # what was released stays so
    holdback.hold(FIRST, b"\4", 240, 0.1)
    assert taken(holdback, 0.2) == []
    holdback.release("i1", 0, None)
    assert taken(holdback, 0.2) == [b"\3", b"\4"]
    holdback.hold(FIRST, b"\5", 9999, 0.2)
    assert taken(holdback, 0.2) == [b"\5"], "and what still comes of it"


def test_a_piece_that_waits_keeps_those_behind_it_waiting():
    holdback = Holdback(5000)
    holdback.hold(FIRST, b"a", 100, 0.0)
    holdback.hold(SECOND, b"b", 100, 0.0)
    holdback.release("i2", 0, None)
    assert taken(holdback, 1.0) == []
    holdback.release("i1", 0, None)
    assert taken(holdback, 1.0) == [b"a", b"b"]


def test_the_end_of_an_item_goes_with_its_last_audio():
    holdback = Holdback(5000)
    holdback.hold(FIRST, b"a", 100, 0.0)
    holdback.hold(FIRST, None, 100, 0.0)
    assert taken(holdback, 0.1) == []
    holdback.release("i1", 0, 100)
    assert taken(holdback, 0.1) == [b"a", None]


def test_a_response_that_is_dropped_frees_the_way_for_the_next():
    holdback = Holdback(5000)
    holdback.hold(FIRST, b"a", 100, 0.0)
    holdback.hold(SECOND, b"b", 100, 0.0)
    holdback.release("i2", 0, None)
    holdback.drop("r1")
    assert taken(holdback, 0.1) == [b"b"]
    holdback.hold(SECOND, b"c", 200, 0.2)
    holdback.drop()
    assert (bool(holdback), taken(holdback, 99.0)) == (False, [])


KEYS = st.sampled_from([ItemKey(f"r{n}", f"i{n}", part) for n in range(3) for part in range(2)])
STEPS = st.one_of(
    st.tuples(st.just("hold"), KEYS, st.integers(0, 5000)),
    st.tuples(st.just("release"), KEYS, st.none() | st.integers(0, 5000)),
    st.tuples(st.just("drop"), KEYS, st.none()),
    st.tuples(st.just("wait"), KEYS, st.integers(0, 700)),
)


@given(st.lists(STEPS, max_size=60))
def test_pieces_go_in_order_each_once_and_none_later_than_its_budget(steps):
    holdback, now, number = Holdback(400), 0.0, 0
    held: dict[int, float] = {}  # piece -> when it came
    gone: list[int] = []
    for what, key, value in steps:
        if what == "hold":
            number += 1
            holdback.hold(key, number.to_bytes(2, "big"), value, now)
            held[number] = now
        elif what == "release":
            holdback.release(key.item_id, key.content_index, value)
        elif what == "drop":
            before = {int.from_bytes(p.audio, "big"): p.key.response_id for p in holdback._held}
            holdback.drop(key.response_id)
            for piece, response_id in before.items():
                if response_id == key.response_id:
                    del held[piece]
        else:
            now += value / 1000
        for piece in holdback.take(now):
            name = int.from_bytes(piece.audio, "big")
            gone.append(name)
            del held[name]
        assert all(now < came + 0.4 for came in held.values())
        assert holdback.due_at >= now
    assert gone == sorted(set(gone))
    assert len(holdback._held) == len(held)
