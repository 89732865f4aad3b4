"""`realtime-bridge approvals`"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Final

import typer

from telephony.cli import group
from telephony.cli.database import Refused, ask_password, print_json, when, who_decides, with_store
from telephony.cli.tables import print_table

if TYPE_CHECKING:
    from telephony.store import Store
    from telephony.store.rows import ApprovalRow

approvals = group(
    "Tool calls that wait for a person's word.",
    "approvals list",
)

TAKEN_UP_S_MAX: Final = 3.0  # for the call's process to act on a decision

ApprovalId = Annotated[str, typer.Argument(help="As `approvals list` shows it.")]
Always = Annotated[bool, typer.Option("--always", help="For this tool, for the rest of the call.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, for machines.")]
Operator = Annotated[
    str | None,
    typer.Option(help="Decide as this operator, who gives their password. Otherwise: as this machine's user."),
]


@approvals.command("list", epilog="Example: realtime-bridge approvals list --all --json")
def list_(
    everything: Annotated[bool, typer.Option("--all", help="Decided and expired ones too, newest first.")] = False,
    call: Annotated[str | None, typer.Option(help="Of this call only (its SID).")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """What waits now: the tool, its exact arguments, and until when it can be decided."""

    async def find(store: Store) -> tuple[ApprovalRow, ...]:
        page = await store.approvals.list(status=None if everything else "waiting", call_sid=call, limit=limit)
        return page.rows

    rows = with_store(find)
    if as_json:
        print_json(rows)
        return
    if not rows:
        typer.echo("Nothing waits for approval." if not everything else "There are no approvals.", err=True)
        return
    print_table(
        ("id", "call", "tool", "arguments", "asked", "expires", "status"),
        [(r.approval_id, r.call_sid, r.tool, r.arguments, when(r.asked_at), when(r.expires_at), _status(r)) for r in rows],
    )  # fmt: skip


@approvals.command(epilog="Example: realtime-bridge approvals approve apr_5c0ffee5c0ffee5c0ffee5c0")
def approve(
    approval_id: ApprovalId, operator: Operator = None, always: Always = False, as_json: AsJson = False
) -> None:
    """Let the tool run, with exactly the arguments that `approvals list` shows."""
    _decide(approval_id, operator, approved=True, always=always, message=None, as_json=as_json)


@approvals.command(
    epilog='Example: realtime-bridge approvals reject apr_5c0ffee5c0ffee5c0ffee5c0 --message "Not today."'
)
def reject(
    approval_id: ApprovalId,
    message: Annotated[str | None, typer.Option(help="What the agent is told.")] = None,
    operator: Operator = None,
    always: Always = False,
    as_json: AsJson = False,
) -> None:
    """Refuse it: the tool does not run."""
    _decide(approval_id, operator, approved=False, always=always, message=message, as_json=as_json)


def _decide(
    approval_id: str, operator: str | None, *, approved: bool, always: bool, message: str | None, as_json: bool
) -> None:
    from telephony.calls.decisions import decide  # noqa: PLC0415 - slow to import, and `--help` has no need of it

    password = "" if operator is None else ask_password(operator)

    async def work(store: Store) -> tuple[ApprovalRow, bool]:
        by = await who_decides(store, operator, password, "approvals:decide")
        decision = await decide(store, approval_id, approved=approved, by=by, message=message, always=always)
        if decision.row is None:
            raise Refused(f"there is no approval {approval_id}")
        if not decision.won:
            raise Refused(f"{approval_id} cannot be decided any more: it is {_status(decision.row)}")
        return decision.row, await _taken_up(store, decision.row)

    row, taken_up = with_store(work)
    if as_json:
        print_json(row)
    else:
        typer.echo(f"{row.tool} {row.arguments} is {row.status}.")
    if not taken_up:
        typer.echo("The call's process has not taken it up yet; look with `realtime-bridge calls show`.", err=True)


async def _taken_up(store: Store, row: ApprovalRow) -> bool:
    """Whether the process of the call tells soon that it has acted."""
    try:
        async with asyncio.timeout(TAKEN_UP_S_MAX):
            while True:
                events = await store.calls.events(row.call_sid)
                ends = (event.data for event in events if event.kind == "approval_resolved")
                if any(data.get("approval_id") == row.approval_id for data in ends):
                    return True
                await asyncio.sleep(0.2)
    except TimeoutError:
        return False


def _status(row: ApprovalRow) -> str:
    return row.status if row.decided_by is None else f"{row.status} by {row.decided_by}"
