"""Agents by their names."""

import sys

import pytest

from realtime_bridge.agent import Agent
from realtime_bridge.errors import MisuseError
from telephony.agents import PhoneAgent, load_agent
from telephony.settings import SettingsError


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of a fresh name in the current directory."""
    name = f"agents_of_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(
        "from realtime_bridge.agent import Agent\nfrom telephony import PhoneAgent\n"
        "from telephony.steering.control_settings import ControlSettings, SilenceSettings\n"
        "front_desk = Agent(name='Front desk')\nnumber = 5\n"
        "how = ControlSettings(silence=SilenceSettings(after_s=20))\n"
        "night_desk = PhoneAgent(front_desk, record=False, recording_notice='', steering=how)\n"
    )
    (tmp_path / f"{name}_broken.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    return name


def test_an_agent_is_found_in_the_current_directory(module):
    found = load_agent(f"{module}:front_desk")
    assert found == PhoneAgent(found.agent)
    assert isinstance(found.agent, Agent)
    assert found.name == "Front desk"


def test_an_agent_may_bring_its_own_ways(module):
    found = load_agent(f"{module}:night_desk")
    assert (found.name, found.record, found.recording_notice) == ("Front desk", False, "")
    assert found.steering.silence.after_s == 20
    with pytest.raises(MisuseError, match="expected an Agent, not PhoneAgent"):
        PhoneAgent(found)
    with pytest.raises(MisuseError, match="recording_notice: at most"):
        PhoneAgent(found.agent, recording_notice="x" * 501)


def test_what_is_no_agent_is_told_with_what_there_is(module):
    for name in ("number", "missing"):
        with pytest.raises(
            SettingsError, match=f"{module}:{name} is no agent; there is {module}:front_desk, {module}:night_desk"
        ):
            load_agent(f"{module}:{name}")


def test_a_missing_module_is_told_and_one_that_is_broken_is_shown(module):
    with pytest.raises(SettingsError, match="no module 'nowhere'"):
        load_agent("nowhere:agent")
    with pytest.raises(SettingsError, match=f"no module '{module}.inner'"):
        load_agent(f"{module}.inner:agent")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        load_agent(f"{module}_broken:agent")
