"""Copies of machines as they stand, which go their own way from there.

Why it exists: what must not be kept of a call is left out of its tape, and the tape must still replay. So from there on
the tape is that of a copy, which is told no more than the tape is.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, TypeVar

MachineT = TypeVar("MachineT")


class HandlerTable:
    """A machine, or a part of one, whose `_handlers` are its `_table`. They know the machine, so a copy makes its own."""

    def _table(self) -> Mapping[type, Callable[..., Any]]:
        raise NotImplementedError

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_handlers"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__["_handlers"] = self._table()


def copy_of(machine: MachineT) -> MachineT:
    """It shares nothing with the original: what cannot be taken along whole (a function that knows something) is an error.

    Raises what `pickle` raises then. Takes about a millisecond.
    """
    data, texts = BytesIO(), _Texts()
    _Pickler(data, texts).dump(machine)
    data.seek(0)
    copy: MachineT = _Unpickler(data, texts).load()
    return copy


def is_same(machine: MachineT, other: MachineT) -> bool:
    """Are they in the same state? Not so where that cannot be told from the order in which they are written down.

    Raises as `copy_of` does, and takes as long.
    """
    known: dict[str, int] = {}
    return _written(machine, known) == _written(other, known)


def _written(machine: object, known: dict[str, int]) -> bytes:
    data = BytesIO()
    _Comparer(data, known).dump(machine)
    return data.getvalue()


class _Comparer(pickle.Pickler):
    """Strings are what they say, whether they are one object or two."""

    def __init__(self, data: BytesIO, known: dict[str, int]) -> None:
        super().__init__(data, protocol=pickle.HIGHEST_PROTOCOL)
        self._known = known

    def persistent_id(self, obj: Any) -> int | None:
        return self._known.setdefault(obj, len(self._known)) if type(obj) is str else None


class _Texts:
    """Strings, which copy and original may share. They must: msgspec leaves out a default only where it is that very one."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}  # by what they are, not by what they say
        self.texts: list[str] = []


class _Pickler(pickle.Pickler):
    def __init__(self, data: BytesIO, known: _Texts) -> None:
        super().__init__(data, protocol=pickle.HIGHEST_PROTOCOL)
        self._known = known

    def persistent_id(self, obj: Any) -> int | None:
        if type(obj) is not str:
            return None
        number = self._known.numbers.setdefault(id(obj), len(self._known.texts))
        if number == len(self._known.texts):
            self._known.texts.append(obj)
        return number


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: BytesIO, known: _Texts) -> None:
        super().__init__(data)
        self._known = known

    def persistent_load(self, pid: int) -> str:
        return self._known.texts[pid]
