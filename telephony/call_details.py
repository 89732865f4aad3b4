"""What is known of a call before it is answered: who calls whom, and which agent is to talk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

LAST_WORDS_S: Final = 60  # past the longest that a call may last: it is told goodbye then, and cut off after this

Direction = Literal["inbound", "outbound"]


class CallDetails(msgspec.Struct, frozen=True, kw_only=True):
    """One call, as its webhook told of it. Numbers are E.164, or empty when withheld."""

    call_sid: str
    direction: Direction = "inbound"
    caller: str = ""
    called: str = ""
    agent: str = ""  # its name in the directory; empty: whoever answers by default
    parameters: Mapping[str, str] = {}  # what the program that placed the call gave along
    carrier: Mapping[str, str] = {}  # what the network says of the caller: city, country, attestation
    opening: str = ""  # how the agent is to begin, where the call comes back to it
    attempt_id: str | None = None  # of a call that we placed
    on_machine: Literal["talk", "hang_up", "leave_message"] = "talk"  # when an answering machine has picked up
    machine_message: str = ""  # to leave there
    on_unknown: Literal["talk", "hang_up"] = "talk"  # when nobody can tell who has
    seconds_max: float | None = None  # of this call, where it is less than any call's
    record: bool | None = None  # whether it is recorded; None: as its agent or the settings say

    @property
    def other_party(self) -> str:
        """The person's number, whoever has called."""
        return self.caller if self.direction == "inbound" else self.called
