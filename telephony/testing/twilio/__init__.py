"""A Twilio of your own: REST API, telephone network, webhooks and media streams, on this machine and in real time.

    async with TwilioSimulator(auth_token="…") as twilio:
        twilio.number("+15550199", voice_url="http://127.0.0.1:8080/twilio/voice")
        call = await twilio.ring("+15550100", "+15550199", steps=[WaitForAgent(), "Goodbye.", HangUp()])
        await call.until_status("completed")
        call.heard.mulaw, call.heard.audible, call.webhooks, call.history, twilio.alerts

A server cannot tell it from Twilio, as far as phone calls go: start it with `TWILIO_API_BASE_URL`, `TWILIO_ACCOUNT_SID`
and `TWILIO_AUTH_TOKEN` of the simulator, and `PUBLIC_URL` as the number's `voice_url` begins.
"""

from telephony.testing.script import HangUp, InterruptAfter, Pause, Press, Say, Until, WaitForAgent
from telephony.testing.twilio.call import SimulatedCall
from telephony.testing.twilio.faults import StreamFaults, TwilioFaults
from telephony.testing.twilio.people import (
    STAY,
    AnsweringMachine,
    Busy,
    Fax,
    HearText,
    Human,
    NoAnswer,
    OutOfService,
    Person,
    Rejects,
    spelt,
)
from telephony.testing.twilio.simulator import TwilioSimulator
from telephony.testing.twilio.sound import murmur
from telephony.testing.twilio.voices import voice

__all__ = [
    "STAY",
    "AnsweringMachine",
    "Busy",
    "Fax",
    "HangUp",
    "HearText",
    "Human",
    "InterruptAfter",
    "NoAnswer",
    "OutOfService",
    "Pause",
    "Person",
    "Press",
    "Rejects",
    "Say",
    "SimulatedCall",
    "StreamFaults",
    "TwilioFaults",
    "TwilioSimulator",
    "Until",
    "WaitForAgent",
    "murmur",
    "spelt",
    "voice",
]
