"""A recorded caller meets an agent: the one of today, or another, on the offline model or on OpenAI's.

    trial = try_agent(RecordedCaller.from_tape(path), agent, runs=5)
    trial.pass_rate, [failure for run in trial.runs for failure in run.failures]

On the offline model a call passes in virtual time, in a second or two, and the same call each time; several runs differ in
the delays of their networks. Live tools reach the real world from there; an agent's other functions (instructions,
guardrails, hooks) must not wait for it. On any other model a call takes its time, and so does all that belongs to it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeAlias

from realtime_bridge.agent import Agent
from realtime_bridge.errors import MisuseError
from realtime_bridge.session.events import SessionEvent
from realtime_bridge.tape import TapeKey
from telephony.agents import PhoneAgent
from telephony.call_details import CallDetails
from telephony.calls.live import CallEnding, CallListener
from telephony.expectations import Expectation, Question, Verdict, check, questions, require_expectations, transcript
from telephony.records.folder import CallFolder
from telephony.records.record import CallRecord
from telephony.testing.result import CallResult
from telephony.testing.script import Step
from telephony.trials.approvals import Approvals, TrialApprovals
from telephony.trials.changes import Change, changes
from telephony.trials.models import OfflinePlace, Place, RemoteModel, RemotePlace, Speech
from telephony.trials.recorded_caller import RecordedCaller
from telephony.trials.run import TrialCall
from telephony.trials.tools import RealWorld, Tools, TrialTools, require_mocked, some_are_live

Judge: TypeAlias = Callable[[Sequence[Question]], Mapping[Question, Verdict]]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRun:
    """One call of the caller's. `failures`: why it has not passed, in words; `changes`: what differs from the recorded call.

    `record` is None when nothing was written down, `result` when the call did not end. `folder`: where its tape and the
    rest lie, if they are kept.
    """

    number: int
    failures: tuple[str, ...]
    changes: tuple[Change, ...] = ()
    record: CallRecord | None = None
    result: CallResult | None = None
    folder: CallFolder | None = None
    took_s: float = 0.0

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def transcript(self) -> str:
        return "" if self.record is None else transcript(self.record)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """`caller`: whence she is; `agent`: who talked to her first; `is_compared`: with what a recorded call's agents did."""

    caller: str
    agent: str
    runs: tuple[TrialRun, ...]
    is_compared: bool = True

    @property
    def pass_rate(self) -> float:
        """From 0 to 1."""
        return sum(run.passed for run in self.runs) / len(self.runs)


def try_agent(
    caller: RecordedCaller | Sequence[Step],
    agent: Agent | PhoneAgent,
    *,
    model: Literal["local", "openai"] | RemoteModel = "local",
    tools: Tools = "recorded",
    approvals: Approvals = "recorded",
    runs: int = 1,
    expectations: Sequence[Expectation] | None = None,
    judge: Judge | None = None,
    script: Path | None = None,
    speech: Speech | None = None,
    details: CallDetails | None = None,
    keep: Path | None = None,
    key: TapeKey | None = None,
    listeners: Sequence[CallListener] = (),
    on_event: Callable[[SessionEvent], None] | None = None,
    on_run: Callable[[TrialRun], None] | None = None,
) -> Trial:
    """Let the caller call the agent, `runs` times. Not to be called from within an event loop.

    `tools`: see `TrialTools`; `approvals`: as decided in the recorded call, or all alike. `expectations`: what makes a call
    pass; None: the same tools with the same arguments and the same hand-offs as in the recorded call. `judge` answers what
    only a model can. `script` and `speech` are the offline model's (default: it improvises; its own ears and voice).
    `details`: what the agent is told of the call. `keep`: a data directory for the tapes and recordings; None: they are
    thrown away; `key` seals them. `listeners` and `on_event` are told what happens in the calls, `on_run` of each run that is
    over.

    Raises MisuseError for what cannot be tried: no run, what is no expectation, a mock of no tool, a script for a remote model, a model that lacks its packages or
    its key.
    """
    if runs < 1:
        raise MisuseError(f"a trial needs one run at least, not {runs}")
    require_expectations(expectations or ())
    place = _place(model, script, speech)
    caller = caller if isinstance(caller, RecordedCaller) else RecordedCaller.of_script(caller)
    phone_agent = PhoneAgent.of(agent)
    require_mocked(tools, phone_agent.agent)
    done = []
    with ExitStack() as stack:
        data_dir = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trial-")))
        real_world = None
        if some_are_live(tools, caller.deeds) and place.is_virtual:
            real_world = RealWorld()
            stack.callback(real_world.close)
        for number in range(1, runs + 1):
            call = TrialCall(
                number=number,
                caller=caller,
                tools=TrialTools(tools, caller.deeds, real_world),
                approvals=TrialApprovals(approvals, caller.deeds, caller_presses_keys=caller.presses_keys),
                data_dir=data_dir,
                key=key,
                details=details,
                listeners=listeners,
                on_event=on_event,
            )
            done.append(_run(call, phone_agent, place, expectations, judge, kept=keep is not None))
            if on_run is not None:
                on_run(done[-1])
    return Trial(caller=caller.name, agent=phone_agent.name, runs=tuple(done), is_compared=caller.deeds.is_known)


def _place(
    model: Literal["local", "openai"] | RemoteModel, script: Path | None, speech: Speech | None
) -> OfflinePlace | RemotePlace:
    if model == "local":
        return OfflinePlace(script, speech)
    if script is not None or speech is not None:
        raise MisuseError(
            "a script, and parts of speech, are the offline model's: leave them out, or use model='local'"
        )
    if isinstance(model, RemoteModel):
        return RemotePlace(model)
    if model == "openai":
        return RemotePlace(RemoteModel())
    raise MisuseError(f"model is 'local', 'openai' or a RemoteModel, not {model!r}")


def _run(
    call: TrialCall,
    agent: PhoneAgent,
    place: Place,
    expectations: Sequence[Expectation] | None,
    judge: Judge | None,
    *,
    kept: bool,
) -> TrialRun:
    began = time.perf_counter()
    failures = []
    result = None
    try:
        result = place.run(partial(call.place, agent))
    except TimeoutError:
        failures.append(f"the call did not end within {call.seconds_max:g} s")
    record = None if call.ending is None else call.ending.record
    failures += [*call.tools.problems, *call.approvals.problems]
    if result is not None and not failures:
        failures += _line_failures(result, call.ending)
    changed: list[Change] = []
    if record is None:
        failures.append("nothing was written down of the call")
    else:
        changed = changes(call.caller.deeds, record)
        failures += _unmet(expectations, changed, record, judge)
    if failures and call.caller.paused_ms:
        at = ", ".join(f"{ms / 1000:.1f} s" for ms in call.caller.paused_ms)
        failures.append(f"perhaps because the recording was paused at {at}: what was said and done then is not known")
    return TrialRun(
        number=call.number,
        failures=tuple(failures),
        changes=tuple(changed),
        record=record,
        result=result,
        folder=CallFolder(call.data_dir, record.call_sid, key=call.key) if kept and record is not None else None,
        took_s=time.perf_counter() - began,
    )


def _line_failures(result: CallResult, ending: CallEnding | None) -> list[str]:
    failures = [f"the phone was sent what it cannot take: {problem}" for problem in result.problems]
    why = ""
    if ending is not None and not ending.in_order:
        problems = () if ending.record is None else ending.record.problems
        why = "; ".join(dict.fromkeys([ending.reason, *problems]))
    if result.failure is not None:
        failures.append(f"the caller could not go on: {result.failure}" + (f" ({why})" if why else ""))
    elif why:
        failures.append(f"the agent's side broke off: {why}")
    return failures


def _unmet(
    expectations: Sequence[Expectation] | None, changed: Sequence[Change], record: CallRecord, judge: Judge | None
) -> list[str]:
    if expectations is None:
        return [str(change) for change in changed if change.what != "words"]
    asked = questions(expectations, record)
    verdicts = judge(asked) if asked and judge is not None else {}
    return [str(failure) for failure in check(expectations, record, verdicts)]
