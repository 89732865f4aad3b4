"""What tools, instructions and hooks of a phone agent find as `context.context`: the call they are in."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeAlias

from realtime_bridge.context import RunContext, ToolContext
from telephony.call_details import CallDetails
from telephony.steering.control import CallControl


@dataclass(frozen=True, slots=True)
class PastCall:
    """An earlier call with the same person."""

    call_sid: str
    began_at: datetime
    agent: str
    disposition: str
    summary: str = ""


class PastCalls(Protocol):
    """Looks up earlier calls with a person, latest first; may raise, and is then done without."""

    async def __call__(self, details: CallDetails) -> tuple[PastCall, ...]: ...


@dataclass(slots=True, kw_only=True)
class PhoneContext:
    """One call, for the code of its agent. `data` is the agent's own, for as long as the call lasts.

    `details`: numbers, parameters, what the carrier says. `past_calls`: with the same person, latest first. `control`:
    hang up, transfer, hold, press keys.
    """

    details: CallDetails
    control: CallControl
    past_calls: tuple[PastCall, ...] = ()
    data: dict[str, Any] = field(default_factory=dict)


PhoneRunContext: TypeAlias = RunContext[PhoneContext]
PhoneToolContext: TypeAlias = ToolContext[PhoneContext]
