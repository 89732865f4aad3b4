"""What somebody may ask of the dialler, and what they get: a placed call, or a refusal for machines and people. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias, get_args

import msgspec

from realtime_bridge.errors import BridgeError, MisuseError
from telephony.numbers import NumberFault, mask_number
from telephony.outbound.machine import MachinePlan, plan_of
from telephony.twilio.twiml import PARAMETER_CHARS_MAX

PARAMETERS_MAX: Final = 20
KEY_CHARS_MAX: Final = 200
RING_SECONDS_MAX: Final = 600  # Twilio's limit

# Those of `NumberFault`: about the number. And:
# suppressed  the number is on the suppression list
# request     a field is wrong; the message names it
# settings    settings or the Twilio account must be changed first
# refused     Twilio will not place this call, ever
# busy        Twilio or this server cannot at the moment; nobody was dialled: ask again with a new key
# unknown     Twilio did not say whether it dialled, and nothing told since: the call is never dialled again
DialReason: TypeAlias = NumberFault | Literal["suppressed", "request", "settings", "refused", "busy", "unknown"]
_REASONS: Final = frozenset(reason for some in get_args(DialReason) for reason in get_args(some))


class CallRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One call to place. What is None comes from the settings.

    `to` as people write it, with + and country. `agent`: its name in the server's directory, "" for the default one.
    `parameters` reach the agent. `on_machine`: `talk`, `hang_up`, or what to say after the beep; `wait_for_machine`
    tells before the agent speaks. `record`: whether the call is recorded. `idempotency_key`: asking twice with the same one places one call.
    """

    to: str
    agent: str = ""
    from_: str | None = None
    parameters: Mapping[str, str] = {}
    on_machine: str = "talk"
    on_unknown: Literal["talk", "hang_up"] = "talk"
    wait_for_machine: bool = False
    ring_seconds: int | None = None
    call_seconds_max: int | None = None
    record: bool | None = None
    idempotency_key: str | None = None
    requested_by: str = ""

    def __repr__(self) -> str:
        return f"CallRequest({mask_number(self.to)}, agent={self.agent!r}, …)"


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """Twilio has the call. `fresh`: it was placed now, not by an earlier request with the same key."""

    attempt_id: str
    call_sid: str
    status: str
    fresh: bool = True


class DialRefused(BridgeError):  # noqa: N818 - a refusal is an answer, not a malfunction
    """Nobody is dialled, or (reason `unknown`) nobody will be dialled again. The message holds no number.

    `code`: Twilio's error code, where it gave one. `attempt_id`: None when it did not come to an attempt.
    """

    def __init__(
        self, reason: DialReason, message: str, *, code: int | None = None, attempt_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.reason: DialReason = reason
        self.code = code
        self.attempt_id = attempt_id


def machine_plan(request: CallRequest) -> MachinePlan:
    """Raises DialRefused."""
    try:
        plan = plan_of(request.on_machine, wait=request.wait_for_machine)
        return msgspec.structs.replace(plan, on_unknown=request.on_unknown)
    except MisuseError as e:
        raise DialRefused("request", f"on_machine: {e}") from e


def check_fields(request: CallRequest, *, call_seconds_max: int) -> None:
    """All but the numbers and the agent. Raises DialRefused, which names the field."""
    if request.ring_seconds is not None and not 1 <= request.ring_seconds <= RING_SECONDS_MAX:
        raise DialRefused("request", f"ring_seconds: 1 to {RING_SECONDS_MAX}")
    if request.call_seconds_max is not None and not 1 <= request.call_seconds_max <= call_seconds_max:
        raise DialRefused("request", f"call_seconds_max: 1 to {call_seconds_max}, as CALL_SECONDS_MAX says")
    if request.idempotency_key is not None and not 1 <= len(request.idempotency_key) <= KEY_CHARS_MAX:
        raise DialRefused("request", f"idempotency_key: 1 to {KEY_CHARS_MAX} characters")
    if len(request.parameters) > PARAMETERS_MAX:
        raise DialRefused("request", f"parameters: at most {PARAMETERS_MAX}")
    for name, value in request.parameters.items():
        if not re.fullmatch(r"[A-Za-z_][\w.-]{0,63}", name, re.ASCII):
            raise DialRefused("request", "parameters: a name is a letter or _, then letters, digits, _, - and .")
        if len(name) + len(value) > PARAMETER_CHARS_MAX:
            raise DialRefused("request", f"parameters: {name} is longer than {PARAMETER_CHARS_MAX} characters")


def refusal_text(refused: DialRefused) -> str:
    """For the attempt's row; `refusal_of` reads it back for whoever asks again with the same key."""
    return f"{refused.reason}: {refused}"


def refusal_of(attempt_id: str, code: int | None, text: str | None) -> DialRefused:
    reason, _, message = (text or "").partition(": ")
    known: Any = reason if reason in _REASONS else "refused"
    return DialRefused(known, message or text or "refused", code=code, attempt_id=attempt_id)
