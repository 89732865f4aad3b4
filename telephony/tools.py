"""Tools for agents on the phone: hang up, transfer, press and collect keys, hold, pause and stop the recording.

    from telephony.tools import collect_digits, hang_up, transfer_call

    agent = Agent(name="Front desk", tools=[hang_up, transfer_call({"billing": "+14155550100"})], …)

They steer the call that the agent talks in (`context.context.control`). Their docstrings are what the model reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from realtime_bridge.context import ToolContext
from realtime_bridge.errors import MisuseError
from realtime_bridge.tools import NeedsApproval, SilentResult, Tool, ToolError, tool
from telephony.calls.context import PhoneContext
from telephony.steering.control import CallControl
from telephony.steering.ending import HangUp

__all__ = [
    "collect_digits",
    "hang_up",
    "hold_caller",
    "pause_recording",
    "press_keys",
    "resume_caller",
    "resume_recording",
    "stop_recording",
    "transfer_call",
]

# Longer than any limit on the steering itself, which tells more than a time-out can.
TRANSFER_S_MAX: Final = 360.0
KEYS_S_MAX: Final = 240.0
ENTERED: Final = "digits"  # in `PhoneContext.data`: what the caller entered last, where it is secret
_E164 = re.compile(r"\+[1-9]\d{6,14}")


@tool
async def hang_up(context: ToolContext[PhoneContext], reason: str) -> Any:
    """End the phone call. Say goodbye first, in the same turn, and call this right after it: the call ends when the
    caller has heard your last word. Say nothing after calling it. If the caller speaks into your goodbye, the call goes
    on, and you may call this again later. Never call it while the caller still wants something.

    Args:
        reason: Why the call ends, in a few words, such as "the appointment is booked". For the records only.
    """
    _control(context).begin_hang_up(HangUp(reason=reason.strip()[:200] or "hung up by the agent"))
    return SilentResult("The call ends as soon as the caller has heard your goodbye. Say nothing more.")


@tool(timeout_s=KEYS_S_MAX)
async def press_keys(context: ToolContext[PhoneContext], keys: str) -> str:
    """Press keys on the phone's keypad, to operate the other side's phone menu ("press 1 for sales"). The other side
    hears the tones. Do not use it to talk to a person.

    Args:
        keys: The keys in order: 0-9, * and #. A "w" waits half a second, such as in "1ww204#".
    """
    try:
        heard = await _control(context).press(keys.replace(" ", ""))
    except MisuseError as e:
        raise ToolError(str(e)) from e
    return f"Pressed {keys}." if heard else "The keys were pressed, but it is not certain that they were heard."


@tool(timeout_s=KEYS_S_MAX)
async def collect_digits(
    context: ToolContext[PhoneContext],
    digits_max: int = 16,
    timeout_s: float = 10.0,
    terminator: str = "#",
    secret: bool = False,
) -> str:
    """Let the caller enter digits on the phone's keypad, such as an account number or a PIN. Ask for them first, in the
    same turn ("Please enter your account number, and then the pound key"), then call this. It waits, and returns the
    digits, or says that none came.

    Args:
        digits_max: How many digits at most. It is over when so many have come.
        timeout_s: Seconds to wait for the first digit after you have finished speaking; at most 120.
        terminator: The key that ends the entry early; it is not part of the result. Empty for none.
        secret: For a card number or a PIN: the call is not recorded meanwhile, and you are told only how many digits
            came. The tool that needs them knows where to find them.
    """
    try:
        digits = await _control(context).collect_digits(
            digits_max=digits_max, timeout_s=timeout_s, terminator=terminator, secret=secret
        )
    except MisuseError as e:
        raise ToolError(str(e)) from e
    if secret:
        context.context.data[ENTERED] = digits
        return f"The caller entered {len(digits)} digits; they are kept from you and from all records."
    return f"The caller entered {' '.join(digits)}." if digits else "The caller entered nothing."


@tool
async def hold_caller(context: ToolContext[PhoneContext]) -> str:
    """Put the caller on hold, with music, while you do something that takes long. Tell the caller first, in the same
    turn ("One moment, I put you on hold"). While on hold the caller does not hear you, and you do not hear the caller.
    Call resume_caller as soon as you are ready to speak again; after some minutes it happens by itself.
    """
    await _control(context).hold()
    return "The caller is on hold. Do what you have to do now, and say nothing before you have called resume_caller."


@tool
async def resume_caller(context: ToolContext[PhoneContext]) -> str:
    """Take the caller off hold, to speak with them again."""
    await _control(context).resume()
    return "The caller hears you again. Thank them for waiting, and go on."


@tool
async def pause_recording(context: ToolContext[PhoneContext]) -> str:
    """Pause the recording of this call, before the caller tells you something that must not be written down, such as a
    card number. Call it before you ask for it, and resume_recording as soon as you have it; after some time the
    recording resumes by itself.
    """
    try:
        _control(context).recording.pause()
    except MisuseError as e:
        return f"There is nothing to pause: {e}. Go on."
    return "The recording is paused."


@tool
async def resume_recording(context: ToolContext[PhoneContext]) -> str:
    """Go on recording after pause_recording."""
    try:
        state = _control(context).recording.resume()
    except MisuseError as e:
        return f"There is nothing to resume: {e}. Go on."
    return "The call is recorded again." if state == "on" else "The recording resumes in a moment."


@tool
async def stop_recording(context: ToolContext[PhoneContext]) -> str:
    """The caller does not want this call to be recorded: stop the recording for good, and delete what there is of it.
    Call it as soon as they say so, and then tell them that the call is not recorded.
    """
    try:
        _control(context).recording.stop(delete=True, because="the caller did not want it")
    except MisuseError as e:
        return f"There is nothing to stop: {e}. Tell the caller so."
    return "The recording has been stopped and deleted."


def transfer_call(
    to: Mapping[str, str],
    *,
    warm: bool = False,
    name: str = "transfer_call",
    description: str | None = None,
    needs_approval: NeedsApproval = False,
) -> Tool:
    """A tool that passes the caller on to one of these people: `{"billing": "+14155550100"}`, names for the model,
    numbers (E.164) for Twilio. The model picks a name and never sees or makes up a number.

    `warm`: the person hears the model's summary first, and may decline. Raises MisuseError for numbers that are none.
    """
    if not to:
        raise MisuseError("transfer_call: name at least one person or place to transfer to")
    for who, number in to.items():
        if not _E164.fullmatch(number):
            raise MisuseError(f"transfer_call: the number of {who!r} is not in E.164 form, such as +14155550100")
    numbers = dict(to)
    people = Literal[tuple(numbers)]  # type: ignore[valid-type]  # the choice is made when the tool is

    async def transfer(context: ToolContext[PhoneContext], destination: str, summary: str) -> Any:
        result = await _control(context).transfer(numbers[destination], warm=warm, summary=summary)
        return SilentResult(result.message) if result.connected else f"{result.message} {_BACK}"

    transfer.__annotations__ |= {"context": ToolContext, "destination": people, "summary": str, "return": Any}
    how = _WARM if warm else _COLD
    transfer.__doc__ = (
        f"{description or how}\n\nArgs:\n    destination: Who is to take the call.\n    summary: {_SUMMARY}"
    )
    return tool(name=name, timeout_s=TRANSFER_S_MAX, needs_approval=needs_approval)(transfer)


def _control(context: ToolContext[PhoneContext]) -> CallControl:
    """Raises MisuseError outside of a phone call."""
    control = getattr(context.context, "control", None)
    if not isinstance(control, CallControl):
        raise MisuseError(f"{context.tool_name} steers a phone call: the session's context must be a PhoneContext")
    return control


_COLD: Final = (
    "Connect the caller with a person on another phone. Tell the caller first, in the same turn, whom you connect them "
    "with. When it succeeds, you leave the call. Otherwise you are told why, and the caller is still with you."
)
_WARM: Final = (
    "Connect the caller with a person on another phone. Tell the caller first, in the same turn, whom you connect them "
    "with and that they will hear music meanwhile. The person hears your summary and decides whether to take the call. "
    "When they do, you leave the call. Otherwise you are told why, and the caller is with you again."
)
_SUMMARY: Final = (
    "For the person who takes the call: who is calling and what they want, in one or two spoken sentences, such as "
    '"Maria Weber is calling about a double charge on invoice 4711."'
)
_BACK: Final = "The caller is with you again. Tell them, and ask how else you can help."
