"""What came of giving recorded callers to an agent, for people, programs and build servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from telephony.replay.junit import JUnitCase
from telephony.trials.trial import Trial, TrialRun

SHOWN_MAX: Final = 5  # changes of a call that has passed, in text


@dataclass(frozen=True, slots=True, kw_only=True)
class TriedTape:
    """One tape's caller: either a `trial`, or the `error` for which there is none. `pass_rate_min`: from 0 to 1."""

    path: Path
    took_s: float
    pass_rate_min: float
    trial: Trial | None = None
    error: str | None = None

    @property
    def ok(self) -> bool:
        return self.trial is not None and self.trial.pass_rate >= self.pass_rate_min

    @property
    def result(self) -> str:
        if self.trial is None:
            return f"failed: {self.error}"
        failed = [run for run in self.trial.runs if not run.passed]
        if failed:
            return failed[0].failures[0].partition("\n")[0]
        changed = Counter(change.what for run in self.trial.runs for change in run.changes)
        if changed:
            return "changed: " + ", ".join(f"{count} x {what}" for what, count in changed.items())
        return "the same" if self.trial.is_compared else "nothing recorded to compare with"

    @property
    def cells(self) -> tuple[str, ...]:
        """A line of a table with `HEADINGS`."""
        if self.trial is None:
            return (str(self.path), "-", "-", self.result)
        passed = sum(run.passed for run in self.trial.runs)
        return (str(self.path), f"{passed} of {len(self.trial.runs)}", f"{self.trial.pass_rate:.0%}", self.result)

    def lines(self) -> list[str]:
        """Why it has failed, run by run, with the first failed call's transcript; or what has changed without a failure."""
        if self.trial is None:
            return []
        failed = [run for run in self.trial.runs if not run.passed]
        if not failed:
            changed = [str(change) for change in self.trial.runs[0].changes]
            more = [f"and {len(changed) - SHOWN_MAX} more"] if len(changed) > SHOWN_MAX else []
            return [*changed[:SHOWN_MAX], *more]
        lines = [
            f"run {run.number}: {line}" if first else f"  {line}"
            for run in failed
            for failure in run.failures
            for first, line in _marked(failure)
        ]
        return [*lines, "", *failed[0].transcript.split("\n"), *_kept(failed[0])]

    def to_json(self) -> dict[str, Any]:
        runs = () if self.trial is None else self.trial.runs
        return {
            "tape": str(self.path),
            "ok": self.ok,
            "error": self.error,
            "pass_rate": None if self.trial is None else self.trial.pass_rate,
            "runs": [_run(run) for run in runs],
        }

    def case(self) -> JUnitCase:
        told = None if self.ok or self.trial is None else "\n".join([f"{self.cells[1]} runs passed", *self.lines()])
        return JUnitCase(name=str(self.path), group="replay.agent", seconds=self.took_s, failure=told, error=self.error)


HEADINGS: Final = ("tape", "passed", "rate", "the agent's calls")


def summary(tapes: Sequence[TriedTape]) -> str:
    """All of them in a line."""
    runs = [run for tape in tapes if tape.trial is not None for run in tape.trial.runs]
    passed = sum(run.passed for run in runs)
    took_s = sum(tape.took_s for tape in tapes)
    calls = f"{len(runs)} call{'s' if len(runs) != 1 else ''}"
    return f"{passed} of {calls} passed; {sum(tape.ok for tape in tapes)} of {len(tapes)} callers; {took_s:.1f} s"


def _marked(text: str) -> list[tuple[bool, str]]:
    """Its lines, and which is the first."""
    return [(number == 0, line) for number, line in enumerate(text.split("\n"))]


def _kept(run: TrialRun) -> list[str]:
    return [] if run.folder is None else [f"  kept in {run.folder.path}"]


def _run(run: TrialRun) -> dict[str, Any]:
    record = run.record
    return {
        "number": run.number,
        "passed": run.passed,
        "failures": list(run.failures),
        "changes": [{"what": change.what, "taped": change.taped, "now": change.now} for change in run.changes],
        "tools": [] if record is None else [{"name": t.name, "arguments": t.arguments} for t in record.tools],
        "handoffs": [] if record is None else [[h.from_agent, h.to_agent] for h in record.handoffs],
        "barge_ins": [] if record is None else [barge_in.audio_end_ms for barge_in in record.barge_ins],
        "transcript": []
        if record is None
        else [{"role": line.role, "text": line.text, "cut": line.cut} for line in record.transcript],
        "seconds": None if run.result is None else round(run.result.seconds, 3),
        "took_s": round(run.took_s, 3),
        "kept": None if run.folder is None else str(run.folder.path),
    }
