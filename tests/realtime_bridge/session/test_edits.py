from hypothesis import given
from hypothesis import strategies as st

from realtime_bridge.session.edits import difference
from realtime_bridge.session.ids import Ids
from realtime_bridge.session.items import HistoryItem, message
from realtime_bridge.wire import client


def items(*names: str) -> tuple[HistoryItem, ...]:
    return tuple(message(name, "user", name) for name in names)


def edit(old, new, *, outputs=None, keep=(), absent=()):
    return difference(old, new, output_ids=outputs or {}, keep=frozenset(keep), absent=frozenset(absent), ids=Ids())


def written(made) -> list[tuple[str, ...]]:
    return [
        ("delete", e.item_id)
        if isinstance(e, client.ConversationItemDelete)
        else ("create", e.item.id, e.previous_item_id)
        for e in made.events
    ]


def test_nothing_to_do_is_nothing_sent():
    assert edit(items("a", "b"), items("a", "b")).events == ()


def test_an_item_left_out_is_deleted():
    assert written(edit(items("a", "b", "c"), items("a", "c"))) == [("delete", "b")]


def test_new_items_are_created_where_they_stand():
    assert written(edit(items("a", "b"), items("x", "a", "y", "b"))) == [("create", "x", "root"), ("create", "y", "a")]


def test_a_changed_item_is_deleted_and_created_under_a_new_id():
    made = edit(items("a", "b"), (message("a", "user", "changed"), *items("b")))
    assert written(made) == [("delete", "a"), ("create", "rb_item_1", "root")]
    assert [item.text for item in made.history] == ["changed", "b"]


def test_a_call_goes_with_its_result():
    call = HistoryItem(item_id="c", type="function_call", call_id="call", name="f", arguments="{}", output="done")
    made = edit((*items("a"), call), items("a"), outputs={"c": "out"})
    assert written(made) == [("delete", "c"), ("delete", "out")]
    back = edit(items("a"), (*items("a"), call))
    assert written(back) == [("create", "c", "a"), ("create", "rb_item_1", "c")]
    assert back.output_ids == {"c": "rb_item_1"}


def test_what_follows_a_call_stands_behind_its_result():
    call = HistoryItem(item_id="c", type="function_call", call_id="call", name="f", arguments="{}", output="done")
    made = edit((call,), (call, *items("b")), outputs={"c": "out"})
    assert written(made) == [("create", "b", "out")]


def test_a_call_that_waits_for_its_result_stays_where_it_was():
    call = HistoryItem(item_id="c", type="function_call", call_id="call", name="f", arguments="{}")
    made = edit((*items("a"), call, *items("b")), items("b"), keep={"c"})
    assert written(made) == [("delete", "a")]
    assert [item.item_id for item in made.history] == ["c", "b"]


def test_items_the_model_does_not_have_are_neither_deleted_nor_followed():
    made = edit(items("a", "ghost"), (*items("a"), *items("new")), absent={"ghost"})
    assert written(made) == [("create", "new", "a")]
    behind = edit(items("a", "ghost"), items("a", "ghost", "new"), absent={"ghost"})
    assert written(behind) == [("create", "new", "a")]


names = st.lists(st.sampled_from("abcdefgh"), unique=True)


@given(names, names, st.sets(st.sampled_from("abcdefgh")))
def test_deletes_and_creates_lead_from_one_history_to_the_other(old, new, changed):
    before = items(*old)
    after = tuple(message(n, "user", n + ("!" if n in changed else "")) for n in new)
    made = edit(before, after)
    model = [item.item_id for item in before]
    for event in made.events:
        if isinstance(event, client.ConversationItemDelete):
            model.remove(event.item_id)
        else:
            assert event.item.id not in model
            place = 0 if event.previous_item_id == "root" else model.index(event.previous_item_id) + 1
            model.insert(place, event.item.id)
    assert model == [item.item_id for item in made.history]
    assert [item.text for item in made.history] == [item.text for item in after]
