"""What came of verifying tapes, for people, programs and build servers.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from telephony.replay.differences import Answer, Difference, clock
from telephony.replay.junit import JUnitCase
from telephony.replay.verify import Verification

SHOWN_MAX: Final = 10  # differences of a tape, in text


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedTape:
    """One tape: either a `verification`, or the `error` for which there is none. `took_s`: of our time."""

    path: Path
    took_s: float
    verification: Verification | None = None
    error: str | None = None

    @property
    def ok(self) -> bool:
        return self.verification is not None and self.verification.identical

    @property
    def result(self) -> str:
        if self.verification is None:
            return f"failed: {self.error}"
        if not self.verification.inputs:
            return "nothing was recorded"
        if self.verification.identical:
            return "identical" if self.verification.torn is None else "identical, as far as it goes"
        return ", ".join(f"{count} x {what}" for what, count in self.verification.counts.items())

    @property
    def cells(self) -> tuple[str, ...]:
        """A line of a table with `HEADINGS`."""
        done = self.verification
        if done is None:
            return (str(self.path), "-", "-", "-", self.result)
        return (str(self.path), clock(done.seconds), str(done.inputs), str(done.answers), self.result)

    def lines(self, *, every: bool = False) -> list[str]:
        """Its differences, in words: the first ones, and how many more there are; or all that are known."""
        if self.verification is None or self.ok:
            return []
        known = self.verification.differences
        telling = [d for d in known if not d.only_numbers] or known
        shown = known if every else telling[:SHOWN_MAX]
        more = sum(self.verification.counts.values()) - len(shown)
        call = self.verification.call
        lines = [f"recorded by version {call.package_version or 'unknown'}, on Python {call.python_version}"]
        lines += [line for difference in shown for line in str(difference).split("\n")]
        return [*lines, *([f"and {more} more, of which some may only follow from these"] if more else [])]

    def to_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {"tape": str(self.path), "ok": self.ok, "error": self.error}
        if (done := self.verification) is None:
            return told
        return told | {
            "call_sid": done.call.call_sid,
            "agent": done.call.agent,
            "seconds": round(done.seconds, 3),
            "inputs": done.inputs,
            "answers": done.answers,
            "torn": done.torn,
            "counts": done.counts,
            "differences": [_difference(d) for d in done.differences],
        }

    def case(self) -> JUnitCase:
        return JUnitCase(
            name=str(self.path),
            group="replay.verify",
            seconds=self.took_s,
            failure=None if self.ok or self.verification is None else "\n".join([self.result, *self.lines(every=True)]),
            error=self.error,
        )


HEADINGS: Final = ("tape", "length", "inputs", "answers", "replay")


def summary(tapes: Sequence[VerifiedTape]) -> str:
    """All of them in a line."""
    same = sum(tape.ok for tape in tapes)
    seconds = sum(tape.verification.seconds for tape in tapes if tape.verification is not None)
    took_s = sum(tape.took_s for tape in tapes)
    calls = f"{len(tapes)} tape{'s' if len(tapes) != 1 else ''}"
    return f"{same} of {calls} identical; {clock(seconds)} of calls in {took_s:.1f} s"


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        "what": difference.what,
        "time": difference.time,
        "source": difference.source.name.lower(),
        "input": difference.payload.decode(errors="replace"),
        "taped": _answer(difference.taped),
        "replayed": _answer(difference.replayed),
    }


def _answer(answer: Answer | None) -> dict[str, str] | None:
    return None if answer is None else {"to": answer[0].name.lower(), "frame": answer[1].decode(errors="replace")}
