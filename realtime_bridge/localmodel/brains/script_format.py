"""Dialogue scripts: what is heard, and what is said and done about it. Written in YAML.

    greeting: Hello, this is the bakery. How can I help you?
    fallback: Sorry, I did not understand that.
    threshold: 70                      # 0 to 100: how well a phrase must fit; 70 when left out
    rules:
      - heard: [what are your opening hours, when are you open]
        say: We are open from seven to six.

      - heard: where is my order       # state "start", as nothing else is said; without `in` a rule fits in any state
        say: What is your order number?
        next: number                   # the state from now on
      - in: number
        heard: ["my order number is {order:id}", "{order:id}"]
        say: Let me look up {order}.
        call: find_order               # a tool of the session
        with: {order_id: "{order}"}    # its arguments
        next: start
      - after: find_order              # the tool's result has come
        if: {status: shipped}          # only where these fields of the result have these values
        say: It was shipped and arrives on {result.arrives}.
      - after: find_order
        say: "I found this: {result}"

      - told: the caller pressed 1     # a system message
        say: You pressed one.

    agents:                            # what differs while another agent has the call, by its tools or its instructions
      - name: billing
        when: {tools: [refund], instructions: billing department}
        greeting: You are speaking to billing now.
        rules: [...]

A rule has exactly one of `heard`, `told`, `after`, and `say`, `call` or both. Among phrases the best fit wins, among
equal ones the first rule, and an agent's own rules go before the common ones; case, punctuation, "please" and a misheard
letter count little. After a tool the first rule that applies wins; without one the result is read aloud.

A slot in a phrase captures words for `say` and `with`, until the call is handed on: `{name}` any words, `{name:number}`
a number ("twenty five dollars" is 25), `{name:id}` letters and digits ("a ten forty two" is A1042). An argument that is
one slot alone keeps its type. `{result}` is the result's text, `{result.a.0.b}` a field of its JSON.

`agents`: the first whose `when` holds is active: all of its `tools` are in the session, and its `instructions`, without
regard to case, are part of the session's. A greeting of its own is said when a hand-off brings the call to it.
A script where the client forbids tools (`tool_choice: none`) says what it says and calls nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError, model_validator
from rapidfuzz import process

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.brains.phrases import Phrase, parse_phrase
from realtime_bridge.plain_yaml import PlainLoader

START = "start"
SCRIPT_BYTES_MAX = 1_000_000
_PROBLEMS_SHOWN_MAX = 10

PLACEHOLDER = re.compile(r"\{\s*([\w.-]+)\s*\}")


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


_Texts = Annotated[tuple[str, ...], BeforeValidator(_as_list)]
_TextsOfSome = Annotated[tuple[str, ...], BeforeValidator(_as_list), Field(min_length=1)]


class _Part(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="forbid", frozen=True, coerce_numbers_to_str=True, str_strip_whitespace=True
    )


class Rule(_Part):
    """One line of the dialogue. `heard`, `told`: phrases, one of which must fit; `after`: a tool's name."""

    heard: _TextsOfSome | None = None
    told: _TextsOfSome | None = None
    after: str | None = None
    states: _Texts = Field((), alias="in")
    only_if: dict[str, Any] = Field({}, alias="if")
    say: str | None = Field(None, min_length=1)
    call: str | None = Field(None, min_length=1)
    arguments: dict[str, Any] = Field({}, alias="with")
    next: str | None = Field(None, min_length=1)

    _phrases: tuple[Phrase, ...] = PrivateAttr(())

    @property
    def phrases(self) -> tuple[Phrase, ...]:
        return self._phrases

    def applies_in(self, state: str) -> bool:
        return not self.states or state in self.states

    @model_validator(mode="after")
    def _make_sense(self) -> Rule:
        triggers = [trigger for trigger in (self.heard, self.told, self.after) if trigger]
        if len(triggers) != 1:
            raise ValueError("a rule has exactly one of 'heard', 'told' and 'after'")
        if self.say is None and self.call is None:
            raise ValueError("a rule has 'say', 'call' or both")
        if self.arguments and self.call is None:
            raise ValueError("'with' are the arguments of a 'call', which is missing")
        if self.only_if and self.after is None:
            raise ValueError("'if' looks at a tool's result, so it belongs to 'after'")
        self._phrases = tuple(parse_phrase(text) for text in (self.heard or self.told or ()))
        return self

    def placeholders(self) -> Iterator[str]:
        for text in _texts([self.say, self.arguments]):
            yield from PLACEHOLDER.findall(text)


class When(_Part):
    """Both must hold, where both are given."""

    tools: _Texts = ()
    instructions: str = ""

    @model_validator(mode="after")
    def _say_something(self) -> When:
        if not self.tools and not self.instructions:
            raise ValueError("'when' needs 'tools', 'instructions' or both")
        return self


class AgentPart(_Part):
    """What differs for one agent."""

    name: str = ""
    when: When
    greeting: str | None = None
    fallback: str | None = None
    rules: tuple[Rule, ...] = ()


class Script(_Part):
    """A whole script. Immutable, and shared by all conversations."""

    threshold: float = Field(70, ge=0, le=100)
    greeting: str = "Hello, how can I help you?"
    fallback: str = "Sorry, I did not understand that. Could you say it again?"
    rules: tuple[Rule, ...] = ()
    agents: tuple[AgentPart, ...] = ()

    @model_validator(mode="after")
    def _have_rules(self) -> Script:
        if not self.rules and not any(agent.rules for agent in self.agents):
            raise ValueError("a script needs at least one rule")
        return self


def load_script(path: Path) -> Script:
    """Raises MisuseError: the file cannot be read, or says what no script may; with file, line, field and remedy."""
    try:
        data = path.read_bytes()
    except OSError as e:
        raise MisuseError(f"cannot read the script {path}: {e.strerror or e}") from e
    try:
        return parse_script(data.decode(), source=path.name)
    except UnicodeDecodeError as e:
        raise MisuseError(f"{path.name}: not UTF-8 text; save it as UTF-8") from e


def parse_script(text: str, *, source: str = "script") -> Script:
    """Raises MisuseError, as `load_script` does. `source`: what to call the script in it."""
    if len(text) > SCRIPT_BYTES_MAX:
        raise MisuseError(f"{source}: longer than {SCRIPT_BYTES_MAX:,} characters")
    lines: dict[tuple[str | int, ...], int] = {}
    try:
        root = yaml.compose(text, Loader=PlainLoader)
        if root is None:
            raise MisuseError(f"{source}: empty; a script has at least 'rules'")
        _find_lines(root, (), lines, source)
        document = yaml.load(text, Loader=PlainLoader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as e:
        line = f", line {e.problem_mark.line + 1}" if e.problem_mark else ""
        raise MisuseError(f"{source}{line}: not YAML: {e.problem or e}") from e
    except (yaml.YAMLError, RecursionError) as e:
        raise MisuseError(f"{source}: not YAML: {e}") from e
    try:
        script = Script.model_validate(document)
    except ValidationError as e:
        raise MisuseError(_listed([_problem(error, lines, source) for error in e.errors(include_url=False)])) from e
    problems = _contradictions(script)
    if problems:
        raise MisuseError(_listed([f"{_place(where, lines, source)}: {what}" for where, what in problems]))
    return script


def _find_lines(
    node: yaml.Node, path: tuple[str | int, ...], lines: dict[tuple[str | int, ...], int], source: str
) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            if inner in lines:
                raise MisuseError(
                    f"{_place(path, lines, source)}: {key.value!r} twice (line {key.start_mark.line + 1})"
                )
            lines[inner] = key.start_mark.line + 1
            _find_lines(value, inner, lines, source)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _find_lines(value, (*path, index), lines, source)


def _place(path: Sequence[str | int], lines: dict[tuple[str | int, ...], int], source: str) -> str:
    known = tuple(path)
    while known and known not in lines:
        known = known[:-1]
    field = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")
    return f"{source}, line {lines.get(known, 1)}{', ' if field else ''}{field}"


def _problem(error: Any, lines: dict[tuple[str | int, ...], int], source: str) -> str:
    where, message = tuple(error["loc"]), str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        known = _fields_at(where[:-1])
        near = process.extractOne(str(where[-1]), known, score_cutoff=60)
        message = (
            f"unknown field; did you mean {near[0]!r}?" if near else f"unknown field; known are {', '.join(known)}"
        )
    elif error["type"] == "missing":
        message = "missing; add it"
    elif error["type"] == "string_type":
        message = "must be text; put it in quotes if it looks like something else"
    return f"{_place(where, lines, source)}: {message}"


def _fields_at(path: Sequence[str | int]) -> list[str]:
    names = [step for step in path if isinstance(step, str)]
    models: dict[str, type[_Part]] = {"rules": Rule, "when": When, "agents": AgentPart}
    model = models.get(names[-1] if names else "", Script)
    return [field.alias or name for name, field in model.model_fields.items()]


def _contradictions(script: Script) -> list[tuple[tuple[str | int, ...], str]]:
    """Names that lead nowhere: states nobody enters or leaves for, words nobody captures."""
    rules: list[tuple[tuple[str | int, ...], Rule]] = [(("rules", i), rule) for i, rule in enumerate(script.rules)]
    rules += [
        (("agents", a, "rules", i), rule) for a, agent in enumerate(script.agents) for i, rule in enumerate(agent.rules)
    ]
    entered = {START, *(rule.next for _, rule in rules if rule.next)}
    used = {START, *(state for _, rule in rules for state in rule.states)}
    captured = {slot.name for _, rule in rules for phrase in rule.phrases for slot in phrase.slots}
    problems: list[tuple[tuple[str | int, ...], str]] = []
    for where, rule in rules:
        problems += [
            ((*where, "in"), f"no rule leads to state {state!r}; write 'next: {state}' in the one that should")
            for state in rule.states
            if state not in entered
        ]
        if rule.next and rule.next not in used:
            problems.append(((*where, "next"), f"no rule is in state {rule.next!r}; write 'in: {rule.next}' in some"))
        for name in rule.placeholders():
            if name.split(".")[0] == "result":
                if rule.after is None:
                    problems.append((where, f"{{{name}}} is a tool's result, so it belongs to a rule with 'after'"))
            elif name not in captured:
                problems.append((where, f"no phrase captures {{{name}}}; write it into a 'heard' phrase"))
    return problems


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)


def _listed(problems: Sequence[str]) -> str:
    shown = list(problems[:_PROBLEMS_SHOWN_MAX])
    more = len(problems) - len(shown)
    return "\n".join([*shown, f"and {more} more"] if more else shown)
