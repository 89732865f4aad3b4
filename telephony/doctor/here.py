"""Checks of this machine: settings that fit together, agents that load, database, disk, port, offline model."""

from __future__ import annotations

import asyncio
import difflib
import json
import os
import re
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Final

from realtime_bridge.errors import BridgeError, MisuseError
from realtime_bridge.roster import Roster
from telephony.agents import load_agent
from telephony.doctor.findings import Finding, failed, ok, skipped, warning
from telephony.doctor.http import Unreachable, ask
from telephony.listener import listen
from telephony.numbers import NumberRefused, dialable
from telephony.offline import require_offline_parts
from telephony.settings import Settings, SettingsError, check_exposure, check_signing, database_url
from telephony.store import Store, StoreError
from telephony.store.spool import DAMAGED

ALIKE: Final = 0.86  # difflib's ratio: a letter too few, too many or swapped
OPEN_SECONDS_MAX: Final = 10.0
DISK_BYTES_MIN: Final = 200 * 1024**2
DISK_BYTES_GOOD: Final = 2 * 1024**3  # a day of ten lines, recorded: 1 MB a minute and call


async def check_settings(settings: Settings) -> list[Finding]:
    """Those that are right by themselves may contradict each other."""
    found = []
    try:
        check_signing(settings)
        check_exposure(settings, settings.host)
    except SettingsError as e:
        where, _, what = str(e).partition(": ")
        found.append(failed("settings", where, what, "change the environment or .env as said"))
    if settings.overflow_number is not None:
        try:
            dialable(settings.overflow_number, settings.allowed_countries)
        except NumberRefused as e:
            found.append(
                failed("settings", "OVERFLOW_NUMBER", str(e), "name a number that callers can be connected to")
            )
    return found or [ok("settings", "environment and .env", "all values are well formed and fit together")]


async def check_names() -> list[Finding]:
    """A misspelt setting is silently ignored; one that is nearly a setting's name was meant to be it."""
    known = {name.upper() for name in Settings.model_fields}
    given = dict.fromkeys(os.environ, "environment") | dict.fromkeys(await asyncio.to_thread(_names_in_file), ".env")
    return [
        warning("names", where, f"{name} is no setting, and is ignored", f"if {meant[0]} is meant, rename it")
        for name, where in sorted(given.items())
        if name not in known and (meant := difflib.get_close_matches(name, known, n=1, cutoff=ALIKE))
    ]


def _names_in_file() -> list[str]:
    try:
        lines = Path(".env").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [found[1] for line in lines if (found := re.match(r"\s*(?:export\s+)?(\w+)\s*=", line))]


async def check_agents(settings: Settings) -> list[Finding]:
    """Every agent that a call may meet: it loads, and its tools and hand-offs have names of their own."""
    names = {("AGENT", settings.agent)} if settings.agent is not None else set()
    names |= {("AGENTS", entry.rpartition("=")[2]) for entry in settings.agents}
    if not names:
        return [warning("agents", "AGENT", "the demo agent answers", "set AGENT to MODULE:NAME of your own agent")]
    found = []
    for where, name in sorted(names):
        try:
            Roster([]).check(load_agent(name).agent)
        except (BridgeError, SyntaxError, ImportError) as e:
            found.append(failed("agents", where, f"{name}: {type(e).__name__}: {e}", "mend the module, or the setting"))
        except Exception as e:  # noqa: BLE001 - it is the user's code that runs here: whatever it raises is the finding
            found.append(failed("agents", where, f"{name} raises {type(e).__name__}: {e}", "mend the module"))
        else:
            found.append(ok("agents", where, f"{name} loads"))
    return found


async def check_database(settings: Settings) -> list[Finding]:
    """It opens, and has the tables of this version."""
    where = "DATABASE_URL" if settings.database_url is not None else "DATA_DIR"
    try:
        async with (
            asyncio.timeout(OPEN_SECONDS_MAX),
            Store.open(database_url(settings), node=f"doctor-{os.getpid()}") as store,
        ):
            await store.ping()
    except (StoreError, OSError) as e:
        mend = "check that the database server runs, and the URL" if where == "DATABASE_URL" else "check the directory"
        return [failed("database", where, str(e), mend)]
    return [ok("database", where, "it opens, and its tables are those of this version")]


async def check_disk(settings: Settings) -> list[Finding]:
    """Recordings and tapes can be written, for a while."""
    directory = settings.data_dir
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory) as probe:
            probe.write(b"probe")
            probe.flush()
        free = shutil.disk_usage(directory).free
    except OSError as e:
        return [
            failed(
                "disk", "DATA_DIR", f"{directory} cannot be written: {e.strerror}", "let this user write there, or set another"
            )
        ]  # fmt: skip
    room = f"{free / 1024**3:.1f} GB are free in {directory}"
    if free < DISK_BYTES_MIN:
        return [failed("disk", "DATA_DIR", f"only {room}", "make room: calls cannot be recorded")]
    if free < DISK_BYTES_GOOD:
        return [warning("disk", "DATA_DIR", f"only {room}", "make room: a call takes about 1 MB a minute")]
    return [ok("disk", "DATA_DIR", room)]


async def check_spool(settings: Settings) -> list[Finding]:
    """No records of calls lie about that the database could not take."""
    spool = settings.data_dir / "spool"
    try:
        waiting, damaged = await asyncio.to_thread(lambda: (_records_in(spool), _records_in(spool / DAMAGED)))
    except OSError as e:
        return [failed("spool", "DATA_DIR", f"{spool} cannot be read: {e.strerror}", "let this user read it")]
    found = []
    if damaged:
        what = f"{len(damaged)} records of calls that could never be stored lie in {spool / DAMAGED}"
        mend = f"look at them (JSON; the server's log said why): correct each and move it to {spool}, or delete it"
        found.append(failed("spool", "DATA_DIR", what, mend))
    if waiting:
        what = f"{len(waiting)} records of calls wait in {spool} for the database"
        mend = "bring the database back, and see that `realtime-bridge serve` runs: it stores them"
        found.append(warning("spool", "DATA_DIR", what, mend))
    return found or [ok("spool", "DATA_DIR", "every record of a call is stored")]


def _records_in(directory: Path) -> list[str]:
    try:
        return [name.name for name in directory.iterdir() if name.suffix == ".json" and not name.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):  # the latter is told of by `check_disk`
        return []


async def check_port(settings: Settings) -> list[Finding]:
    """Nobody else listens there."""
    where = "HOST" if settings.port == 0 else "PORT"
    place = f"{settings.host}:{settings.port}"
    try:
        with listen(settings.host, settings.port):
            return [ok("port", where, f"{place} is free")]
    except (BridgeError, OSError, socket.gaierror) as e:
        trouble = str(e)
    host = "127.0.0.1" if settings.host in ("0.0.0.0", "::") else settings.host  # noqa: S104 - compared, not bound
    try:
        answer = await ask("GET", f"http://{f'[{host}]' if ':' in host else host}:{settings.port}/healthz")
    except Unreachable:
        return [failed("port", where, trouble, "stop what listens there, or set another PORT or HOST")]
    if is_ours(answer.body):
        return [ok("port", where, f"a realtime-bridge runs at {place}")]
    return [
        failed("port", where, f"another program answers at {place}", "stop it, or set another PORT"),
    ]


async def check_offline_model(settings: Settings) -> list[Finding]:
    """What talks to callers when there is no key."""
    if settings.openai_api_key is not None:
        return [skipped("offline model", "OPENAI_API_KEY", "not needed, since there is a key")]
    try:
        require_offline_parts()
    except MisuseError as e:
        return [failed("offline model", "OPENAI_API_KEY", str(e), "pip install 'realtime-bridge[local]', or set a key")]
    return [
        warning("offline model", "OPENAI_API_KEY", "not set: the offline model answers", "set a key for real callers")
    ]


def is_ours(body: bytes) -> bool:
    """Whether this is what our `/healthz` says."""
    try:
        return bool(json.loads(body) == {"status": "ok"})
    except ValueError:
        return False
