"""`realtime-bridge settings`"""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from telephony.cli.tables import print_table
from telephony.settings import load_settings, settings_table


def settings(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array, for machines.")] = False,
) -> None:
    """Print every setting: its value, where it comes from, what it does. Secrets are masked.

    Settings come from the environment, then from `.env` in the current directory.

    Example: realtime-bridge settings --json
    """
    rows = settings_table(load_settings())
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(rows), indent=2))
        return
    print_table(
        ("setting", "value", "", "what it does"),
        [(row.name, row.value or "-", "set" if row.is_set else "default", row.description) for row in rows],
    )
