"""`python -m telephony.testing.twilio`: a Twilio of your own to develop against, without an account.

    python -m telephony.testing.twilio --port 8090 --number +15550199=http://127.0.0.1:8080/twilio/voice
    TWILIO_API_BASE_URL=http://127.0.0.1:8090 TWILIO_ACCOUNT_SID=… TWILIO_AUTH_TOKEN=simulated \\
        PUBLIC_URL=http://127.0.0.1:8080 realtime-bridge serve
    curl -X POST http://127.0.0.1:8090/simulator/ring -H 'Content-Type: application/json' \\
        -d '{"from": "+15550100", "to": "+15550199", "steps": [{"wait": true}, "My telephone is broken.", {"wait": true}]}'
"""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated, cast, get_args

import typer

from telephony.testing.twilio.control import Kind, behaviour
from telephony.testing.twilio.people import Person
from telephony.testing.twilio.simulator import ACCOUNT_SID, TwilioSimulator


def main(
    *,
    number: Annotated[list[str], typer.Option(help="A number of the account and its voice webhook: +15550199=URL.")],
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8090,
    auth_token: Annotated[str, typer.Option(help="What signs webhooks and opens the REST API.")] = "simulated",  # noqa: S107 - it opens a simulator
    account_sid: Annotated[str, typer.Option(help="The account.")] = ACCOUNT_SID,
    person: Annotated[
        list[str] | None,
        typer.Option(help=f"Somebody who can be called: +15550100=KIND, one of {', '.join(get_args(Kind))}."),
    ] = None,
    calls_per_second: Annotated[float, typer.Option(help="How fast REST's calls leave the queue.")] = 1.0,
) -> None:
    """Simulate Twilio on this machine until Ctrl-C. See `telephony.testing.twilio.control` for what can be asked of it."""
    numbers = [_pair(text, "--number") for text in number]
    people = [_pair(text, "--person") for text in person or ()]
    for _, kind in people:
        if kind not in get_args(Kind):
            raise typer.BadParameter(f"--person: {kind!r} is none of {', '.join(get_args(Kind))}")
    twilio = TwilioSimulator(
        auth_token=auth_token, account_sid=account_sid, calls_per_second=calls_per_second, port=port
    )
    for own, url in numbers:
        twilio.number(own, voice_url=url)
    for theirs, kind in people:
        twilio.add(Person(theirs, behaviour(cast("Kind", kind))))
    asyncio.run(_serve(twilio, auth_token))


async def _serve(twilio: TwilioSimulator, auth_token: str) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with twilio:
        typer.echo(f"Listening on {twilio.url} (Ctrl-C stops)", err=True)
        typer.echo(
            f"TWILIO_API_BASE_URL={twilio.url}\nTWILIO_ACCOUNT_SID={twilio.account_sid}\nTWILIO_AUTH_TOKEN={auth_token}"
        )
        await stop.wait()


def _pair(text: str, option: str) -> tuple[str, str]:
    number, equals, value = text.partition("=")
    if not equals or not number.startswith("+") or not value:
        raise typer.BadParameter(f"{option}: expected +NUMBER=…, got {text!r}")
    return number, value


if __name__ == "__main__":
    typer.run(main)
