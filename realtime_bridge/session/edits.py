"""`update_history`: the difference between two histories, as deletes and creates of conversation items.

An item of the Realtime API cannot be changed, only deleted and created anew; a changed or moved item gets a new id.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import SequenceMatcher

import msgspec

from realtime_bridge.session.ids import Ids
from realtime_bridge.session.items import HistoryItem
from realtime_bridge.session.wire_items import to_create
from realtime_bridge.wire import ClientEvent, client


class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """`history`: what the conversation is afterwards. `output_ids`: call's item id -> its result's item id."""

    events: tuple[ClientEvent, ...]
    history: tuple[HistoryItem, ...]
    output_ids: dict[str, str]


def difference(
    old: tuple[HistoryItem, ...],
    new: Iterable[HistoryItem],
    *,
    output_ids: dict[str, str],
    keep: frozenset[str],
    absent: frozenset[str],
    ids: Ids,
) -> Edit:
    """What to send so that `old` becomes `new`. Items in `keep` (calls that still wait for their result) stay, even
    where `new` leaves them out or changes them: their answer must find its question. The model has none of `absent`."""
    wanted = _with_kept(old, list(new), keep)
    before = [_key(item) for item in old]
    after = [_key(item) for item in wanted]
    events: list[ClientEvent] = []
    history: list[HistoryItem] = []
    outputs = dict(output_ids)
    previous = "root"
    taken = {item.item_id for item in old}
    for operation, i1, i2, j1, j2 in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if operation == "equal":
            history += old[i1:i2]
            there = [item.item_id for item in old[i1:i2] if item.item_id not in absent]
            previous = outputs.get(there[-1], there[-1]) if there else previous
            continue
        for item in old[i1:i2]:
            if item.item_id in absent:
                continue
            events.append(client.ConversationItemDelete(item_id=item.item_id))
            if item.item_id in outputs:
                events.append(client.ConversationItemDelete(item_id=outputs.pop(item.item_id)))
        for item in wanted[j1:j2]:
            fresh = item
            if not item.item_id or item.item_id in taken:
                fresh = msgspec.structs.replace(item, item_id=ids.new("item"))
            taken.add(fresh.item_id)
            if fresh.output is not None and fresh.type == "function_call":
                outputs[fresh.item_id] = ids.new("item")
            for wire in to_create(fresh, outputs.get(fresh.item_id)):
                events.append(client.ConversationItemCreate(item=wire, previous_item_id=previous))
                assert wire.id is not None
                previous = wire.id
            history.append(fresh)
    return Edit(events=tuple(events), history=tuple(history), output_ids=outputs)


def _with_kept(old: tuple[HistoryItem, ...], wanted: list[HistoryItem], keep: frozenset[str]) -> list[HistoryItem]:
    """`wanted`, with every item of `keep` in it as it was; one that was left out stands behind all that stood before it."""
    known = {item.item_id: item for item in old}
    result = [known[item.item_id] if item.item_id in keep else item for item in wanted]
    for index, item in enumerate(old):
        if item.item_id in keep and all(item.item_id != other.item_id for other in result):
            before = {other.item_id for other in old[:index]}
            place = max((n + 1 for n, other in enumerate(result) if other.item_id in before), default=0)
            result.insert(place, item)
    return result


def _key(item: HistoryItem) -> bytes:
    return msgspec.json.encode(item)
