"""What to do when not a person but a machine answers a call of ours. Pure.

Twilio's detection tells who answered, either before the call reaches the agent (the person meets some four seconds of
silence) or while the agent already talks (`wait` off, the default). It costs extra, so a call that would do nothing
with the answer asks for none.
Source: https://www.twilio.com/docs/voice/answering-machine-detection
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import msgspec

from realtime_bridge.errors import MisuseError
from telephony.twilio.voice_request import AnsweredBy

MESSAGE_CHARS_MAX: Final = 1500  # about two minutes; inline TwiML holds 4,000 characters, escaped
GREETING_SECONDS: Final = 10  # what is left of a usual greeting when only its beginning has been heard

Answer: TypeAlias = Literal["talk", "hang_up"]


class MachinePlan(msgspec.Struct, frozen=True, kw_only=True):
    """One call's policy. A fax is always hung up on.

    `on_machine`: `talk`, `hang_up`, or `leave_message`, which says `message` after the beep and hangs up.
    `on_unknown`: when Twilio cannot tell. `wait`: tell before the agent talks, instead of meanwhile.
    """

    on_machine: Literal["talk", "hang_up", "leave_message"] = "talk"
    message: str = ""
    on_unknown: Answer = "talk"
    wait: bool = False

    def __post_init__(self) -> None:
        if (self.on_machine == "leave_message") != bool(self.message):
            raise MisuseError("a message, and leave_message, belong together: `on_machine` says what happens to it")
        if len(self.message) > MESSAGE_CHARS_MAX:
            raise MisuseError(f"a message on a machine has at most {MESSAGE_CHARS_MAX} characters")

    @property
    def detection(self) -> Literal["Enable", "DetectMessageEnd"] | None:
        """Twilio's MachineDetection parameter; None: nothing would be done with the answer."""
        if self.on_machine == "leave_message":
            return "DetectMessageEnd"
        return None if self.on_machine == "talk" and self.on_unknown == "talk" else "Enable"

    def to_details(self) -> dict[str, Any]:
        """For a row of the store; `plan_from_details` reads it back."""
        return {"machine": msgspec.to_builtins(self)}


class Talk(msgspec.Struct, frozen=True):
    """Go on: the agent talks, or already does."""


class HangUp(msgspec.Struct, frozen=True):
    """End the call. `reason` is for the call's record."""

    reason: str


class LeaveMessage(msgspec.Struct, frozen=True):
    """Say `text` after `pause_seconds`, then hang up; the agent must say nothing."""

    text: str
    pause_seconds: int = 0


MachineAction: TypeAlias = Talk | HangUp | LeaveMessage


def plan_of(text: str | None, *, wait: bool = False) -> MachinePlan:
    """`talk` (or None), `hang_up`, or the message to leave after the beep. Raises MisuseError."""
    match (text or "talk").strip():
        case "talk":
            return MachinePlan(wait=wait)
        case "hang_up":
            return MachinePlan(on_machine="hang_up", wait=wait)
        case message:
            return MachinePlan(on_machine="leave_message", message=message, wait=wait)


def plan_from_details(details: Mapping[str, Any]) -> MachinePlan:
    """What `to_details` stored; a call without any talks to whoever answers. Raises MisuseError."""
    try:
        return msgspec.convert(details.get("machine", {}), MachinePlan)
    except msgspec.ValidationError as e:
        raise MisuseError(f"the answering-machine policy of the call cannot be read: {e}") from e


def decide(plan: MachinePlan, answered_by: AnsweredBy | None) -> MachineAction:
    """What to do, now that Twilio has told who answered: in the voice webhook (`wait`), or in the AMD callback.

    None: Twilio did not say, because nobody asked it.
    """
    match answered_by:
        case None | "human":
            return Talk()
        case "fax":
            return HangUp("a fax machine answered")
        case "unknown":
            return Talk() if plan.on_unknown == "talk" else HangUp("nobody could tell who answered")
    match plan.on_machine:
        case "talk":
            return Talk()
        case "hang_up":
            return HangUp("an answering machine answered")
        case "leave_message":
            # `machine_start`: the greeting goes on, and no beep will be told. The others come when it has ended.
            return LeaveMessage(plan.message, GREETING_SECONDS if answered_by == "machine_start" else 0)
