"""A session, written down: its inputs, one JSON record each; what it said to them; and the session run again from them.

A record is what `SessionMachine.handle` was given. The first is the `Opening`, which the machine is made of. What a
secret is (the credentials of hosted MCP servers) is not written, neither of inputs nor of commands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar, Union, get_args

import msgspec

from realtime_bridge.errors import ProtocolError
from realtime_bridge.session import inputs
from realtime_bridge.session.commands import Command, Emit, Send
from realtime_bridge.session.events import HistoryUpdated, TransportEventSeen
from realtime_bridge.session.inputs import Input
from realtime_bridge.session.items import HistoryItem
from realtime_bridge.session.machine import SessionMachine
from realtime_bridge.session.specs import AgentSpec, SessionSettings
from realtime_bridge.wire import UnknownEvent, client, server

_SECRET = "(not recorded)"  # noqa: S105 -- it stands in for one
_Configuring = TypeVar(
    "_Configuring",
    bound=server.SessionCreated | server.SessionUpdated | client.SessionUpdate | client.ResponseCreate,
)


class Opening(msgspec.Struct, frozen=True, kw_only=True, tag="opening"):
    """What a session began with."""

    agent: AgentSpec
    settings: SessionSettings


Record: TypeAlias = Opening | Input


class SessionTap(Protocol):
    """Sees what a session's core is given and what it says, as it happens: for recordings. Must not raise."""

    def session_made(self, machine: SessionMachine) -> None:
        """The core itself: to be copied, not to be fed. Before everything else."""
        ...

    def session_input(self, record: Record, now: float) -> None:
        """Before the core is told. `now`: as the core is told, monotonic seconds."""
        ...

    def session_commands(self, commands: Sequence[Command], now: float) -> None:
        """What it said to that, before any of it is done. Not called for nothing."""
        ...


class _OneItem(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="history_updated"):
    items: int
    item: HistoryItem


_known = tuple(kind for kind in (Opening, *get_args(Input)) if kind is not UnknownEvent)
_types = {str(kind.__struct_config__.tag) for kind in _known}
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[_known])  # noqa: UP007 -- made at run time


def encode_record(record: Record) -> bytes:
    """One record as JSON, credentials left out. The same record always gives the same bytes."""
    if isinstance(record, UnknownEvent):
        return _encoder.encode(record.payload)
    match record:
        case Opening(settings=settings):
            settings = msgspec.structs.replace(settings, config=hide_secrets(settings.config))
            record = Opening(agent=without_secrets(record.agent), settings=settings)
        case inputs.AgentSwitched() | inputs.HandoffReady():
            record = msgspec.structs.replace(record, agent=without_secrets(record.agent))
        case server.SessionCreated() | server.SessionUpdated():
            record = _without_secrets(record)
        case inputs.ClientEventWanted(event=client.SessionUpdate() | client.ResponseCreate() as event):
            record = inputs.ClientEventWanted(event=_without_secrets(event))
        case inputs.ResponseWanted(params=dict(params)):
            record = inputs.ResponseWanted(params=hide_secrets(params))
    return _encoder.encode(record)


def encode_command(command: Command) -> bytes:
    """A command as JSON, credentials left out, for comparison only. The same command always gives the same bytes.

    Of a history in which one item has changed it has that item and the number of items, since it is told after every word.
    """
    match command:
        case Send(event=client.SessionUpdate() | client.ResponseCreate() as event):
            command = Send(event=_without_secrets(event))
        case Emit(event=HistoryUpdated(history=history, item=item)) if item is not None:
            return _encoder.encode({"do": "emit", "event": _OneItem(items=len(history), item=item)})
        case Emit(event=TransportEventSeen(event=server.SessionCreated() | server.SessionUpdated() as seen)):
            command = Emit(event=TransportEventSeen(event=_without_secrets(seen)))
    return _encoder.encode(command)


def decode_record(data: bytes) -> Record:
    """What `encode_record` wrote. Raises ProtocolError."""
    try:
        record: Record = _decoder.decode(data)
    except msgspec.DecodeError as e:
        unknown = _unknown(data)
        if unknown is None:
            raise ProtocolError(f"not a record of a session: {e}") from e
        return unknown
    return record


def replay(opening: Opening, records: Iterable[tuple[float, Input]]) -> list[list[Command]]:
    """Run a session again: what the machine says to each `(time, input)`. No clock runs and nothing is done."""
    machine = SessionMachine(opening.agent, opening.settings)
    machine.first_update()
    return [machine.handle(event, now=now) for now, event in records]


def without_secrets(agent: AgentSpec) -> AgentSpec:
    """The agent, with its MCP servers' credentials blotted out."""
    servers = (msgspec.structs.replace(spec, definition=_hidden(spec.definition)) for spec in agent.mcp)
    return msgspec.structs.replace(agent, mcp=tuple(servers))


def hide_secrets(config: dict[str, Any]) -> dict[str, Any]:
    """The `session` of a `session.update`, or the `response` of a `response.create`, without MCP servers' credentials."""
    tools = config.get("tools")
    if not isinstance(tools, list | tuple):
        return config
    hidden = [_hidden(tool) if isinstance(tool, dict) and tool.get("type") == "mcp" else tool for tool in tools]
    return {**config, "tools": hidden}


def hide_secrets_in_frame(frame: bytes) -> bytes:
    """The same for a frame of the Realtime API, either way. Costs next to nothing for one that names no MCP server."""
    if b'"mcp"' not in frame or (b'"authorization"' not in frame and b'"headers"' not in frame):
        return frame
    try:
        event = msgspec.json.decode(frame, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        return _encoder.encode(_SECRET)  # no machine can read it either
    hidden = {key: hide_secrets(event[key]) for key in ("session", "response") if isinstance(event.get(key), dict)}
    return _encoder.encode({**event, **hidden})


def _hidden(definition: dict[str, Any]) -> dict[str, Any]:
    return {**definition, **{key: _SECRET for key in ("authorization", "headers") if key in definition}}


def _without_secrets(event: _Configuring) -> _Configuring:
    field = "response" if isinstance(event, client.ResponseCreate) else "session"
    config = getattr(event, field)
    return event if config is None else msgspec.structs.replace(event, **{field: hide_secrets(config)})


def _unknown(data: bytes) -> UnknownEvent | None:
    try:
        payload = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError:
        return None
    kind = payload.get("type")
    return UnknownEvent(type=kind, payload=payload) if isinstance(kind, str) and kind not in _types else None
