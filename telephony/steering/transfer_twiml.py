"""The TwiML of a transfer: what the person hears who is to take the call, and where both are put together."""

from __future__ import annotations

from typing import Final

import msgspec
from twilio.twiml.voice_response import Dial, Gather, VoiceResponse

from telephony.steering.control_settings import TransferSettings

SUMMARY_CHARS_MAX: Final = 1000  # about a minute
ASKED_TIMES: Final = 2


def ask_person(summary: str, action: str, settings: TransferSettings) -> str:
    """Say the summary and ask for a key, twice; then hang up. The key is posted to `action`, and none is not.

    https://www.twilio.com/docs/voice/twiml/gather: without input, the next verb follows. A key ends what is being said.
    """
    response = VoiceResponse()
    said = f"{(summary or settings.summary).strip()[:SUMMARY_CHARS_MAX]} {settings.instruction}"
    for _ in range(ASKED_TIMES):
        gather = Gather(num_digits=1, timeout=settings.answer_s, action=action, method="POST", finish_on_key="")
        gather.say(said, language=settings.language)
        response.append(gather)
    response.say(settings.declined, language=settings.language)
    response.hangup()
    return str(response)


def person_joins(conference: str, settings: TransferSettings) -> str:
    """The person has taken the call: into the conference. It ends when either of the two leaves."""
    response = VoiceResponse()
    response.say(settings.accepted, language=settings.language)
    response.append(_into(conference))
    return str(response)


def caller_joins(conference: str) -> str:
    """For the caller, whose stream this ends."""
    response = VoiceResponse()
    response.append(_into(conference))
    response.hangup()
    return str(response)


def caller_comes_back(url: str) -> str:
    """To the agent again, by the voice webhook at `url`."""
    response = VoiceResponse()
    response.redirect(url, method="POST")
    return str(response)


def person_declined(settings: TransferSettings) -> str:
    """The person will not have the call, or it is too late for it."""
    response = VoiceResponse()
    response.say(settings.declined, language=settings.language)
    response.hangup()
    return str(response)


def dial_person(number: str, *, caller_id: str, action: str, settings: TransferSettings) -> str:
    """For the caller of a cold transfer. `action` ("": none) is asked what follows.

    `answerOnBridge`: the caller hears the person's phone ring (https://www.twilio.com/docs/voice/twiml/dial).
    """
    dial = Dial(
        answer_on_bridge=True,
        timeout=settings.ring_s,
        caller_id=caller_id or None,
        action=action or None,
        method="POST" if action else None,
    )
    dial.number(number)
    response = VoiceResponse()
    response.append(dial)
    return str(response)


class DialEnd(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a cold transfer's `<Dial>`. `opening`: how the agent is to greet a caller who comes back."""

    connected: bool
    opening: str = ""


_OPENINGS: Final = {
    "busy": "I am sorry, the line is busy at the moment. How else can I help you?",
    "no-answer": "I am sorry, nobody has answered. How else can I help you?",
    "failed": "I am sorry, I could not connect you. How else can I help you?",
    "canceled": "I am sorry, I could not connect you. How else can I help you?",
}


def dial_end(dial_status: str) -> DialEnd:
    """`DialCallStatus` of the action's form: completed and answered mean that they have talked."""
    opening = _OPENINGS.get(dial_status, "")
    return DialEnd(connected=not opening, opening=opening)


def _into(conference: str) -> Dial:
    dial = Dial()
    dial.conference(conference, start_conference_on_enter=True, end_conference_on_exit=True, beep="false", wait_url="")
    return dial
