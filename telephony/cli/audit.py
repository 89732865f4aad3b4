"""`realtime-bridge audit`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from telephony.cli.database import print_json, when, with_store
from telephony.cli.tables import print_table

if TYPE_CHECKING:
    from telephony.store import Store
    from telephony.store.rows import AuditRow


def audit(
    *,
    subject: Annotated[str | None, typer.Option(help="Of this call, approval, token, operator or number.")] = None,
    who: Annotated[
        str | None, typer.Option(help="Of this one, as the table names them: token:crm, operator:ann.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 50,
    numbers: Annotated[bool, typer.Option("--numbers", help="Show phone numbers in full.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for machines; with numbers in full.")] = False,
) -> None:
    """Who did what, and when, newest first: decisions, commands to live calls, suppressions, tokens, operators.

    Example: realtime-bridge audit --subject apr_5c0ffee5c0ffee5c0ffee5c0
    """

    async def find(store: Store) -> tuple[AuditRow, ...]:
        return await store.access.audits(subject=subject, who=who, limit=limit)

    rows = with_store(find)
    if as_json:
        print_json(rows)
        return
    if not rows:
        typer.echo("Nothing like that was written down.", err=True)
        return
    print_table(("when", "who", "what", "to", "details"), [_cells(row, in_full=numbers) for row in rows])


def _cells(row: AuditRow, *, in_full: bool) -> tuple[str, ...]:
    import msgspec  # noqa: PLC0415 - slow to import, and `--help` has no need of it

    from telephony.redaction import mask_numbers  # noqa: PLC0415 - as above

    details = msgspec.json.encode(row.data).decode() if row.data else ""
    told = (row.who, row.action, row.subject, details)
    return (when(row.at), *(told if in_full else map(mask_numbers, told)))
