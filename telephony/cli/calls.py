"""`realtime-bridge calls`"""

from __future__ import annotations

import asyncio
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from realtime_bridge.errors import BridgeError, MisuseError, ProtocolError
from telephony.cli import group
from telephony.cli.database import Refused, print_json, when, with_store
from telephony.cli.kept import erase, export_person, prune
from telephony.cli.tables import print_table
from telephony.settings import load_settings, recording_keys

if TYPE_CHECKING:
    from telephony.records.record import CallRecord
    from telephony.store import Store
    from telephony.store.rows import CallRow, EventRow, ToolRow, TurnRow

calls = group(
    "Calls, live and past: who, when, what was said and done, where the recording is.",
    "calls list --limit 20",
)

AsJson = Annotated[bool, typer.Option("--json", help="JSON, for machines; with numbers in full.")]
Numbers = Annotated[bool, typer.Option("--numbers", help="Show phone numbers in full.")]
CallSid = Annotated[str, typer.Argument(help="As `calls list` shows it.")]
PARTS = ("call.wav", "timeline.svg", "call.json", "call.tape")


class Whole(msgspec.Struct, frozen=True):
    """Everything that is stored of a call, and where its files are: those of its second stream under `2/`, and so on."""

    call: CallRow
    transcript: tuple[TurnRow, ...]
    tools: tuple[ToolRow, ...]
    events: tuple[EventRow, ...]
    files: dict[str, str]


@calls.command("list", epilog="Example: realtime-bridge calls list --number +14155550100 --json")
def list_(
    *,
    number: Annotated[str | None, typer.Option(help="With this number, on either side; in E.164.")] = None,
    agent: Annotated[str | None, typer.Option(help="With this agent.")] = None,
    status: Annotated[str | None, typer.Option(help="In this state, such as in-progress or completed.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many at most.")] = 50,
    numbers: Numbers = False,
    as_json: AsJson = False,
) -> None:
    """Calls, newest first, live ones included."""
    from telephony.store.rows import CallFilter, CallStatus  # noqa: PLC0415 - slow to import, and `--help` has no need of it

    states: tuple[str, ...] = CallStatus.__args__  # type: ignore[attr-defined]  # a Literal is no class to mypy
    if status is not None and status not in states:
        raise MisuseError(f"--status {status}: there are {', '.join(states)}")
    wanted = msgspec.convert({"number": number, "agent": agent, "status": status}, CallFilter)

    async def find(store: Store) -> tuple[CallRow, ...]:
        return (await store.calls.list(wanted, limit=limit)).rows

    rows = with_store(find)
    if as_json:
        print_json(rows)
        return
    if not rows:
        typer.echo("There are no such calls.", err=True)
        return
    print_table(
        ("call", "began", "direction", "from", "to", "agent", "status", "seconds", "how it ended"),
        [_cells(row, in_full=numbers) for row in rows],
    )


@calls.command(epilog="Example: realtime-bridge calls show CA0123456789abcdef0123456789abcdef")
def show(call_sid: CallSid, numbers: Numbers = False, as_json: AsJson = False) -> None:
    """One call: transcript, tools, events, and the paths of its recording and picture."""
    whole = _whole(call_sid)
    if as_json:
        print_json(whole)
        return
    row = whole.call
    typer.echo(
        f"{row.call_sid}  {row.direction}  {_number(row.from_number, numbers)} → {_number(row.to_number, numbers)}"
    )
    typer.echo(
        f"began {when(row.created_at)}, ended {when(row.ended_at)}; {row.status}; {row.disposition or 'no end stored'}"
    )
    for line in (*transcript(whole.transcript), *(f"  problem: {problem}" for problem in row.problems)):
        typer.echo(line)
    for tool in whole.tools:
        typer.echo(
            f"  tool {tool.name} {msgspec.json.encode(tool.arguments).decode()}: {tool.outcome or 'no end stored'}"
        )
    for event in whole.events:
        typer.echo(f"  {when(event.at)} {event.kind}")
    for line in _heard(call_sid):
        typer.echo(f"  {line}")
    for name, path in whole.files.items():
        typer.echo(f"  {name}: {path}")


@calls.command(epilog="Example: realtime-bridge calls export CA0123456789abcdef0123456789abcdef --to exported")
def export(
    call_sid: Annotated[str | None, typer.Argument(help="As `calls list` shows it.")] = None,
    number: Annotated[str | None, typer.Option(help="Of all calls with this person, in place of one call.")] = None,
    to: Annotated[
        Path,
        typer.Option(help="Directory to write into, which is made; with --number, a ZIP file. Numbers are in full."),
    ] = Path(),
) -> None:
    """Copy everything of a call into a directory: what is stored (stored.json, transcript.txt), and its recorded files,
    opened where they are sealed.

    With --number: everything of the calls with one person, as one ZIP file for them.
    """
    if number is not None and call_sid is None:
        export_person(number, to)
        return
    if call_sid is None or number is not None:
        raise MisuseError("calls export: name one call, or a person's --number")
    whole = _whole(call_sid)
    directory = to / call_sid
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        stored = msgspec.json.format(msgspec.json.encode(whole), indent=2)
        (directory / "stored.json").write_bytes(stored + b"\n")
        (directory / "transcript.txt").write_text("\n".join(transcript(whole.transcript)) + "\n", encoding="utf-8")
    except OSError as e:
        raise Refused(f"the call cannot be exported to {directory}: {e.strerror}") from e
    unread = _copied(whole.files, directory)
    typer.echo(str(directory))
    if unread:
        raise Refused("not all of the call could be exported: " + "; ".join(unread))


calls.command(epilog="Example: realtime-bridge calls prune --older-than 30d --dry-run")(prune)
calls.command(epilog="Example: realtime-bridge calls erase --number +14155550100")(erase)


def transcript(turns: tuple[TurnRow, ...]) -> list[str]:
    """As people read it: who said what, and where they were cut off."""
    return [
        f"{turn.agent or ('agent' if turn.role == 'assistant' else 'caller')}: {turn.text}"
        + (" [cut]" if turn.cut else "")
        for turn in turns
    ]


def _whole(call_sid: str) -> Whole:
    """Raises Refused."""
    settings = load_settings()

    async def find(store: Store) -> Whole | None:
        row = await store.calls.get(call_sid)
        if row is None:
            return None
        return Whole(
            row,
            await store.calls.turns(call_sid),
            await store.calls.tools(call_sid),
            await store.calls.events(call_sid),
            await asyncio.to_thread(_files, settings.data_dir, call_sid),
        )

    whole = with_store(find, settings=settings)
    if whole is None:
        raise Refused(f"there is no call {call_sid}")
    return whole


def _files(data_dir: Path, call_sid: str) -> dict[str, str]:
    from telephony.records.folder import CallFolder  # noqa: PLC0415 - slow to import, and `--help` has no need of it

    try:
        own = CallFolder(data_dir, call_sid)
    except ProtocolError:
        return {}
    paths = [folder.path / name for folder in own.streams() for name in PARTS]
    return {str(path.relative_to(own.path)): str(path.resolve()) for path in paths if path.is_file()}


def _copied(files: dict[str, str], directory: Path) -> list[str]:
    """Copies them, opened; returns why some could not be."""
    from telephony.records.opened import copy_opened  # noqa: PLC0415 - as above

    keys, unread = recording_keys(load_settings()), []
    for name, path in files.items():
        target = directory / name
        try:
            target.parent.mkdir(mode=0o700, exist_ok=True)
            copy_opened(Path(path), target, keys)
        except (OSError, BridgeError) as e:
            unread.append(f"{name}: {e}")
            if target.is_file() and target.stat().st_size == 0:
                target.unlink()
    return unread


def _heard(call_sid: str) -> list[str]:
    """A line for each of the call's streams: how it was to talk to the agent, and what was not recorded."""
    from telephony.records.folder import CallFolder  # noqa: PLC0415 - as above

    settings = load_settings()
    lines = []
    try:
        folders = CallFolder(settings.data_dir, call_sid, keys=recording_keys(settings)).streams()
    except ProtocolError:
        return []
    for number, folder in enumerate(folders, start=1):
        try:
            told = heard(folder.read_record())
        except FileNotFoundError:
            continue
        except (OSError, BridgeError) as e:
            told = f"call.json cannot be read: {e}"
        lines.append(told if len(folders) == 1 else f"stream {number}: {told}")
    return lines


def heard(record: CallRecord) -> str:
    """How long answers took, and whatever else there was."""
    answers_ms = [line.answer_ms for line in record.transcript if line.answer_ms is not None]
    parts = [f"{record.duration_ms / 1000:.1f} s"]
    if answers_ms:
        parts.append(
            f"answers after {median(answers_ms):g} ms (half of {len(answers_ms)}), {max(answers_ms)} ms at worst"
        )
    lost = [each for each in record.reconnects if not each.planned]
    for count, what in (
        (len(record.barge_ins), "barge-ins"),
        (len(record.keys), "keys pressed"),
        (len(lost), "times without the model"),
        (len(record.pauses), "pauses of the recording"),
    ):
        if count:
            parts.append(f"{count} {what}")
    if record.recording == "deleted":
        parts.append("the recording was deleted")
    return "; ".join(parts)


def _cells(row: CallRow, *, in_full: bool) -> tuple[str, ...]:
    seconds = "-" if row.duration_ms is None else f"{row.duration_ms / 1000:.0f}"
    numbers: tuple[Any, ...] = tuple(_number(number, in_full) for number in (row.from_number, row.to_number))
    return (
        row.call_sid, when(row.created_at), row.direction, *numbers, row.agent or "-", row.status, seconds,
        row.disposition or "-",
    )  # fmt: skip


def _number(number: str, in_full: bool) -> str:
    from telephony.numbers import mask_number  # noqa: PLC0415 - its tables take a moment to load

    return (number if in_full else mask_number(number)) or "withheld"
