"""Which agent answers: found by its name, `MODULE:NAME`, as the AGENT setting gives it."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from realtime_bridge.agent import Agent
from telephony.settings import SettingsError


def load_agent(name: str) -> Agent:
    """Import `MODULE:NAME`, also from the current directory.

    Raises SettingsError when there is no such agent; an error inside the module comes through as it is.
    """
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as e:
        if e.name is None or not (module_name + ".").startswith(e.name + "."):
            raise  # the module is there, and lacks something itself
        raise SettingsError(f"AGENT: no module {e.name!r}, neither installed nor in {here}") from e
    found = getattr(module, attribute, None)
    if isinstance(found, Agent):
        return found
    agents = ", ".join(f"{module_name}:{key}" for key, value in vars(module).items() if isinstance(value, Agent))
    raise SettingsError(f"AGENT: {name} is no agent" + (f"; there is {agents}" if agents else ""))
