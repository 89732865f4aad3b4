"""Commands of `realtime-bridge calls` about what is kept of people: by age, and by number."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from realtime_bridge.errors import MisuseError
from telephony.cli.database import Refused, print_json, this_user, with_store
from telephony.settings import load_settings, recording_keys

if TYPE_CHECKING:
    from telephony.privacy.erasure import Erased, Found
    from telephony.privacy.export import Exported
    from telephony.privacy.retention import Pruned
    from telephony.store import Store

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Number = Annotated[str, typer.Option(help="The person's number, with + and country.")]


def prune(
    older_than: Annotated[
        str | None, typer.Option(help="Days (30d), hours (12h) or minutes (30m). [RECORDING_DAYS_MAX]")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be deleted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete recordings of calls that ended so long ago, and what was said in them. That there were calls stays.

    A running server does this by itself, hourly, where RECORDING_DAYS_MAX is set.
    """
    settings = load_settings()
    age = _age(older_than, settings.recording_days_max)

    async def work(store: Store) -> Pruned:
        from telephony.privacy.retention import prune  # noqa: PLC0415 - slow to import, and `--help` has no need of it

        return await prune(store, settings.data_dir, store.now() - age, dry_run=dry_run)

    pruned = with_store(work, settings=settings)
    if as_json:
        print_json(pruned)
    else:
        what = "would be deleted" if dry_run else "deleted"
        size = f"{pruned.size_bytes / 1024**2:.1f} MB"
        typer.echo(f"{what}: recordings of {len(pruned.folders)} calls ({size}), words of {pruned.calls}")
    if pruned.failed:
        raise Refused(f"these could not be deleted: {', '.join(pruned.failed)}")


def erase(
    number: Number,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase all that is kept of the calls with one person: recordings, transcripts, rows. It cannot be undone.

    Refused while a call with them goes on. What stays is their entry in the list of numbers that must not be called.
    """
    settings = load_settings()
    number, keys = e164(number), recording_keys(settings)

    async def look(store: Store) -> Found:
        from telephony.privacy.erasure import look  # noqa: PLC0415 - as above

        return await look(store, settings.data_dir, number, keys=keys)

    async def work(store: Store) -> Erased:
        from telephony.privacy.erasure import erase  # noqa: PLC0415 - as above

        with progress_bar("erasing") as told:
            return await erase(store, settings.data_dir, number, by=this_user(), keys=keys, progress=told)

    found = with_store(look, settings=settings)
    if not found:
        raise Refused("nothing is kept of this number")
    if not yes:
        calls, attempts = len(found.call_sids), len(found.attempt_ids)
        typer.echo(f"{calls} calls, {found.folders} recordings and {attempts} attempts to call are kept.", err=True)
        typer.confirm("Erase all of it for good?", abort=True, err=True)
    erased = with_store(work, settings=settings)
    if as_json:
        print_json(erased)
    else:
        typer.echo(f"erased: {erased.calls} calls, {erased.recordings} recordings, {erased.attempts} attempts to call")
        if erased.suppressed:
            typer.echo("The number stays on the list of those that must not be called.", err=True)
        for call_sid in erased.elsewhere:
            typer.echo(f"{call_sid} was recorded on another machine: erase it there, too", err=True)
    if erased.failed:
        raise Refused(f"the recordings of these could not be deleted, and they stay: {', '.join(erased.failed)}")


def export_person(number: str, to: Path) -> None:
    """Into a new ZIP file."""
    settings = load_settings()
    number = e164(number)
    if to.suffix.lower() != ".zip":
        raise MisuseError(f"--to {to}: name a file that ends with .zip")
    if to.exists():
        raise Refused(f"{to} is there already")

    async def work(store: Store) -> Exported:
        from telephony.privacy.export import export  # noqa: PLC0415 - as above

        keys = recording_keys(settings)
        with progress_bar("exporting") as told:
            return await export(store, settings.data_dir, number, file, by=this_user(), keys=keys, progress=told)

    partial = to.with_name(f"{to.name}.partial")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o600), "w+b") as file:
            exported = with_store(work, settings=settings)
        partial.replace(to)  # whole, or not there
    except OSError as e:
        raise Refused(f"{to} cannot be written: {e.strerror}") from e
    finally:
        partial.unlink(missing_ok=True)
    typer.echo(str(to))
    for call_sid in exported.going_on:
        typer.echo(f"{call_sid} goes on, and is left out", err=True)
    if exported.unread:
        raise Refused("; ".join(f"{name} is left out: {why}" for name, why in exported.unread.items()))


def e164(text: str) -> str:
    """Raises MisuseError, which does not repeat the number."""
    number = re.sub(r"[\s()./-]", "", text)
    if not re.fullmatch(r"\+[1-9]\d{6,14}", number):
        raise MisuseError("--number: expected a number with + and its country's code, such as +14155550100")
    return number


def _age(text: str | None, days_max: float | None) -> timedelta:
    if text is None:
        if days_max is None:
            raise MisuseError("--older-than: say how old, such as 30d, or set RECORDING_DAYS_MAX")
        return timedelta(days=days_max)
    found = re.fullmatch(r"(\d{1,5})([dhm])", text)
    if found is None:
        raise MisuseError(f"--older-than {text}: expected a number of days, hours or minutes (90d, 12h, 30m)")
    return timedelta(**{{"d": "days", "h": "hours", "m": "minutes"}[found[2]]: int(found[1])})


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """On stderr, where that is a terminal."""
    from rich.console import Console  # noqa: PLC0415 - slow to import
    from rich.progress import Progress  # noqa: PLC0415 - as above

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
