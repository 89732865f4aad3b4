"""`realtime-bridge numbers`"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import urlsplit

import typer

from telephony.cli import group
from telephony.cli.database import Refused, print_json
from telephony.cli.tables import print_table
from telephony.settings import Settings, SettingsError, is_loopback, load_settings

if TYPE_CHECKING:
    from telephony.twilio.rest import TwilioNumber, TwilioRest

numbers = group("The account's numbers, and where their calls go.", "numbers attach +14155550100")

T = TypeVar("T")
AsJson = Annotated[bool, typer.Option("--json", help="JSON, for machines.")]


@numbers.command("list", epilog="Example: realtime-bridge numbers list")
def list_(as_json: AsJson = False) -> None:
    """The account's numbers, and whether their calls come to PUBLIC_URL."""
    settings = load_settings()
    found = _with_rest(settings, lambda rest: rest.list_numbers())
    if as_json:
        print_json([_json(number, settings.public_url) for number in found])
        return
    if not found:
        typer.echo("The account has no number: buy one at https://console.twilio.com", err=True)
        return
    print_table(
        ("number", "name", "calls go to", "news go to", "here"),
        [
            (
                number.number,
                number.name or "-",
                number.voice_url or "-",
                number.status_callback or "-",
                "yes" if not _astray(number, settings.public_url) else "no",
            )
            for number in found
        ],
    )


@numbers.command(epilog="Example: realtime-bridge numbers attach +14155550100")
def attach(
    number: Annotated[str, typer.Argument(help="One of the account's numbers, in E.164.")], as_json: AsJson = False
) -> None:
    """Send a number's calls to this server, and the news of them. Shows what was set before, and what is set now."""
    settings = load_settings()
    public_url = _public_url(settings)

    async def point(rest: TwilioRest) -> tuple[TwilioNumber, TwilioNumber]:
        from telephony.doctor.webhooks import status_url, voice_url  # noqa: PLC0415 - slow to import

        found = [each for each in await rest.list_numbers(number) if each.number == number]
        if not found:
            raise Refused(f"{number} is no number of this account; see `realtime-bridge numbers list`")
        before = found[0]
        if before.trunk_sid:
            raise Refused(f"{number} belongs to a SIP trunk ({before.trunk_sid}): take it out of there in the Console")
        if not before.voice:
            raise Refused(f"{number} cannot have voice calls: choose another number")
        urls = {"voice_url": voice_url(public_url), "status_callback": status_url(public_url)}
        return before, await rest.update_number(before.sid, **urls)

    before, now = _with_rest(settings, point)
    if as_json:
        print_json({"before": _json(before, public_url), "now": _json(now, public_url)})
        return
    print_table(
        (number, "before", "now"),
        [
            ("calls go to", _target(before), _target(now)),
            ("news go to", before.status_callback or "-", now.status_callback or "-"),
        ],
    )


def _with_rest(settings: Settings, use: Callable[[TwilioRest], Awaitable[T]]) -> T:
    """Raises SettingsError without credentials, TwilioRestError when Twilio refuses."""
    from telephony.twilio.rest import TwilioRest  # noqa: PLC0415 - slow to import, and `--help` has no need of it

    async def work() -> T:
        async with TwilioRest(settings) as rest:
            return await use(rest)

    return asyncio.run(work())


def _public_url(settings: Settings) -> str:
    """Raises SettingsError where Twilio could not reach it."""
    url = settings.public_url
    if url is None:
        raise SettingsError("PUBLIC_URL: set it to this server's address as Twilio reaches it, then attach the number")
    simulated = is_loopback(urlsplit(settings.twilio_api_base_url).hostname or "")
    if is_loopback(urlsplit(url).hostname or "") and not simulated:
        raise SettingsError(f"PUBLIC_URL: {url} is this machine's inside, which Twilio cannot reach")
    return url


def _astray(number: TwilioNumber, public_url: str | None) -> list[str]:
    from telephony.doctor.webhooks import misdirections  # noqa: PLC0415 - slow to import

    return ["PUBLIC_URL is not set"] if public_url is None else misdirections(number, public_url)


def _target(number: TwilioNumber) -> str:
    if number.voice_application_sid:
        return f"application {number.voice_application_sid}"
    return number.voice_url or "-"


def _json(number: TwilioNumber, public_url: str | None) -> dict[str, Any]:
    return {
        "number": number.number,
        "sid": number.sid,
        "name": number.name,
        "voice_url": number.voice_url,
        "status_callback": number.status_callback,
        "here": not (wrong := _astray(number, public_url)),
        "astray": wrong,
    }
