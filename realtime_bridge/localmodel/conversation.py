"""The conversation: its items in order, with the audio that clients may fetch, cut and delete.

Two readers, two views. Clients see items as the API shows them. The brain reads words: of the caller what was
recognised, whether or not the client asked for transcripts; of the assistant what it said up to where it was cut, as a
real model would still hear it, though the API drops that transcript.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import msgspec
import pybase64

from realtime_bridge.localmodel.formats import FormatName, bytes_per_ms
from realtime_bridge.localmodel.refusals import Refusal
from realtime_bridge.wire import ContentPart, Item
from realtime_bridge.wire.items import ItemStatus


@dataclass(slots=True)
class Part:
    """One content part. `sound` is there for audio, even after its bytes were let go."""

    type: str
    text: str | None = None
    transcript: str | None = None  # as clients see it
    image_url: str | None = None
    sound: Sound | None = None
    words: str | None = None  # recognised speech, for the brain; None: not known (yet)

    def shown(self, *, with_audio: bool = False) -> ContentPart:
        audio = pybase64.b64encode(self.sound.audio).decode() if with_audio and self.sound else None
        transcript = self.transcript
        if transcript is None and self.type == "input_audio":
            transcript = (
                ""  # there are clients that take no such part without the field (the Agents SDK for JavaScript)
            )
        return ContentPart(type=self.type, text=self.text, transcript=transcript, image_url=self.image_url, audio=audio)

    def read(self) -> ContentPart:
        transcript = self.words if self.type == "input_audio" else self.transcript
        if self.sound and self.sound.is_cut:
            transcript = self.sound.words_heard()
        return ContentPart(type=self.type, text=self.text, transcript=transcript, image_url=self.image_url)


@dataclass(slots=True)
class Sound:
    """Audio of one part, and where in it which words are."""

    format: FormatName
    audio: bytearray = field(default_factory=bytearray)
    length_bytes: int = 0  # stays when `audio` is let go
    is_cut: bool = False
    _spoken: list[tuple[str, int, int]] = field(default_factory=list)  # words, first byte, bytes of all of their audio

    @property
    def ms(self) -> int:
        """Rounded up, as clients round that truncate at the very end."""
        return ceil(self.length_bytes / bytes_per_ms(self.format))

    def say(self, words: str, audio_bytes: int) -> None:
        """The audio that follows says `words`, and will be this long."""
        self._spoken.append((words, self.length_bytes, audio_bytes))

    def extend(self, audio: bytes) -> None:
        if not self.is_cut:  # cut while still being generated: the client wants no more of it
            self.audio += audio
            self.length_bytes += len(audio)

    def cut(self, end_ms: int) -> None:
        self.length_bytes = min(self.length_bytes, end_ms * bytes_per_ms(self.format))
        del self.audio[self.length_bytes :]
        self.is_cut = True

    def words_heard(self) -> str:
        """Whole words, taking each sentence to be spoken at an even pace."""
        heard: list[str] = []
        for words, begin, audio_bytes in self._spoken:
            share = (self.length_bytes - begin) / audio_bytes if audio_bytes else 1.0
            each = words.split()
            heard += each[: int(len(each) * min(max(share, 0.0), 1.0))]
        return " ".join(heard)


@dataclass(slots=True)
class Entry:
    """One item. `base` holds what never changes: everything but content and status."""

    base: Item
    status: ItemStatus
    parts: list[Part] = field(default_factory=list)

    @property
    def id(self) -> str:
        assert self.base.id is not None
        return self.base.id

    def shown(self, *, with_audio: bool = False) -> Item:
        """As clients see it."""
        return self._item(tuple(part.shown(with_audio=with_audio) for part in self.parts))

    def read(self) -> Item:
        """As the brain reads it."""
        return self._item(tuple(part.read() for part in self.parts))

    def _item(self, content: tuple[ContentPart, ...]) -> Item:
        changes: dict[str, Any] = {"status": self.status}
        if self.base.type == "message":
            changes["content"] = content
        return msgspec.structs.replace(self.base, **changes)


class Conversation:
    """Bounded: beyond `items_max` the oldest item is forgotten, beyond `audio_bytes_max` the oldest audio."""

    def __init__(self, *, items_max: int, audio_bytes_max: int) -> None:
        self._items_max = items_max
        self._audio_bytes_max = audio_bytes_max
        self._entries: dict[str, Entry] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    @property
    def last_id(self) -> str | None:
        return next(reversed(self._entries), None)

    def find(self, item_id: str) -> Entry | None:
        return self._entries.get(item_id)

    def before(self, item_id: str) -> str | None:
        """The id of the item before this one."""
        ids = list(self._entries)
        at = ids.index(item_id)
        return ids[at - 1] if at else None

    def add(self, entry: Entry, after: str | None = None) -> str | None:
        """Put `entry` behind the item `after` ("root": first; None: last). Returns the id of the item before it.

        Raises Refusal for an id that is taken and for an unknown `after`.
        """
        if entry.id in self._entries:
            message = f"Error adding item: an item with id '{entry.id}' already exists."
            raise Refusal(message, code="item_create_duplicate_item_id")
        ids = list(self._entries)
        if not after:
            at = len(ids)
        elif after == "root":
            at = 0
        elif after in self._entries:
            at = ids.index(after) + 1
        else:
            message = f"Error adding item: the previous item with id '{after}' does not exist."
            raise Refusal(message, code="item_create_invalid_previous_item_id")
        self._entries[entry.id] = entry
        if at < len(ids):
            ids.insert(at, entry.id)
            self._entries = {item_id: self._entries[item_id] for item_id in ids}
        self._forget()
        return ids[at - 1] if at else None

    def retrieve(self, item_id: str) -> Item:
        """The whole item, with its audio. Raises Refusal."""
        return self._existing(item_id, "retrieving", "item_retrieve_invalid_item_id").shown(with_audio=True)

    def delete(self, item_id: str) -> None:
        """Raises Refusal."""
        self._existing(item_id, "deleting", "item_delete_invalid_item_id")
        del self._entries[item_id]

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> None:
        """Cut an assistant's audio, and drop its transcript. Raises Refusal."""
        entry = self._entries.get(item_id)
        if entry is None:
            raise Refusal(f"Item with item_id not found: {item_id}", code="item_truncate_invalid_item_id")
        spoken = entry.parts[0].sound if entry.parts and entry.base.role == "assistant" else None
        if spoken is None or not (spoken.length_bytes or spoken.is_cut):
            raise Refusal("Only model output audio messages can be truncated", code="unsupported_content_type")
        if content_index != 0:
            message = f"Invalid 'content_index': item '{item_id}' has no content part {content_index}."
            raise Refusal(message, code="invalid_value", param="content_index")
        if audio_end_ms < 0:
            message = "Invalid 'audio_end_ms': integer below minimum value. Expected a value >= 0."
            raise Refusal(message, code="integer_below_min_value", param="audio_end_ms")
        if audio_end_ms > spoken.ms:
            message = f"Audio content of {spoken.ms}ms is already shorter than {audio_end_ms}ms"
            raise Refusal(message, code="invalid_value")
        spoken.cut(audio_end_ms)
        entry.parts[0].transcript = None

    def _existing(self, item_id: str, doing: str, code: str) -> Entry:
        entry = self._entries.get(item_id)
        if entry is None:
            raise Refusal(f"Error {doing} item: the item with id '{item_id}' does not exist.", code=code)
        return entry

    def _forget(self) -> None:
        while len(self._entries) > self._items_max:
            del self._entries[next(iter(self._entries))]
        sounds = [part.sound for entry in self for part in entry.parts if part.sound and part.sound.audio]
        excess = sum(len(sound.audio) for sound in sounds) - self._audio_bytes_max
        for sound in sounds:
            if excess <= 0:
                break
            excess -= len(sound.audio)
            sound.audio = bytearray()
