"""`realtime-bridge replay --agent`: recorded callers are given to an agent."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from rich.console import Console

from realtime_bridge.errors import BridgeError, MisuseError
from realtime_bridge.tape import TapeKeys
from telephony.agents import PhoneAgent, load_agent
from telephony.call_files.call_file import ENDING, CallFile, load_call_file
from telephony.call_files.judge import judge_of
from telephony.demo.agent import front_desk
from telephony.expectations import Question, Verdict
from telephony.logs import configure_logging
from telephony.opening import offline_script
from telephony.settings import Settings, recording_key
from telephony.trials.approvals import Approvals
from telephony.trials.models import RemoteModel
from telephony.trials.recorded_caller import RecordedCaller
from telephony.trials.report import TriedTape
from telephony.trials.trial import Trial, TrialRun, try_agent
from telephony.trials.wav_caller import caller_of

RUNS_MAX: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialOptions:
    """As on the command line; None: as the `*.call.yaml` beside the tape says, or else by default."""

    agent: str
    model: Literal["local", "openai"] = "local"
    tools: Literal["recorded", "live"] | None = None
    approvals: Approvals | None = None
    runs: int | None = None
    pass_rate: float | None = None
    script: Path | None = None
    expect: Path | None = None
    keep: Path | None = None


def pass_rate_of(text: str) -> float:
    """`0.8`, `80%`. Raises MisuseError."""
    number = text.strip()
    try:
        rate = float(number.removesuffix("%")) / 100 if number.endswith("%") else float(number)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= 1:
        raise MisuseError(f"--pass-rate {text}: a share from 0 to 1, or from 0% to 100%")
    return rate


def try_tapes(paths: Sequence[Path], keys: TapeKeys, options: TrialOptions, settings: Settings) -> list[TriedTape]:
    """All tapes' callers, one after the other; how far it is goes to stderr. Raises MisuseError for what cannot be tried."""
    configure_logging("ERROR", "console")
    if options.runs is not None and not 1 <= options.runs <= RUNS_MAX:
        raise MisuseError(f"--runs {options.runs}: from 1 to {RUNS_MAX}")
    trials = _Trials(options, settings, keys)
    done = []
    for number, path in enumerate(paths, start=1):
        with trials.console.status(f"Caller {number} of {len(paths)}: {path}"):
            done.append(trials.of(path))
    return done


class _Trials:
    """One agent's, with one caller after the other."""

    def __init__(self, options: TrialOptions, settings: Settings, keys: TapeKeys) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._options = options
        self._settings = settings
        self._keys = keys
        self._agent = _agent(options.agent)
        self._given = None if options.expect is None else load_call_file(options.expect)
        self._model: Literal["local"] | RemoteModel = "local" if options.model == "local" else _remote(settings)

    def of(self, tape: Path) -> TriedTape:
        began = time.perf_counter()
        trial, error, rate = None, None, self._options.pass_rate
        try:
            file = self._given or _beside(tape)
            if rate is None and file is not None:
                rate = file.pass_rate
            trial = self._trial(caller_of(tape, self._keys), file)
        except MisuseError:
            raise
        except OSError as e:
            error = e.strerror or str(e)
        except BridgeError as e:
            error = str(e)
        took_s = time.perf_counter() - began
        return TriedTape(
            path=tape, took_s=took_s, pass_rate_min=1.0 if rate is None else rate, trial=trial, error=error
        )

    def _trial(self, caller: RecordedCaller, file: CallFile | None) -> Trial:
        options = self._options
        script = options.script
        if script is None and self._model == "local":
            script = file.script if file is not None else None
            script = script or offline_script(self._settings, is_demo=self._agent.agent is front_desk)
        return try_agent(
            caller,
            self._agent,
            model=self._model,
            tools=options.tools or (file.tools if file is not None and "tools" in file.places else "recorded"),
            approvals=options.approvals
            or (file.approvals if file is not None and "approvals" in file.places else "recorded"),
            runs=options.runs or (file.runs if file is not None else 1),
            expectations=file.expect if file is not None else None,
            judge=self._judge,
            script=script,
            keep=options.keep,
            key=recording_key(self._settings),
            on_run=lambda run: self._tell(caller, run),
        )

    def _judge(self, questions: Sequence[Question]) -> Mapping[Question, Verdict]:
        return judge_of(self._settings)(questions)

    def _tell(self, caller: RecordedCaller, run: TrialRun) -> None:
        told = "passed" if run.passed else "failed: " + run.failures[0].partition("\n")[0]
        self.console.print(f"{caller.name}: run {run.number} {told} ({run.took_s:.1f} s)", markup=False, soft_wrap=True)


def _agent(name: str) -> PhoneAgent:
    try:
        return PhoneAgent.of(load_agent(name))
    except MisuseError as e:
        raise MisuseError(f"--agent: {str(e).removeprefix('AGENT: ')}") from e


def _beside(tape: Path) -> CallFile | None:
    """What is expected of calls from this tape: a `*.call.yaml` in its directory that names it."""
    for path in sorted(tape.parent.glob(f"*{ENDING}")):
        file = load_call_file(path)
        if file.tape is not None and file.tape.resolve() == tape.resolve():
            return file
    return None


def _remote(settings: Settings) -> RemoteModel:
    key = settings.openai_api_key
    if key is None:
        raise MisuseError("--model openai needs OPENAI_API_KEY; without it there is the offline model (--model local)")
    return RemoteModel(
        name=settings.realtime_model, api_key=key.get_secret_value(), base_url=str(settings.openai_base_url)
    )
