"""`realtime-bridge replay`"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from realtime_bridge.errors import BridgeError, MisuseError
from telephony.cli.tables import print_table
from telephony.replay.junit import JUnitCase, junit_xml
from telephony.replay.report import HEADINGS, VerifiedTape, summary
from telephony.replay.tapes import find_tapes
from telephony.replay.verify import verify_tape
from telephony.settings import load_settings


def replay(
    tapes: Annotated[
        list[str],
        typer.Argument(
            metavar="TAPE...", help="A tape, a call's folder, a call's SID (below DATA_DIR), or a directory of such."
        ),
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="Does this program still answer as it did then? The default.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, for machines; with all differences.")] = False,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a report for build servers there, as JUnit's XML.")
    ] = None,
) -> None:
    """Run recorded calls again, in virtual time.

    Every input of the call is given to this program's bridge and session again. Where they answer otherwise than in the
    call, by a single byte, it is told which behaviour changed: truncation, clear, mark, tool, … Exit status 0: all calls
    are identical; 1: some are not, or a tape cannot be read.

    Example: realtime-bridge replay data/calls --junit replay.xml
    """
    del verify  # the only thing there is to do, so far
    settings = load_settings()
    found = find_tapes(tapes, settings.data_dir)
    if junit is not None and not junit.absolute().parent.is_dir():
        raise MisuseError(f"--junit {junit}: there is no such directory")
    _verify(found, as_json=as_json, junit=junit)


def _verify(paths: Sequence[Path], *, as_json: bool, junit: Path | None) -> None:
    done = [_verified(path) for path in _progress(paths)]
    if junit is not None:
        _write_junit(junit, [tape.case() for tape in done])
    if as_json:
        told = {"ok": all(tape.ok for tape in done), "tapes": [tape.to_json() for tape in done]}
        typer.echo(json.dumps(told, indent=2))
    else:
        print_table(HEADINGS, [tape.cells for tape in done])
        for tape in done:
            if lines := tape.lines():
                typer.echo("\n".join(["", str(tape.path), *(f"  {line}" for line in lines)]))
        typer.echo(summary(done), err=True)
    if not all(tape.ok for tape in done):
        raise typer.Exit(1)


def _verified(path: Path) -> VerifiedTape:
    began = time.perf_counter()
    try:
        verification = verify_tape(path)
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
