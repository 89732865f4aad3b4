"""A verb's `action`: the URL that is told what came of the verb, and whose TwiML goes on with the call."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urljoin

from telephony.testing.twilio.call import SimulatedCall
from telephony.testing.twilio.program import Jump, Program
from telephony.testing.twilio.twiml import Verb


def action(program: Program, verb: Verb, form: Mapping[str, str]) -> Jump:
    """The jump to the `action` of a verb of this program; relative URLs count from its document."""
    url = urljoin(program.url, verb.get("action"))
    return Jump(Program(url, verb.get("method", "POST").upper(), form=dict(form), kind="action"))


def tell_action(call: SimulatedCall, program: Program, verb: Verb, form: Mapping[str, str]) -> None:
    """Request a verb's `action` although its answer will not be run: the call is over, or goes on elsewhere."""
    if verb.get("action"):
        url = urljoin(program.url, verb.get("action"))
        call.tell("action", url, verb.get("method", "POST").upper(), call.form(**form))
