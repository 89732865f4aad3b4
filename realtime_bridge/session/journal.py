"""The inputs of a session, written down: one JSON record each, and the session run again from them.

A record is what `SessionMachine.handle` was given. The first is the `Opening`, which the machine is made of. What a
secret is (the credentials of hosted MCP servers) is not written.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias, Union, get_args

import msgspec

from realtime_bridge.errors import ProtocolError
from realtime_bridge.session import inputs
from realtime_bridge.session.commands import Command
from realtime_bridge.session.inputs import Input
from realtime_bridge.session.machine import SessionMachine
from realtime_bridge.session.specs import AgentSpec, SessionSettings
from realtime_bridge.wire import UnknownEvent

_SECRET = "(not recorded)"  # noqa: S105 -- it stands in for one


class Opening(msgspec.Struct, frozen=True, kw_only=True, tag="opening"):
    """What a session began with."""

    agent: AgentSpec
    settings: SessionSettings


Record: TypeAlias = Opening | Input

_known = tuple(kind for kind in (Opening, *get_args(Input)) if kind is not UnknownEvent)
_types = {str(kind.__struct_config__.tag) for kind in _known}
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[_known])  # noqa: UP007 -- made at run time


def encode_record(record: Record) -> bytes:
    """One record as JSON, credentials left out. The same record always gives the same bytes."""
    if isinstance(record, UnknownEvent):
        return _encoder.encode(record.payload)
    if isinstance(record, Opening | inputs.AgentSwitched | inputs.HandoffReady):
        record = msgspec.structs.replace(record, agent=without_secrets(record.agent))
    return _encoder.encode(record)


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
    servers = []
    for server in agent.mcp:
        hidden = {key: _SECRET for key in ("authorization", "headers") if key in server.definition}
        servers.append(msgspec.structs.replace(server, definition={**server.definition, **hidden}))
    return msgspec.structs.replace(agent, mcp=tuple(servers))


def _unknown(data: bytes) -> UnknownEvent | None:
    try:
        payload = msgspec.json.decode(data, type=dict[str, Any])
    except msgspec.DecodeError:
        return None
    kind = payload.get("type")
    return UnknownEvent(type=kind, payload=payload) if isinstance(kind, str) and kind not in _types else None
