"""`*.call.yaml`: a call as a test. Who calls and what is expected, in a file beside the agent or the tape.

    agent: front_desk:agent                  # MODULE:NAME, found from this file's directory or the tests' root
    caller:
      - Where is my order A1042?             # said when the agent has finished
      - interrupt: No, the other one.        # said into its answer:
        at: Tuesday                          #   when this word has been heard, or  after: 800 ms
      - silence: 3 s
      - press: 12#
      - recording: hello.wav                 # mono, 8 or 16 kHz; beside this file
        text: Hello.                         #   what is said in it, for where no speech is recognised
      - hang up
    expect:
      - tool: find_order
        with: {order_id: A1042, note: {like: by tuesday}}   # or {matches: ^A}, {one_of: [1, 2]}, {any: true}
        times: 1                             # also: agent, outcome
      - never_called: refund                 # perhaps with: {…}
      - order: [find_order, cancel_order]
      - said: it was shipped on Monday       # approximately; likeness: 80%
      - said: {matches: ship(ped|s)}         # or {means: it apologises}; by: caller; agent: Billing
      - not_said: guarantee
      - handoff: Billing                     # from: Front desk
      - no_handoff: Sales                    # or any
      - ends: the caller hung up
      - answers_within: 1500 ms
        half_within: 800 ms
      - interruptions: {max: 1}
      - no_dead_air_over: 4 s

Instead of `caller`: `tape: ../data/calls/CA…/call.tape`, or `wav: call.wav` (a recorded call's caller).

Besides: `model` (local, which runs in virtual time, or openai), `speech` (real, text, or auto: real where the `[local]`
extra is installed), `script` (what the offline model says), `tools` (live, recorded, or what each returns: those that are
not named are recorded if a tape calls, else live), `approvals` (approve, reject or recorded), `runs` and `pass_rate`.
Without `expect`, the agent must do what that of the tape did.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

import yaml

from realtime_bridge.errors import BridgeError
from telephony.call_files.expectations_file import read_expectations
from telephony.call_files.yaml_reading import Field, Reader, as_key, place_of
from telephony.expectations import Expectation
from telephony.testing.caller_script import CallerStep, InterruptAt, Recorded
from telephony.testing.recorded_speech import read_speech
from telephony.testing.script import HangUp, InterruptAfter, Pause, Press
from telephony.twilio.messages import Digit

ENDING: Final = ".call.yaml"
KEYS: Final = "0123456789*#ABCD"
RUNS_MAX: Final = 100

_TOP = (
    "agent", "caller", "tape", "wav", "expect", "model", "speech", "script", "tools", "approvals", "runs", "pass_rate",
)  # fmt: skip
_CALLERS = ("caller", "tape", "wav")
_AS_RECORDED = {"tools": "recorded", "approvals": "recorded"}
_STEPS = ("say", "interrupt", "at", "after", "recording", "text", "silence", "press", "hang_up")
_STEPS_MEANT = {
    **dict.fromkeys(("wait", "pause", "sleep", "silent"), "silence"),
    **dict.fromkeys(("dtmf", "digits", "key", "keys"), "press"),
    **dict.fromkeys(("wav", "audio", "play", "clip"), "recording"),
    **dict.fromkeys(("barge_in", "barge"), "interrupt"),
    **dict.fromkeys(("hangup", "end"), "hang_up"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFile:
    """What the file says. One of `caller`, `tape` and `wav` is given. `places`: of the top keys; `expected_at`: of each
    expectation, as `name:line:column`. `tools`: live, recorded, or a result for each name. `expect` None: what the agent
    of the tape did."""

    path: Path
    agent: str
    caller: tuple[CallerStep, ...] | None = None
    tape: Path | None = None
    wav: Path | None = None
    expect: tuple[Expectation, ...] | None = None
    expected_at: tuple[str, ...] = ()
    model: Literal["local", "openai"] = "local"
    speech: Literal["auto", "real", "text"] = "auto"
    script: Path | None = None
    tools: Literal["live", "recorded"] | Mapping[str, Any] = "live"
    approvals: Literal["approve", "reject", "recorded"] = "approve"
    runs: int = 1
    pass_rate: float = 1.0
    places: Mapping[str, str]


def load_call_file(path: Path, *, name: str | None = None) -> CallFile:
    """Raises FileMistakesError, with all mistakes and their places. `name`: what to call the file in them."""
    reader = Reader(path, name=name)
    parser = _Parser(reader, path)
    call = parser.call()
    reader.finish()
    assert call is not None
    return call


class _Parser:
    def __init__(self, reader: Reader, path: Path) -> None:
        self._reader = reader
        self._path = path

    def call(self) -> CallFile | None:
        reader = self._reader
        fields = reader.fields(reader.root, _TOP, "a call")
        if fields is None:
            return None
        self._check_top(fields)
        expected = read_expectations(reader, fields["expect"].value) if "expect" in fields else []
        values = {key: self._top(key, field) for key, field in fields.items() if key != "expect"}
        for key in _AS_RECORDED:
            if values.get(key) == "recorded" and "tape" not in fields:
                reader.mistake(fields[key].value, f"only a tape has recorded {key}")
        return CallFile(
            path=self._path,
            expect=tuple(expectation for _, expectation in expected) if "expect" in fields else None,
            expected_at=tuple(reader.at(place) for place, _ in expected),
            places={key: reader.at(place_of(field.value)) for key, field in fields.items()},
            **({"agent": ""} | (_AS_RECORDED if "tape" in fields else {}) | values),
        )

    def _check_top(self, fields: dict[str, Field]) -> None:
        """What is missing, unless a misspelt key is that already; and what goes not together."""
        reader, start = self._reader, place_of(self._reader.root)
        callers = [key for key in _CALLERS if key in fields]
        for other in callers[1:]:
            reader.mistake(fields[other].key, f"both '{callers[0]}' and '{other}'; one of them calls")
        if reader.has_mistakes:
            return
        if "agent" not in fields:
            reader.mistake(start, "no agent: add 'agent: MODULE:NAME'")
        if not callers:
            reader.mistake(start, "nobody calls: add 'caller' with what is said, 'tape' or 'wav'")
        if "expect" not in fields and callers != ["tape"]:
            reader.mistake(start, "nothing is expected: add 'expect' with what must be so")

    def _top(self, key: str, field: Field) -> Any:
        reader, node = self._reader, field.value
        match key:
            case "agent":
                return self._agent(node)
            case "caller":
                entries = reader.items(node, "'caller'")
                if not entries and isinstance(node, yaml.SequenceNode):
                    reader.mistake(node, "'caller' is empty; one who only listens says 'hang up'")
                return tuple(step for entry in entries for step in self._step(entry))
            case "tape" | "wav" | "script":
                return self._file(node, f"'{key}'")
            case "model":
                return reader.choice(node, ("local", "openai"), "'model'")
            case "speech":
                return reader.choice(node, ("auto", "real", "text"), "'speech'")
            case "approvals":
                return reader.choice(node, ("approve", "reject", "recorded"), "'approvals'")
            case "tools":
                return self._tools(node)
            case "runs":
                runs = reader.count(node, "'runs'", least=1)
                if runs is not None and runs > RUNS_MAX:
                    reader.mistake(node, f"'runs' may be {RUNS_MAX} at most")
                return runs
            case _:
                return reader.share(node, "'pass_rate'")

    def _agent(self, node: yaml.Node) -> str | None:
        name = self._reader.text(node, "'agent'")
        module, _, attribute = (name or "").partition(":")
        is_file = module.endswith(".py") or "/" in module
        if name and (is_file or not all(part.isidentifier() for part in [*module.split("."), attribute])):
            hint = ""
            if is_file:
                hint = f"; perhaps {module.removesuffix('.py').strip('./').replace('/', '.')}:{attribute or 'agent'}"
            self._reader.mistake(node, f"'agent' must be MODULE:NAME, as in 'front_desk:agent', not {name!r}{hint}")
        return name

    def _file(self, node: yaml.Node, what: str) -> Path | None:
        name = self._reader.text(node, what)
        if name is None:
            return None
        path = self._path.parent / name
        if not path.exists():
            self._reader.mistake(node, f"there is no {name!r} beside this file (looked for {path})")
        return path

    def _tools(self, node: yaml.Node) -> str | Mapping[str, Any] | None:
        if not isinstance(node, yaml.MappingNode):
            return self._reader.choice(node, ("live", "recorded"), "'tools'")
        results: Mapping[str, Any] = self._reader.plain(node)
        return results

    # ---- the caller --------------------------------------------------------------------------------------------------

    def _step(self, node: yaml.Node) -> list[CallerStep]:
        reader = self._reader
        words = reader.entry(node)
        if words is not None:
            text = reader.text(node, "what is said")
            return [] if text is None else [HangUp() if as_key(text) in ("hang_up", "hangup") else text]
        fields = reader.fields(node, _STEPS, "a step of the caller", meant=_STEPS_MEANT)
        if fields is None:
            return []
        deeds = [key for key in fields if key not in ("at", "after", "text")]
        if len(deeds) != 1:
            if fields or not isinstance(node, yaml.MappingNode):
                told = "nothing" if not deeds else " and ".join(repr(deed) for deed in deeds)
                reader.mistake(node, f"a step does one thing, this one does {told}; each step begins with '- '")
            return []
        deed = deeds[0]
        for key, belongs in (("at", "interrupt"), ("after", "interrupt"), ("text", "recording")):
            if key in fields and deed != belongs:
                reader.mistake(fields[key].key, f"'{key}' belongs to '{belongs}'")
        return self._deed(deed, fields)

    def _deed(self, deed: str, fields: dict[str, Field]) -> list[CallerStep]:
        reader, node = self._reader, fields[deed].value
        match deed:
            case "say":
                text = reader.text(node, "'say'")
                return [] if text is None else [text]
            case "interrupt":
                return self._interruption(fields)
            case "recording":
                return self._recording(fields)
            case "silence":
                ms = reader.ms(node, "'silence'")
                return [] if ms is None else [Pause(ms)]
            case "press":
                return self._keys(node)
            case _:
                return [HangUp()]

    def _interruption(self, fields: dict[str, Field]) -> list[CallerStep]:
        reader, node = self._reader, fields["interrupt"].value
        text = reader.text(node, "'interrupt'")
        if ("at" in fields) == ("after" in fields):
            wanted = "say when, with 'at: WORD' or 'after: 800 ms'"
            reader.mistake(
                node, f"an interruption needs its moment: {wanted}" if "at" not in fields else f"one moment: {wanted}"
            )
            return []
        if text is None:
            return []
        if "at" in fields:
            word = reader.text(fields["at"].value, "'at'")
            return [] if word is None else [InterruptAt(word), text]
        ms = reader.ms(fields["after"].value, "'after'")
        return [] if ms is None else [InterruptAfter(ms), text]

    def _recording(self, fields: dict[str, Field]) -> list[CallerStep]:
        node = fields["recording"].value
        path = self._file(node, "'recording'")
        text = self._reader.text(fields["text"].value, "'text'") if "text" in fields else ""
        if path is None or not path.exists():
            return []
        try:
            return [Recorded(read_speech(path), text or "")]
        except (BridgeError, OSError) as e:
            self._reader.mistake(node, str(e))
            return []

    def _keys(self, node: yaml.Node) -> list[CallerStep]:
        keys = (self._reader.text(node, "'press'") or "").upper()
        wrong = sorted(set(keys) - set(KEYS))
        if wrong:
            self._reader.mistake(node, f"a telephone has no key {wrong[0]!r}; it has {KEYS}")
            return []
        return [Press(cast("Digit", key)) for key in keys]
