"""Tables on stdout: ruled and wrapped at a terminal, plain columns in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """One line per row; `rows` are as wide as `headings`."""
    if sys.stdout.isatty():
        from rich.console import Console  # noqa: PLC0415 - slow to import, and not needed in a pipe
        from rich.table import Table  # noqa: PLC0415 - as above
        from rich.text import Text  # noqa: PLC0415 - as above

        table = Table(*headings)
        for row in rows:
            table.add_row(*map(Text, row))  # whatever a cell holds, it is no markup
        Console().print(table)
        return
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    for row in (headings, *rows):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
