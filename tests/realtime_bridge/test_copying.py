"""Copies of machines: as they stand, and on their own from there."""

from random import Random

import pytest

from realtime_bridge.audio.transcode import transcoder
from realtime_bridge.copying import HandlerTable, copy_of, is_same


class Counter(HandlerTable):
    def __init__(self):
        self.counts = {}
        self._handlers = self._table()

    def _table(self):
        return {str: lambda name: self.counts.update({name: self.counts.get(name, 0) + 1})}

    def handle(self, event):
        self._handlers[type(event)](event)


def test_a_copy_goes_its_own_way():
    counter = Counter()
    counter.handle("a")
    copy = copy_of(counter)
    assert is_same(counter, copy)
    copy.handle("b")
    assert (counter.counts, copy.counts) == ({"a": 1}, {"a": 1, "b": 1})
    assert not is_same(counter, copy)
    counter.handle("b")
    assert is_same(counter, copy)


def test_what_might_still_know_the_original_cannot_be_copied():
    counter = Counter()
    counter.counts["knows"] = lambda: counter
    with pytest.raises(AttributeError, match="local object"):
        copy_of(counter)


def test_texts_are_shared():
    text = b"not interned".decode()
    assert copy_of([text])[0] is text
    assert is_same([text], [b"not interned".decode()])


@pytest.mark.parametrize("audio", ["pcm", "pcmu"])
def test_a_copied_filter_goes_on_where_it_was(audio):
    noise = Random(7)
    original = transcoder(audio)
    for _ in range(5):
        original.to_model(noise.randbytes(160))
        original.to_phone(noise.randbytes(481))
    copy = copy_of(original)
    other = transcoder(audio)
    other.to_model(noise.randbytes(160))
    assert audio == "pcmu" or not is_same(original, other)
    for size in (160, 7, 3000):
        sound = noise.randbytes(size)
        assert copy.to_model(sound) == original.to_model(sound)
        assert copy.to_phone(sound) == original.to_phone(sound)
    assert is_same(original, copy)
