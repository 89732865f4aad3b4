"""`realtime-bridge token`"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from telephony.cli import group
from telephony.cli.database import Refused, checked_name, expiry, print_json, this_user, when, with_store
from telephony.cli.tables import print_table
from telephony.scopes import check_scopes

if TYPE_CHECKING:
    from telephony.store import Store
    from telephony.store.rows import TokenRow

token = group(
    "Bearer tokens for the API at /api/v1.",
    "token create --name crm --scope calls:read --scope approvals:decide",
)

AsJson = Annotated[bool, typer.Option("--json", help="JSON, for machines.")]


@token.command(epilog="Example: realtime-bridge token create --name crm --scope calls:read --expires 90d")
def create(
    name: Annotated[str, typer.Option(help="Whose it is; stands in the audit.")],
    scope: Annotated[list[str], typer.Option(help="What it may do, such as calls:read; repeat it for more.")],
    expires: Annotated[str, typer.Option(help="When it ends: 90d, 12h, 30m from now, or never.")] = "365d",
    as_json: AsJson = False,
) -> None:
    """Make a token and print it, once: only its hash is stored.

    Scopes: calls:read, calls:write, approvals:read, approvals:decide, suppressions:read, suppressions:write,
    recordings:read, audit:read, numbers:read (without it, phone numbers are masked), and admin, which is all of them.
    """
    scopes = check_scopes(part for text in scope for part in text.split(","))
    ends = expiry(expires)

    async def make(store: Store) -> tuple[TokenRow, str]:
        made, secret = await store.access.create_token(checked_name(name), scopes, ends)
        data = {"name": made.name, "scopes": list(made.scopes)}
        await store.access.audit(this_user(), "token.create", made.token_id, data)
        return made, secret

    row, secret = with_store(make, makes=True)
    if as_json:
        print_json({**msgspec.to_builtins(row), "token": secret})
        return
    typer.echo(f"Token {row.token_id} ({', '.join(row.scopes)}), valid until {when(ends)}. Keep it safe:", err=True)
    typer.echo(secret)


@token.command("list", epilog="Example: realtime-bridge token list")
def list_(as_json: AsJson = False) -> None:
    """All tokens, with when each was used last; never their secrets."""
    rows = with_store(lambda store: store.access.list())
    if as_json:
        print_json(rows)
        return
    print_table(
        ("id", "name", "scopes", "created", "expires", "last used", "revoked"),
        [_cells(row) for row in rows],
    )


@token.command(epilog="Example: realtime-bridge token revoke 4f9c2b7a01de")
def revoke(token_id: Annotated[str, typer.Argument(help="As `token list` shows it.")]) -> None:
    """End a token, at once and for ever."""

    async def end(store: Store) -> bool:
        ended = await store.access.revoke(token_id)
        if ended:
            await store.access.audit(this_user(), "token.revoke", token_id)
        return ended

    if not with_store(end):
        raise Refused(f"there is no valid token {token_id}")
    typer.echo(f"Token {token_id} is revoked.", err=True)


def _cells(row: TokenRow) -> tuple[str, ...]:
    times = (row.created_at, row.expires_at, row.last_used_at, row.revoked_at)
    return (row.token_id, row.name, ", ".join(row.scopes), *map(when, times))
