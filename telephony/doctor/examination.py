"""The examination: all checks at once, each on its own, so that one mistake does not hide another."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from telephony.doctor import here, outside, recordings
from telephony.doctor.findings import Finding, failed
from telephony.settings import Settings, SettingsError, load_settings

CHECK_SECONDS_MAX: Final = 30.0


def read_settings() -> Settings | list[Finding]:
    """The settings, or what is wrong with each of them."""
    try:
        return load_settings()
    except SettingsError as e:
        return [_setting(line) for line in str(e).splitlines()]


def _setting(line: str) -> Finding:
    where, colon, what = line.partition(": ")
    if not colon or not re.fullmatch("[A-Z_]+", where):
        where, what = "environment and .env", line
    return failed("settings", where, what, "change it there; `realtime-bridge settings` says what each one means")


async def examine(
    settings: Settings, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> tuple[Finding, ...]:
    """Look at everything that can be looked at. Opens the database, which brings its tables up to date; places no call.

    Raises nothing: a check that fails in its own way is a finding too.
    """
    differences: dict[str, timedelta] = {}

    def heard(who: str, at: datetime) -> None:
        differences[who] = at - clock()

    checks: dict[str, Awaitable[list[Finding]]] = {
        "settings": here.check_settings(settings),
        "names": here.check_names(),
        "agents": here.check_agents(settings),
        "openai": outside.check_openai(settings, heard),
        "offline model": here.check_offline_model(settings),
        "twilio": outside.check_twilio(settings, heard),
        "public url": outside.check_public_url(settings),
        "port": here.check_port(settings),
        "database": here.check_database(settings),
        "disk": here.check_disk(settings),
        "recordings": recordings.check_recordings(settings),
        "spool": here.check_spool(settings),
    }
    found = await asyncio.gather(*(_checked(name, check) for name, check in checks.items()))
    return (*(each for several in found for each in several), *outside.check_clock(differences))


async def _checked(name: str, check: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        async with asyncio.timeout(CHECK_SECONDS_MAX):
            return await check
    except Exception as e:  # noqa: BLE001 - a check must not hide what the others have found
        return [failed(name, name, f"the check itself failed: {type(e).__name__}: {e}", "please report this")]
