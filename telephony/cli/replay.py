"""`realtime-bridge replay`"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

import typer
from rich.console import Console
from rich.progress import Progress

from realtime_bridge.errors import BridgeError, MisuseError
from realtime_bridge.tape import TapeKeys
from telephony.cli.tables import print_table
from telephony.replay.junit import JUnitCase, junit_xml
from telephony.replay.report import HEADINGS, VerifiedTape, summary
from telephony.replay.tapes import find_tapes
from telephony.replay.verify import verify_tape
from telephony.settings import load_settings, recording_keys


class _Told(Protocol):
    """What came of one tape."""

    @property
    def path(self) -> Path: ...

    @property
    def ok(self) -> bool: ...

    @property
    def cells(self) -> tuple[str, ...]: ...

    def lines(self) -> list[str]: ...

    def to_json(self) -> dict[str, Any]: ...

    def case(self) -> JUnitCase: ...


def replay(  # noqa: PLR0917 - Typer calls it by name
    tapes: Annotated[
        list[str],
        typer.Argument(
            metavar="TAPE",
            help="A tape, a call's folder, a call's SID (below DATA_DIR), or a directory of such; with --agent also a WAV "
            "file, mono or stereo with the caller left.",
        ),
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="Does this program still answer as it did then? The default.")
    ] = False,
    agent: Annotated[
        str | None, typer.Option(metavar="MODULE:NAME", help="Let the recorded callers call this agent instead.")
    ] = None,
    model: Annotated[
        Literal["local", "openai"],
        typer.Option(
            help="For --agent: the offline model, in virtual time; or OpenAI's (OPENAI_BASE_URL), in real time."
        ),
    ] = "local",
    tools: Annotated[
        Literal["recorded", "live"] | None,
        typer.Option(
            help="For --agent: tools answer as on the tape, or do what they really do.", show_default="recorded"
        ),
    ] = None,
    approvals: Annotated[
        Literal["recorded", "approve", "reject"] | None,
        typer.Option(help="For --agent: who approves decides as on the tape, or all alike.", show_default="recorded"),
    ] = None,
    runs: Annotated[
        int | None, typer.Option(help="For --agent: how often each caller calls.", show_default="1")
    ] = None,
    pass_rate: Annotated[
        str | None, typer.Option(help="For --agent: the share of calls that must pass.", show_default="100%")
    ] = None,
    expect: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="For --agent: a *.call.yaml with what is expected; by default the one beside the tape, or else the same "
            "tools and hand-offs as on the tape.",
        ),
    ] = None,
    script: Annotated[
        Path | None, typer.Option(metavar="FILE", help="For --agent: what the offline model says.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="For --agent: keep the new calls' tapes and recordings there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for machines; with all differences.")] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report for build servers there, as JUnit's XML.")
    ] = None,
) -> None:
    """Run recorded calls again, in virtual time.

    Every input of the call is given to this program's bridge and session again. Where they answer otherwise than in the
    call, by a single byte, it is told which behaviour changed: truncation, clear, mark, tool, … Exit status 0: all calls
    are identical; 1: some are not, or a tape cannot be read.

    With --agent, the recorded callers call an agent: they wait for its turns as they did, and interrupt it at the same
    places. Exit status 0: enough of the calls went as expected; 1: they did not.

    Example: realtime-bridge replay data/calls --agent my_company.front_desk:agent --runs 5 --pass-rate 80%
    """
    settings = load_settings()
    given = {
        "--tools": tools, "--approvals": approvals, "--runs": runs, "--pass-rate": pass_rate, "--expect": expect,
        "--script": script, "--keep": keep,
    }  # fmt: skip
    if agent is None and (useless := [name for name, value in given.items() if value is not None]):
        raise MisuseError(f"{useless[0]} is for trying an agent: add --agent MODULE:NAME")
    if agent is not None and verify:
        raise MisuseError("--verify and --agent are two things; ask for one at a time")
    found = find_tapes(tapes, settings.data_dir)
    if junit is not None and not junit.absolute().parent.is_dir():
        raise MisuseError(f"--junit {junit}: there is no such directory")
    keys = recording_keys(settings)
    if agent is None:
        if wav := next((path for path in found if path.suffix.lower() == ".wav"), None):
            raise MisuseError(
                f"{wav} is sound without a tape: only its caller can be replayed, with --agent MODULE:NAME"
            )
        verified = [_verified(path, keys) for path in _progress(found)]
        _tell(verified, HEADINGS, summary(verified), as_json=as_json, junit=junit)
        return
    from telephony.cli import replay_agent  # noqa: PLC0415 - brings much that a verification does not need
    from telephony.trials import report as trial_report  # noqa: PLC0415 - as above

    options = replay_agent.TrialOptions(
        agent=agent,
        model=model,
        tools=tools,
        approvals=approvals,
        runs=runs,
        pass_rate=None if pass_rate is None else replay_agent.pass_rate_of(pass_rate),
        script=script,
        expect=expect,
        keep=keep,
    )
    tried = replay_agent.try_tapes(found, keys, options, settings)
    _tell(tried, trial_report.HEADINGS, trial_report.summary(tried), as_json=as_json, junit=junit)


def _tell(done: Sequence[_Told], headings: Sequence[str], summed_up: str, *, as_json: bool, junit: Path | None) -> None:
    """The result, and the exit status."""
    if junit is not None:
        _write_junit(junit, [tape.case() for tape in done])
    if as_json:
        told = {"ok": all(tape.ok for tape in done), "tapes": [tape.to_json() for tape in done]}
        typer.echo(json.dumps(told, indent=2))
    else:
        print_table(headings, [tape.cells for tape in done])
        for tape in done:
            if lines := tape.lines():
                typer.echo("\n".join(["", str(tape.path), *(f"  {line}" for line in lines)]))
        typer.echo(summed_up, err=True)
    if not all(tape.ok for tape in done):
        raise typer.Exit(1)


def _verified(path: Path, keys: TapeKeys) -> VerifiedTape:
    began = time.perf_counter()
    try:
        verification = verify_tape(path, keys)
    except OSError as e:
        return VerifiedTape(path=path, took_s=time.perf_counter() - began, error=e.strerror or str(e))
    except BridgeError as e:
        return VerifiedTape(path=path, took_s=time.perf_counter() - began, error=str(e))
    return VerifiedTape(path=path, took_s=time.perf_counter() - began, verification=verification)


def _progress(paths: Sequence[Path]) -> Iterable[Path]:
    """Tells people how far it is; nobody else."""
    if len(paths) == 1 or not sys.stderr.isatty():
        return paths
    return _told(paths)


def _told(paths: Sequence[Path]) -> Iterator[Path]:
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("Replaying …", total=len(paths))
        for path in paths:
            yield path
            progress.advance(task)


def _write_junit(path: Path, cases: Sequence[JUnitCase]) -> None:
    try:
        path.write_bytes(junit_xml("realtime-bridge replay", cases))
    except OSError as e:
        raise MisuseError(f"--junit {path}: {e.strerror}") from e
