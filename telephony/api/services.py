"""What the API stands on; the application makes it when its parts are there."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from realtime_bridge.tape import TapeKeys
from telephony.calls.commands import CallCommands
from telephony.outbound.dialler import Dialler
from telephony.store import Store
from telephony.twilio.rest import TwilioRest


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """`dialler` None: no outbound calls. `rest` None: no way to end calls that no agent has. `data_dir`: where recordings
    lie. `keys`: that open those which are sealed."""

    store: Store
    commands: CallCommands
    dialler: Dialler | None
    data_dir: Path
    rest: TwilioRest | None = None
    keys: TapeKeys = field(default_factory=TapeKeys)
