"""Copies of machines as they stand, which go their own way from there.

Why it exists: what must not be kept of a call is left out of its tape, and the tape must still replay. So from there on
the tape is that of a copy, which is told no more than the tape is.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
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
    copy: MachineT = pickle.loads(pickle.dumps(machine))  # noqa: S301 - our own, of a moment ago
    return copy
