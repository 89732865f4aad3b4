"""The history: what was said on the line, in order, with what was heard of it.

Everything the model reports about items ends here, and everything the session adds. Methods return the events that tell
the program. An assistant's words stay as the model wrote them until the caller's ear decides: once an item is cut, its
words are those that were heard (`heard`), whatever the model reports later.
"""

from __future__ import annotations

import msgspec

from realtime_bridge.session.edits import Edit
from realtime_bridge.session.events import HistoryAdded, HistoryUpdated, SessionEvent
from realtime_bridge.session.heard import Lead, Spoken, heard_text
from realtime_bridge.session.items import HistoryItem, Role
from realtime_bridge.session.wire_items import joined, kind_of, merged, to_create, with_part
from realtime_bridge.transport.base import ItemCut
from realtime_bridge.wire import ContentPart, Item

Key = tuple[str, int]  # item id, content index


_GONE_MAX = 1024


class Conversation:
    """One conversation; survives the model sessions that carry it."""

    def __init__(self, *, keep_audio: bool = False) -> None:
        self._keep_audio = keep_audio
        self._items: dict[str, HistoryItem] = {}
        self._order: list[str] = []
        self._hidden: dict[str, str | None] = {}  # an item that is not shown -> the shown one it stands behind
        self._calls: dict[str, str] = {}  # call id -> item id
        self._made: set[str] = set()  # calls that are complete, by call id
        self._outputs: dict[str, str] = {}  # call's item id -> its result's item id
        self._spoken: dict[str, dict[int, Spoken]] = {}  # item id -> content index -> what is spoken there
        self._cuts: dict[Key, int] = {}  # heard ms
        self._lead = Lead()
        self._absent: set[str] = set()
        self._gone: dict[str, None] = {}  # deleted items, which no late event brings back
        self._retold: set[str] = set()  # items being deleted at the model only to be told anew
        self._told: set[str] = set()  # items that a fresh model session was told of; its echo of them says less

    @property
    def history(self) -> tuple[HistoryItem, ...]:
        return tuple(map(self._items.__getitem__, self._order))

    def get(self, item_id: str) -> HistoryItem | None:
        return self._items.get(item_id)

    def of_call(self, call_id: str) -> HistoryItem | None:
        return self._items.get(self._calls.get(call_id, ""))

    def spoken(self, item_id: str, content_index: int) -> Spoken | None:
        return self._spoken.get(item_id, {}).get(content_index)

    def ends_with_callers_words(self) -> bool:
        """Is the caller's turn the last, and known?"""
        last = self._items[self._order[-1]] if self._order else None
        return last is not None and last.role == "user" and bool(last.text)

    def output_of(self, response_id: str) -> str:
        """A response's words, as heard."""
        return joined(item for item in self.history if item.response_id == response_id)

    # -- what the model reports --

    def seen(
        self, item: Item, previous: str | None, *, agent: str | None = None, response_id: str | None = None
    ) -> list[SessionEvent]:
        """An item was added, changed, completed or retrieved; `agent` and `response_id` when a response made it."""
        if item.id is None:
            return []
        kind = kind_of(item)
        if item.id in self._told or item.id in self._gone:
            return []
        if kind is None:
            return self._seen_hidden(item, previous)
        known = self._items.get(item.id)
        made = known or HistoryItem(item_id=item.id, type=kind, status=item.status or "completed")
        made = merged(made, item, keep_audio=self._keep_audio)
        if response_id is not None:
            made = msgspec.structs.replace(made, response_id=response_id, agent=agent)
        made = self._as_heard(made)
        if made.call_id is not None:
            self._calls[made.call_id] = made.item_id
        if known is None:
            self._place(made, previous)
            return [HistoryAdded(item=made)]
        return self._changed(made) if made != known else []

    def deleted(self, item_id: str) -> list[SessionEvent]:
        if item_id in self._retold:
            self._retold.discard(item_id)
            return []
        self._hidden.pop(item_id, None)
        if item_id not in self._items:
            return []
        index = self._order.index(item_id)
        before = self._order[index - 1] if index else None
        for hidden, shown in self._hidden.items():
            if shown == item_id:
                self._hidden[hidden] = before
        self._order.pop(index)
        self._forget(item_id)
        gone = self._items.pop(item_id)
        if gone.call_id is not None:
            self._calls.pop(gone.call_id, None)
            self._made.discard(gone.call_id)
        self._outputs.pop(item_id, None)
        for index in self._spoken.pop(item_id, {}):
            self._cuts.pop((item_id, index), None)
        return [HistoryUpdated(history=self.history)]

    def transcribed(self, item_id: str, content_index: int, words: str, *, whole: bool) -> list[SessionEvent]:
        """What the caller said: a piece of it, or all."""
        if item_id in self._gone:
            return []
        item = self._items.get(item_id)
        added = item is None
        if item is None:
            item = HistoryItem(item_id=item_id, role="user", status="in_progress")
        part = _part(item, content_index, "input_audio")
        transcript = words if whole else (part.transcript or "") + words
        item = with_part(item, content_index, msgspec.structs.replace(part, transcript=transcript))
        if whole:
            item = msgspec.structs.replace(item, status="completed")
        if added:
            self._place(item, None)
            return [HistoryAdded(item=item)]
        return self._changed(item, tell=whole)

    def spoke(self, item_id: str, content_index: int, words: str, *, whole: bool) -> list[SessionEvent]:
        """A piece of an assistant's transcript, or all of it."""
        spoken = self._speaking(item_id, content_index)
        if whole:
            spoken.settle(words)
        else:
            spoken.add(words)
        return self._respoken(item_id, content_index, tell=whole)

    def wrote(self, item_id: str, content_index: int, words: str, *, whole: bool) -> list[SessionEvent]:
        """A piece of an assistant's typed text, or all of it."""
        item = self._items.get(item_id)
        if item is None:
            return []
        part = _part(item, content_index, "output_text")
        text = words if whole else (part.text or "") + words
        item = with_part(item, content_index, msgspec.structs.replace(part, text=text))
        return self._changed(item, tell=whole)

    def audio_received(self, item_id: str, content_index: int, audio_ms: int) -> None:
        spoken = self._speaking(item_id, content_index)
        if not spoken.stopped:
            spoken.audio_ms = max(spoken.audio_ms, audio_ms)

    def audio_complete(self, item_id: str, content_index: int) -> None:
        """The model has sent all of an item's audio (its transcript is complete before that)."""
        spoken = self.spoken(item_id, content_index)
        if spoken is not None and not spoken.complete and not spoken.stopped:
            spoken.complete = True
            self._lead.learn(spoken)

    # -- what the caller heard --

    def played(self, item_id: str, audio_ms: int) -> list[SessionEvent]:
        """Heard to its end."""
        item = self._items.get(item_id)
        if item is None or item.cut:
            return []
        return self._changed(msgspec.structs.replace(item, heard_ms=audio_ms))

    def cut(self, cut: ItemCut) -> list[SessionEvent]:
        """Heard in part only."""
        key = (cut.item_id, cut.content_index)
        self._cuts[key] = min(cut.heard_ms, self._cuts.get(key, cut.heard_ms))
        spoken = self._speaking(*key)
        spoken.audio_ms = max(spoken.audio_ms, cut.audio_ms)
        item = self._items.get(cut.item_id)
        if item is None:
            return []
        item = msgspec.structs.replace(item, status="incomplete")
        return self._changed(self._as_heard(item))

    def stopped(self, response_id: str) -> list[SessionEvent]:
        """A response was interrupted: no more is heard of what was still growing than has come of it by now."""
        events: list[SessionEvent] = []
        for said in self.history:
            if said.response_id != response_id:
                continue
            for index, spoken in self._spoken.get(said.item_id, {}).items():
                if not spoken.complete:
                    self._cuts.setdefault((said.item_id, index), spoken.audio_ms)
                    spoken.stopped = True
                    item = msgspec.structs.replace(self._items[said.item_id], status="incomplete")
                    events += self._changed(self._as_heard(item))
        return events

    def lost(self) -> list[SessionEvent]:
        """The model session is gone: what was still growing ends with the audio that had come, and a call that was not
        complete was not made."""
        events: list[SessionEvent] = []
        for growing in self.history:
            if growing.type == "function_call" and growing.call_id not in self._made:
                events += self.deleted(growing.item_id)
            if growing.status != "in_progress" or growing.type != "message":
                continue
            for index, spoken in self._spoken.get(growing.item_id, {}).items():
                self._cuts.setdefault((growing.item_id, index), spoken.audio_ms)
            events += self._changed(self._as_heard(msgspec.structs.replace(growing, status="incomplete")))
        return events

    # -- what the session adds --

    def call_made(self, call_id: str) -> None:
        """The model has made this call: it will be answered."""
        self._made.add(call_id)

    def add_message(self, item_id: str, role: Role, content: tuple[ContentPart, ...]) -> list[SessionEvent]:
        item = HistoryItem(item_id=item_id, role=role, content=content)
        self._place(item, None)
        return [HistoryAdded(item=item)]

    def answered(self, call_id: str, output_id: str, output: str) -> list[SessionEvent]:
        """A call has its result, told to the model in an item `output_id`."""
        item = self.of_call(call_id)
        if item is None:
            return []
        self._outputs[item.item_id] = output_id
        self._hidden[output_id] = self._order[-1]
        return self._changed(msgspec.structs.replace(item, output=output, status="completed"))

    def replace(self, edit: Edit) -> list[SessionEvent]:
        """The conversation is now this."""
        kept = {item.item_id for item in edit.history}
        for item_id in self._order:
            if item_id not in kept:
                self._forget(item_id)
        self._items = {item.item_id: item for item in edit.history}
        self._order = list(self._items)
        self._calls = {item.call_id: item.item_id for item in self._items.values() if item.call_id is not None}
        self._made &= self._calls.keys()
        self._outputs = dict(edit.output_ids)
        self._told &= self._items.keys()
        behind = {output: self._hidden.get(output) for output in self._outputs.values()}
        self._hidden = {
            out: shown if (shown := behind[out]) in self._items else item for item, out in self._outputs.items()
        }
        self._spoken = {item_id: parts for item_id, parts in self._spoken.items() if item_id in self._items}
        self._cuts = {key: heard for key, heard in self._cuts.items() if key[0] in self._items}
        return [HistoryUpdated(history=self.history)]

    def restored(self) -> list[Item]:
        """The items that tell the whole conversation, as heard, to a fresh model session."""
        items: list[Item] = []
        results: dict[str, list[Item]] = {}  # by the item behind which they stand
        for item in self.history:
            output_id = self._outputs.get(item.item_id)
            told = to_create(item, output_id)
            items += told[:1]
            behind = self._hidden.get(output_id or "") or item.item_id
            results.setdefault(behind, []).extend(told[1:])
            items += results.pop(item.item_id, [])
        items += [result for left in results.values() for result in left]
        self._told = {item.id for item in items if item.id is not None}
        self._absent = self._items.keys() - self._told
        return items

    @property
    def absent(self) -> frozenset[str]:
        """Items that the model does not have: there was nothing to tell of them when its session began."""
        return frozenset(self._absent)

    def was_told(self, item_id: str) -> bool:
        """Is this item, at the model, one that was restored? Such an item must never be truncated."""
        return item_id in self._told

    def retell(self, item_id: str) -> tuple[list[Item], str]:
        """A restored item has changed, and is to be deleted at the model and created anew: (as what, behind what)."""
        self._retold.add(item_id)
        index = self._order.index(item_id)
        before = next((known for known in reversed(self._order[:index]) if known not in self._absent), "root")
        items = to_create(self._items[item_id], None)
        if not items:
            self._absent.add(item_id)
        results = [output for output in self._outputs.values() if self._hidden.get(output) == before]
        return items, results[-1] if results else before

    def hide(self, item_id: str) -> None:
        """A note between the session and the model, which is no part of the history."""
        self._hidden[item_id] = self._order[-1] if self._order else None
        self._told.add(item_id)

    @property
    def output_ids(self) -> dict[str, str]:
        """Call's item id -> its result's item id."""
        return dict(self._outputs)

    # -- inside --

    def _speaking(self, item_id: str, content_index: int) -> Spoken:
        return self._spoken.setdefault(item_id, {}).setdefault(content_index, Spoken())

    def _seen_hidden(self, item: Item, previous: str | None) -> list[SessionEvent]:
        assert item.id is not None
        shown = self._shown(previous)
        if shown is not None or item.id not in self._hidden:
            self._hidden[item.id] = shown if shown is not None else (self._order[-1] if self._order else None)
        if item.type == "function_call_output" and item.call_id in self._calls:
            call = self._calls[item.call_id]
            self._outputs[call] = item.id
            if self._items[call].output is None and item.output is not None:
                return self._changed(msgspec.structs.replace(self._items[call], output=item.output))
        return []

    def _shown(self, item_id: str | None) -> str | None:
        return self._hidden.get(item_id, item_id) if item_id is not None else None

    def _place(self, item: HistoryItem, previous: str | None) -> None:
        """Behind `previous` where that is known, else at the end."""
        self._items[item.item_id] = item
        after = self._shown(previous)
        if after in self._items and after != item.item_id:
            self._order.insert(self._order.index(after) + 1, item.item_id)
        elif previous == "root":
            self._order.insert(0, item.item_id)
        else:
            self._order.append(item.item_id)

    def _forget(self, item_id: str) -> None:
        self._gone[item_id] = None
        while len(self._gone) > _GONE_MAX:
            self._gone.pop(next(iter(self._gone)))

    def _changed(self, item: HistoryItem, *, tell: bool = True) -> list[SessionEvent]:
        self._items[item.item_id] = item
        return [HistoryUpdated(history=self.history, item=item)] if tell else []

    def _respoken(self, item_id: str, content_index: int, *, tell: bool) -> list[SessionEvent]:
        item = self._items.get(item_id)
        if item is None:
            return []
        part = _part(item, content_index, "output_audio")
        words = self._spoken[item_id][content_index].text
        item = with_part(item, content_index, msgspec.structs.replace(part, transcript=words))
        return self._changed(self._as_heard(item), tell=tell)

    def _as_heard(self, item: HistoryItem) -> HistoryItem:
        """The item with the words that were heard, where it was cut; else with all words known of it."""
        unheard: list[str] = []
        heard_ms: int | None = None
        whole = True
        for index, spoken in self._spoken.get(item.item_id, {}).items():
            part = _part(item, index, "output_audio")
            if (item.item_id, index) not in self._cuts:
                if spoken.text and part.transcript != spoken.text and not part.transcript:
                    item = with_part(item, index, msgspec.structs.replace(part, transcript=spoken.text))
                continue
            heard_ms = self._cuts[item.item_id, index]
            if not spoken.text and part.transcript:
                spoken.settle(part.transcript)
            words = heard_text(spoken, heard_ms, self._lead.ms, self._lead.chars_per_s)
            unheard.append(spoken.text[len(words) :].strip())
            whole = whole and heard_ms >= spoken.audio_ms and not unheard[-1]
            item = with_part(item, index, msgspec.structs.replace(part, transcript=words))
        if heard_ms is None:
            return item
        rest = " ".join(words for words in unheard if words)
        return msgspec.structs.replace(item, cut=not whole, heard_ms=heard_ms, unheard=rest)


def _part(item: HistoryItem, index: int, kind: str) -> ContentPart:
    return item.content[index] if index < len(item.content) else ContentPart(type=kind)
