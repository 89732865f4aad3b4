"""Where a number's calls must go, and whether they do. Pure."""

from __future__ import annotations

from telephony.twilio.rest import TwilioNumber


def voice_url(public_url: str) -> str:
    return f"{public_url}/twilio/voice"


def status_url(public_url: str) -> str:
    return f"{public_url}/twilio/status"


def misdirections(number: TwilioNumber, public_url: str) -> list[str]:
    """What keeps this number's calls from being answered here; empty when nothing does.

    A URL's fragment is for Twilio alone: it says how often to try again.
    """
    found = []
    if not number.voice:
        found.append("it cannot have voice calls")
    if number.trunk_sid:
        found.append("it belongs to a SIP trunk, which gets its calls")
    if number.voice_application_sid:
        found.append("a TwiML application gets its calls")
    if number.voice_url.partition("#")[0] != voice_url(public_url):
        found.append(f"its calls go to {number.voice_url or 'nowhere'}")
    elif number.voice_method != "POST":
        found.append(f"its calls come by {number.voice_method} instead of POST")
    if number.status_callback.partition("#")[0] != status_url(public_url):
        found.append(f"news of its calls go to {number.status_callback or 'nowhere'}")
    return found
