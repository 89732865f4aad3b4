"""The session's configuration as one `session.update`: the agent's part, the program's, and the transport's.

"Default is PCM: every session.update must carry both formats, or a hand-off turns the line to static": so every update
is whole, and what an earlier agent had set and the next one does not is put back to the API's default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from realtime_bridge.session.specs import AgentSpec, HandoffSpec, ToolSpec

# Defaults as documented in openai/types/realtime/realtime_session_create_request.py.
_DEFAULTS: dict[str, Any] = {
    "output_modalities": ["audio"],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "truncation": "auto",
}
_FIRST_ONLY = ("model", "tracing")  # may not change, or not be changed once on


class SessionConfig:
    """Builds updates, and remembers the voice: "Voice cannot be changed during the session once the model has responded
    with audio at least once" (openai/types/realtime/realtime_audio_config_output.py)."""

    def __init__(self, program: Mapping[str, Any], transport: Mapping[str, Any]) -> None:
        self._program = dict(program)
        self._transport = dict(transport)
        self._last: dict[str, Any] = {}
        self._voice: Any = None
        self._frozen = False

    def freeze_voice(self) -> None:
        """Audio was heard: the voice stays."""
        self._frozen = True

    def fresh_session(self) -> None:
        """A new model session knows nothing of the last one; its voice is still the one the caller knows."""
        self._last = {}

    def update(self, agent: AgentSpec) -> tuple[dict[str, Any], str | None]:
        """(the `session` of a `session.update`, a warning about a voice that could not be given, or None)."""
        session = merge({"type": "realtime"}, agent.settings)
        session = merge(merge(session, self._program), self._transport)
        session["instructions"] = agent.instructions
        session["tools"] = tool_definitions(agent)
        if agent.prompt is not None:
            session["prompt"] = agent.prompt
        warning = self._set_voice(session, agent)
        self._put_back(session)
        if self._last:
            for field in _FIRST_ONLY:
                session.pop(field, None)
        self._last = session
        return session, warning

    def _set_voice(self, session: dict[str, Any], agent: AgentSpec) -> str | None:
        given = session.get("audio", {}).get("output", {}).get("voice")
        wanted = given if given is not None else agent.voice
        voice, warning = wanted, None
        if self._frozen:
            voice = self._voice
            if wanted is not None and wanted != self._voice:
                warning = f"the voice cannot change once audio was heard: {agent.name} speaks with the first one"
        if voice is not None:
            merged = merge(session, {"audio": {"output": {"voice": voice}}})
            session["audio"] = merged["audio"]
        elif "audio" in session:
            session["audio"].get("output", {}).pop("voice", None)
        self._voice = voice
        return warning

    def _put_back(self, session: dict[str, Any]) -> None:
        for field, default in _DEFAULTS.items():
            if field not in session and (field in self._last or field in ("output_modalities", "tool_choice")):
                session[field] = default
        if "prompt" in self._last and "prompt" not in session:
            session["prompt"] = None
        if "speed" in self._last.get("audio", {}).get("output", {}):
            output = session.setdefault("audio", {}).setdefault("output", {})
            output.setdefault("speed", 1.0)


def tool_definitions(agent: AgentSpec) -> list[dict[str, Any]]:
    """`session.tools`: functions, hand-offs (functions too) and MCP servers, in the order they were declared."""
    offered: tuple[ToolSpec | HandoffSpec, ...] = (*agent.tools, *agent.handoffs)
    functions = [
        {"type": "function", "name": t.name, "description": t.description, "parameters": t.parameters} for t in offered
    ]
    return [*functions, *(server.definition for server in agent.mcp)]


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """A new dict: `over` wins, objects merge field by field, except those whose `type` differs, which are replaced.

    A `turn_detection` of another type must not inherit the fields of the first.
    """
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        if isinstance(known, Mapping) and isinstance(value, Mapping) and _same_type(known, value):
            merged[key] = merge(known, value)
        elif isinstance(value, Mapping):
            merged[key] = merge({}, value)
        else:
            merged[key] = value
    return merged


def _same_type(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    return "type" not in a or "type" not in b or a["type"] == b["type"]
