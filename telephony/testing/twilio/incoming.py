"""A call that somebody makes to a number of the account."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from realtime_bridge.errors import MisuseError
from telephony.testing.twilio.call import Callback, Calls, SimulatedCall
from telephony.testing.twilio.exchange import Exchange
from telephony.testing.twilio.interpreter import Interpreter
from telephony.testing.twilio.people import Human, Person, ScriptStep
from telephony.testing.twilio.program import Program


async def ring(
    exchange: Exchange,
    calls: Calls,
    from_: str,
    to: str,
    *,
    steps: Sequence[ScriptStep] | None = None,
    carrier: Mapping[str, str] | None = None,
) -> SimulatedCall:
    """Ring a number of the account; see `TwilioSimulator.ring`. Raises MisuseError for a number that is not its own."""
    number = exchange.numbers.get(to)
    if number is None:
        raise MisuseError(f"{to} is no number of this account; give it one: twilio.number({to!r}, voice_url=…)")
    person = exchange.people.get(from_)
    if steps is not None or person is None:
        known = dict(person.carrier) if person is not None else {}
        person = Person(from_, Human(tuple(steps)) if steps is not None else Human(), carrier=known)
    if carrier:
        person = Person(from_, person.behaviour, hangs_up_after_s=person.hangs_up_after_s, carrier=dict(carrier))
    await exchange.rehearse(person)
    callback = None
    if number.status_callback:
        callback = Callback(number.status_callback, number.status_callback_method)
    call = SimulatedCall(exchange, calls, from_, to, "inbound", person, callback=callback, number_sid=number.sid)
    call.set_status("ringing")
    program = Program(
        number.voice_url,
        number.voice_method,
        fallback_url=number.voice_fallback_url,
        fallback_method=number.voice_fallback_method,
    )
    call.start(Interpreter(call, program).run())
    return call
