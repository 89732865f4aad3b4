"""What commands need of the store: they use the server's database directly, whether or not the server runs.

Whoever may read the settings may do everything with the database anyway, so commands ask for no token. A decision made
here reaches a running server as those of other processes do, by the store's bus; on SQLite it looks there four times a
second.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import secrets
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import typer

from realtime_bridge.errors import MisuseError
from telephony.settings import Settings, database_url, load_settings

if TYPE_CHECKING:
    from telephony.store import Store

T = TypeVar("T")

_NAME: Final = re.compile(r"[\w.@-][\w .@-]{0,63}")
_SPANS: Final = {"d": timedelta(days=1), "h": timedelta(hours=1), "m": timedelta(minutes=1)}


class Refused(typer.Exit):
    """The work failed (exit status 1); say why on stderr."""

    def __init__(self, message: str) -> None:
        typer.echo(f"realtime-bridge: {message}", err=True)
        super().__init__(1)


def with_store(work: Callable[[Store], Awaitable[T]], *, settings: Settings | None = None, makes: bool = False) -> T:
    """Run `work` on the server's database. `makes`: the database may be made for it.

    Raises StoreError, and MisuseError when there is no database and none is to be made.
    """
    settings = settings or load_settings()
    if not makes:
        _must_exist(settings)
    return asyncio.run(_with_store(work, settings))


async def _with_store(work: Callable[[Store], Awaitable[T]], settings: Settings) -> T:
    from telephony.store import Store  # noqa: PLC0415 - slow to import, and `--help` has no need of it

    node = f"command-{os.getpid()}-{secrets.token_hex(3)}"
    async with Store.open(database_url(settings), node=node) as store:
        return await work(store)


def _must_exist(settings: Settings) -> None:
    if settings.database_url is None:
        path = settings.data_dir / "realtime-bridge.db"
    elif settings.database_url.startswith("sqlite:///"):
        path = Path(settings.database_url.removeprefix("sqlite:///"))
    else:
        return
    if not path.is_file():
        raise MisuseError(
            f"there is no database {path} here: run this where the server runs, or set DATA_DIR or DATABASE_URL as there"
        )


def ask_password(name: str, *, new: bool = False) -> str:
    """At the terminal, unseen; from the first line of stdin where that is none."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password: str = typer.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=new, err=True)
    return password


async def who_decides(store: Store, operator: str | None, password: str, scope: str) -> str:
    """As the audit shall name them: an operator with this right and password, or this machine's user. Raises Refused."""
    if operator is None:
        return this_user()
    row = await store.access.check_operator(operator, password)
    if row is None:
        raise Refused("there is no such operator, or they have another password")
    if scope not in row.scopes and "admin" not in row.scopes:
        raise Refused(f"operator {operator} lacks the right {scope}")
    return f"operator:{operator}"


def this_user() -> str:
    """Who runs the command, as the audit shall name them."""
    return f"user:{getpass.getuser()}"


def checked_name(name: str) -> str:
    """Raises MisuseError."""
    if not _NAME.fullmatch(name):
        raise MisuseError(f"{name!r}: a name has letters, digits, spaces and _ . @ -, at most 64 of them")
    return name


def expiry(text: str) -> datetime | None:
    """`90d`, `12h`, `30m` from now, or `never`. Raises MisuseError."""
    if text == "never":
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})([dhm])", text)
    if found is None:
        raise MisuseError(f"--expires {text}: expected a number of days, hours or minutes (90d, 12h, 30m), or never")
    return datetime.now(UTC) + int(found[1]) * _SPANS[found[2]]


def when(at: datetime | None) -> str:
    """For tables: local time, to the second."""
    return "-" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def print_json(value: Any) -> None:
    """One JSON value on stdout, for machines."""
    import msgspec  # noqa: PLC0415 - as Store above

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))
