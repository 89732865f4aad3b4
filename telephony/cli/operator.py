"""`realtime-bridge operator`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from telephony.cli import group
from telephony.cli.database import Refused, ask_password, checked_name, print_json, this_user, when, with_store
from telephony.cli.tables import print_table
from telephony.scopes import check_scopes

if TYPE_CHECKING:
    from telephony.store import Store
    from telephony.store.rows import OperatorRow

operator = group(
    "People who decide approvals and log in to the console.",
    "operator add ann --scope approvals:decide",
)


@operator.command(epilog="Example: realtime-bridge operator add ann --scope calls:read --scope approvals:decide")
def add(
    name: Annotated[str, typer.Argument(help="How they log in.")],
    scope: Annotated[list[str], typer.Option(help="What they may do, such as approvals:decide; repeat it for more.")],
) -> None:
    """Add somebody. Their password is asked for, or read from the first line of stdin where that is no terminal.

    Scopes are those of `realtime-bridge token create`.
    """
    scopes = check_scopes(part for text in scope for part in text.split(","))
    password = ask_password(checked_name(name), new=True)

    async def add_them(store: Store) -> OperatorRow | None:
        added = await store.access.add_operator(name, password, scopes)
        if added is not None:
            await store.access.audit(this_user(), "operator.add", name, {"scopes": list(scopes)})
        return added

    if with_store(add_them, makes=True) is None:
        raise Refused(f"there is an operator {name} already")
    typer.echo(f"Operator {name} may: {', '.join(scopes)}.", err=True)


@operator.command("list", epilog="Example: realtime-bridge operator list --json")
def list_(as_json: Annotated[bool, typer.Option("--json", help="JSON, for machines.")] = False) -> None:
    """Everybody, disabled ones too."""
    rows = with_store(lambda store: store.access.operators())
    if as_json:
        print_json(rows)
        return
    print_table(
        ("name", "scopes", "created", "disabled"),
        [(row.name, ", ".join(row.scopes), when(row.created_at), when(row.disabled_at)) for row in rows],
    )


@operator.command(epilog="Example: realtime-bridge operator disable ann")
def disable(name: Annotated[str, typer.Argument(help="As `operator list` shows it.")]) -> None:
    """Let somebody in no more. What they decided stays decided."""

    async def end(store: Store) -> bool:
        ended = await store.access.disable_operator(name)
        if ended:
            await store.access.audit(this_user(), "operator.disable", name)
        return ended

    if not with_store(end):
        raise Refused(f"there is no operator {name}, or they are disabled already")
    typer.echo(f"Operator {name} is disabled.", err=True)
