"""Which agent answers, and how its calls are recorded and steered.

Found by its name, `MODULE:NAME`, as the settings AGENT and AGENTS give it: an `Agent`, or a `PhoneAgent` around it for
calls that are to be unlike the settings' calls.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from realtime_bridge.agent import Agent
from realtime_bridge.errors import MisuseError
from telephony.settings import NOTICE_CHARS_MAX, Settings, SettingsError
from telephony.steering.control_settings import ControlSettings


@dataclass(frozen=True, slots=True)
class PhoneAgent:
    """An agent as the phone server has it. What is None is as the server's settings say.

    `record`: whether its calls are recorded, unless whoever placed the call said otherwise. `recording_notice`: what
    callers are told first when theirs is; "off" for nothing. `steering`: silence, keys, goodbyes and so on; the server's
    own limits (CALL_SECONDS_MAX, ALLOWED_COUNTRIES) hold all the same.
    """

    agent: Agent
    _: KW_ONLY
    record: bool | None = None
    recording_notice: str | None = None
    steering: ControlSettings | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.agent, Agent):
            raise MisuseError(f"PhoneAgent.agent: expected an Agent, not {type(self.agent).__name__}")
        if self.recording_notice is not None and len(self.recording_notice) > NOTICE_CHARS_MAX:
            raise MisuseError(f"PhoneAgent.recording_notice: at most {NOTICE_CHARS_MAX} characters")

    @property
    def name(self) -> str:
        return self.agent.name

    @classmethod
    def of(cls, agent: Agent | PhoneAgent) -> PhoneAgent:
        return agent if isinstance(agent, PhoneAgent) else cls(agent)


class AgentDirectory:
    """The agents of one server: by name, and by the number that was called. Calls reach no others."""

    def __init__(
        self,
        default: Agent | PhoneAgent,
        by_name: Mapping[str, Agent | PhoneAgent] | None = None,
        by_number: Mapping[str, str] | None = None,
    ) -> None:
        """`by_number`: E.164 to the name of an agent in `by_name`. The default agent's name is ''."""
        self._by_name = {name: PhoneAgent.of(agent) for name, agent in {"": default, **(by_name or {})}.items()}
        self._by_number = dict(by_number or {})
        for number, name in self._by_number.items():
            if name not in self._by_name:
                raise MisuseError(f"the agent for {number} is {name!r}, which is not in the directory")

    @property
    def default(self) -> PhoneAgent:
        return self._by_name[""]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name in self._by_name if name)

    def name_for(self, number: str) -> str:
        """Who answers calls to this number: '' for the default agent."""
        return self._by_number.get(number, "")

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def get(self, name: str) -> PhoneAgent:
        """Raises MisuseError for a name that is not in the directory."""
        found = self._by_name.get(name)
        if found is None:
            known = ", ".join(self.names) or "none but the default"
            raise MisuseError(f"no agent {name!r} is in this server's directory ({known}); see AGENT and AGENTS")
        return found


def load_directory(
    settings: Settings, agent: Agent | PhoneAgent | None, *, otherwise: Agent | PhoneAgent
) -> AgentDirectory:
    """The agents that the settings name. By default answers `agent`, else the one of AGENT, else `otherwise`.

    Raises SettingsError.
    """
    by_name: dict[str, Agent | PhoneAgent] = {}
    by_number: dict[str, str] = {}
    for entry in settings.agents:
        number, _, name = entry.rpartition("=")
        by_name[name] = load_agent(name)
        if number:
            by_number[number] = name
    if agent is None and settings.agent is not None:
        agent = by_name[settings.agent] = load_agent(settings.agent)
    return AgentDirectory(agent or otherwise, by_name, by_number)


def load_agent(name: str) -> PhoneAgent:
    """Import `MODULE:NAME`, an `Agent` or a `PhoneAgent`, also from the current directory.

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
    if isinstance(found, Agent | PhoneAgent):
        return PhoneAgent.of(found)
    kinds = (Agent, PhoneAgent)
    agents = ", ".join(f"{module_name}:{key}" for key, value in vars(module).items() if isinstance(value, kinds))
    raise SettingsError(f"AGENT: {name} is no agent" + (f"; there is {agents}" if agents else ""))
