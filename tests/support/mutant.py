"""The machines of a call with one line of them changed, to see whether somebody notices."""

import importlib
import importlib.abc
import importlib.util
import sys
from contextlib import contextmanager
from pathlib import Path

# What a replay runs and what runs it: imported anew, so that all of it knows the changed module.
AFRESH = (
    "realtime_bridge.audio", "realtime_bridge.session", "telephony.agent_audio", "telephony.bridge",
    "telephony.caller_audio", "telephony.holdback", "telephony.own_audio", "telephony.phone_audio", "telephony.playout",
    "telephony.records", "telephony.replay", "telephony.truncates",
)  # fmt: skip


@contextmanager
def mutant(module: str, line: str, changed: str):
    """`telephony.replay.verify`, in a program in which this line of a module reads otherwise.

    `line` and `changed`: part of the line, which must be the only one of its kind.
    """
    source = Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")
    assert source.count(line) == 1, f"{module} has {source.count(line)} lines with {line!r}"
    ours = {name for name in sys.modules if any(name == room or name.startswith(f"{room}.") for room in AFRESH)}
    assert module in ours | {module}
    before = {name: sys.modules.pop(name) for name in ours}
    finder = _Finder(module, source.replace(line, changed))
    sys.meta_path.insert(0, finder)
    try:
        yield importlib.import_module("telephony.replay.verify")
    finally:
        sys.meta_path.remove(finder)
        for name in [n for n in sys.modules if any(n == room or n.startswith(f"{room}.") for room in AFRESH)]:
            del sys.modules[name]
        sys.modules.update(before)
        for name, known in before.items():
            parent, _, child = name.rpartition(".")
            setattr(sys.modules[parent], child, known)


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    def __init__(self, module, source):
        self._module = module
        self._source = source

    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name == self._module else None

    def get_source(self, name):
        return self._source

    def is_package(self, name):
        return False
