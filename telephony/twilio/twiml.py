"""The TwiML documents this server answers with, by the `twilio` package's own classes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec
from twilio.twiml.voice_response import Connect, VoiceResponse

from realtime_bridge.errors import MisuseError

PARAMETER_CHARS_MAX: Final = 500  # name and value together; https://www.twilio.com/docs/voice/twiml/stream

AddVerbs: TypeAlias = Callable[[VoiceResponse], None]


def connect_stream(
    url: str, parameters: Mapping[str, str], *, then: AddVerbs | None = None, status_callback: str | None = None
) -> str:
    """Join the call to the media socket at `url` (`wss://…`; Twilio drops query strings, hence `parameters`).

    `status_callback`: a URL that is told when the stream starts, stops or fails.
    `then` adds the verbs that follow when the socket closes, for whatever cause; without any, Twilio hangs up.
    """
    if "?" in url:
        raise MisuseError("Twilio drops the query string of a <Stream> URL: pass parameters instead")
    connect = Connect()
    stream = connect.stream(url=url, status_callback=status_callback)
    for name, value in parameters.items():
        if len(name) + len(value) > PARAMETER_CHARS_MAX:
            raise MisuseError(f"<Parameter> {name!r} is longer than {PARAMETER_CHARS_MAX} characters")
        stream.parameter(name=name, value=value)
    response = VoiceResponse()
    response.append(connect)
    if then is not None:
        then(response)
    return str(response)


def goodbye(message: str | None = None) -> str:
    """Hang up, after `message` if there is one."""
    response = VoiceResponse()
    if message:
        response.say(message)
    response.hangup()
    return str(response)


def leave_message(text: str, *, after_seconds: int = 0) -> str:
    """Say `text` to an answering machine, and hang up."""
    response = VoiceResponse()
    if after_seconds:
        response.pause(length=after_seconds)
    response.say(text)
    response.hangup()
    return str(response)


class Overflow(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller gets whom no agent can talk to: a message, then another number or a queue, if there is one."""

    message: str
    number: str | None = None  # E.164
    queue: str | None = None


def overflow(to: Overflow) -> str:
    """A caller never meets dead air."""
    response = VoiceResponse()
    response.say(to.message)
    if to.number is not None:
        response.dial(to.number)
    elif to.queue is not None:
        response.enqueue(to.queue)
    response.hangup()
    return str(response)
