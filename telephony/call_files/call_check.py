"""A call as a test: a caller, written down or recorded, meets an agent, and what must be so is held against the record.

`*.call.yaml` and the fixtures of the pytest plugin come together here.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from realtime_bridge.agent import Agent
from realtime_bridge.errors import BridgeError, InternalError, MisuseError, UserCodeError
from telephony.agents import PhoneAgent, load_agent
from telephony.call_files.call_file import CallFile
from telephony.call_files.call_speech import CallSpeech, speech_for
from telephony.call_files.judge import judge_of
from telephony.call_files.written_caller import WrittenCaller
from telephony.expectations import Expectation, Question, Verdict, check, questions, require_expectations
from telephony.records.record import CallRecord
from telephony.settings import load_settings, recording_keys
from telephony.testing.caller_script import CallerStep
from telephony.testing.result import CallResult
from telephony.trials.approvals import Approvals
from telephony.trials.recorded_caller import RecordedCaller
from telephony.trials.tools import Tools
from telephony.trials.trial import Judge, TrialRun, try_agent
from telephony.trials.wav_caller import caller_of

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallOptions:
    """How a test's calls are made. `keep`: where their tapes and recordings go. `judge`: None takes the settings' own."""

    model: Literal["local", "openai"] = "local"
    speech: Literal["auto", "real", "text"] = "auto"
    script: Path | None = None
    tools: Tools = "live"
    approvals: Approvals = "approve"
    runs: int = 1
    pass_rate: float = 1.0
    judge: Judge | None = None
    keep: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedRun:
    """One of the calls. `failures`: why it has not passed, as told to people."""

    run: TrialRun
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.failures


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedCall:
    """What became of a test. `record`, `result` and `transcript` are the last call's."""

    runs: tuple[CheckedRun, ...]
    pass_rate_min: float
    speech: Literal["real", "text"]
    model: str

    @property
    def pass_rate(self) -> float:
        return sum(run.passed for run in self.runs) / len(self.runs)

    @property
    def passed(self) -> bool:
        return self.pass_rate >= self.pass_rate_min

    @property
    def record(self) -> CallRecord:
        record = self.runs[-1].run.record
        if record is None:
            raise MisuseError("nothing was written down of this call")
        return record

    @property
    def result(self) -> CallResult | None:
        return self.runs[-1].run.result

    @property
    def transcript(self) -> str:
        return self.runs[-1].run.transcript

    def told(self) -> str:
        """Why it has failed, or that it has not."""
        failed = [run for run in self.runs if not run.passed]
        parts = []
        if len(self.runs) > 1:
            passed = len(self.runs) - len(failed)
            parts.append(f"{passed} of {len(self.runs)} calls passed; {self.pass_rate_min:.0%} should have")
        if failed:
            parts += failed[0].failures
            parts.append(_circumstances(failed[0].run, self))
        return "\n\n".join(parts)


class CallFailedError(AssertionError):
    """A call was not as it was expected to be; the message tells all."""


def check_call(
    agent: Agent | PhoneAgent,
    caller: Sequence[CallerStep] | Path,
    expect: Sequence[Expectation] | None,
    options: CallOptions,
    *,
    expected_at: Sequence[str] = (),
    name: str = "",
) -> CheckedCall:
    """Make the calls, and hold them against what is expected.

    `caller`: a script, or a tape (or WAV file) of one who has called. `expect` None: what the agent of the tape did.
    `expected_at`: where each expectation is written. May be called from within an event loop, which stands still meanwhile.
    Raises MisuseError and the errors of a tape for what cannot be tried.
    """
    require_expectations(expect or ())
    speech = speech_for(options.speech, options.model)
    person = _caller(caller, speech, name)
    trial = _away_from_loops(
        lambda: try_agent(
            person,
            agent,
            model=options.model,
            tools=options.tools,
            approvals=options.approvals,
            runs=options.runs,
            expectations=None if expect is None else (),
            script=options.script,
            speech=speech.parts() if speech.parts is not None else None,
            keep=options.keep,
            on_event=person.event if isinstance(person, WrittenCaller) else None,
        )
    )
    judge = options.judge or _judge_of_settings
    runs = tuple(
        CheckedRun(run=run, failures=(*_unfinished(run, expect), *_unmet(run, expect or (), judge, expected_at)))
        for run in trial.runs
    )
    return CheckedCall(runs=runs, pass_rate_min=options.pass_rate, speech=speech.kind, model=options.model)


def check_call_file(call: CallFile, *, roots: Sequence[Path] = (), keep: Path | None = None) -> CheckedCall:
    """`roots`: where else the agent's module may lie. Raises MisuseError, with the place in the file it is about."""
    try:
        agent = _find_agent(call.agent, [call.path.parent, *roots])
    except MisuseError as e:
        raise MisuseError(f"{call.places['agent']}: {str(e).removeprefix('AGENT: ')}") from e
    caller = call.caller or call.tape or call.wav
    assert caller is not None
    options = CallOptions(
        model=call.model,
        speech=call.speech,
        script=call.script,
        tools=call.tools,
        approvals=call.approvals,
        runs=call.runs,
        pass_rate=call.pass_rate,
        keep=keep,
    )
    try:
        return check_call(agent, caller, call.expect, options, expected_at=call.expected_at, name=call.path.name)
    except (InternalError, UserCodeError):
        raise  # whose traceback matters
    except (BridgeError, OSError) as e:
        raise MisuseError(f"{call.path.name}: {e}") from e


def _judge_of_settings(asked: Sequence[Question]) -> Mapping[Question, Verdict]:
    return judge_of(load_settings())(asked)


def _caller(caller: Sequence[CallerStep] | Path, speech: CallSpeech, name: str) -> RecordedCaller:
    if not isinstance(caller, Path):
        return WrittenCaller.of_written(caller, speech, name)
    return speech.adapt(caller_of(caller, recording_keys(load_settings())))


def _unfinished(run: TrialRun, expect: Sequence[Expectation] | None) -> list[str]:
    """What went wrong before anything could be expected."""
    if not run.failures or expect is None:
        return list(run.failures)
    return [*run.failures[:-1], f"{run.failures[-1]}\n{run.transcript}".rstrip()]


def _unmet(run: TrialRun, expect: Sequence[Expectation], judge: Judge, expected_at: Sequence[str]) -> list[str]:
    if run.record is None:
        return []
    asked = questions(expect, run.record)
    failures = check(expect, run.record, judge(asked) if asked else {})
    return [f"{expected_at[f.number]}: {f}" if f.number < len(expected_at) else str(f) for f in failures]


def _circumstances(run: TrialRun, call: CheckedCall) -> str:
    lines = [f"tape: {run.folder.tape}"] if run.folder is not None else []
    if call.speech == "text" and call.model == "local":
        lines.append("speech: text-level (nothing was mispronounced or misheard)")
    return "\n".join(lines)


def _find_agent(name: str, roots: Sequence[Path]) -> PhoneAgent:
    """Import `MODULE:NAME`. What is found already is found first: the roots are looked at last."""
    for root in [*roots, Path.cwd()]:
        if (path := str(root.resolve())) not in sys.path:
            sys.path.append(path)
    return PhoneAgent.of(load_agent(name))


def _is_in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _away_from_loops(work: Callable[[], _Value]) -> _Value:
    """Here, or, in an async test, in a thread of its own: a call runs on an event loop of its own."""
    if not _is_in_loop():
        return work()
    outcome: list[_Value] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as e:  # noqa: BLE001 - raised again below
            errors.append(e)

    thread = threading.Thread(target=run, name="call under test")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return outcome[0]
