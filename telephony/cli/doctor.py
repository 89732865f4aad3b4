"""`realtime-bridge doctor`"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from telephony.cli.database import print_json

if TYPE_CHECKING:
    from telephony.doctor.findings import Finding

_MARKS: Final = {"ok": ("ok", "green"), "warning": ("warning", "yellow"), "failed": ("FAILED", "bold red")}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Check settings, keys, reachability, clock, database, disk, agents, and where Twilio sends calls; say what to do.

    Exit status 1 when something must be mended. Places no call and changes nothing, except that the database is brought
    up to date. Run it where the server runs, with the same settings, while the server runs.

    Example: realtime-bridge doctor
    """
    from telephony.doctor.examination import examine, read_settings  # noqa: PLC0415 - slow, and `--help` needs it not

    settings = read_settings()
    findings = tuple(settings) if isinstance(settings, list) else asyncio.run(examine(settings))
    well = not any(finding.verdict == "failed" for finding in findings)
    if as_json:
        print_json({"ok": well, "findings": findings})
    else:
        _print(findings)
    if not well:
        raise typer.Exit(1)


def _print(findings: tuple[Finding, ...]) -> None:
    shown = [finding for finding in findings if finding.verdict != "skipped"]
    if sys.stdout.isatty():
        _print_table(shown)
    else:
        for finding in shown:
            mark = _MARKS[finding.verdict][0]
            typer.echo(f"{mark:<8} {finding.where}: {finding.what}" + (f"; {finding.mend}" if finding.mend else ""))
    wrong = sum(finding.verdict == "failed" for finding in shown)
    typer.echo("Nothing must be mended." if wrong == 0 else f"{wrong} to mend.", err=True)


def _print_table(findings: list[Finding]) -> None:
    from rich.console import Console  # noqa: PLC0415 - not needed in a pipe
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table("", "where", "what", "what to do")
    for finding in findings:
        mark, colour = _MARKS[finding.verdict]
        table.add_row(Text(mark, style=colour), Text(finding.where), Text(finding.what), Text(finding.mend))
    Console().print(table)
