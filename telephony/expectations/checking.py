"""Holds expectations against the record of a call.

What only a model can judge is asked for first and handed in, so that checking itself stays pure:

    verdicts = {question: await judge(question) for question in questions(expected, record)}
    failures = check(expected, record, verdicts)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import assert_never

from realtime_bridge.errors import MisuseError
from telephony.expectations import phrases
from telephony.expectations.arguments import Argument, fits, regular_expression, shown
from telephony.expectations.kinds import (
    AnswerTimes,
    Ended,
    Expectation,
    HandedOff,
    Interruptions,
    NoDeadAir,
    NotHandedOff,
    NotSaid,
    Said,
    ToolCalled,
    ToolNotCalled,
    ToolsInOrder,
)
from telephony.expectations.transcript import tool_call, transcript
from telephony.records.record import CallRecord, Line, ToolUse

NEAR_MISS_MIN = 60.0  # of 100: less is not worth showing as what was said instead


@dataclass(frozen=True, slots=True)
class Failure:
    """`number`: of the expectation, in the order given. `around`: the transcript there."""

    number: int
    expected: str
    found: str
    around: str

    def __str__(self) -> str:
        return f"expected: {self.expected}\nbut: {self.found}\n{self.around}"


@dataclass(frozen=True, slots=True)
class Question:
    """For a judge: does any of `lines` mean `meaning`?"""

    meaning: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`line`: which of the question's lines decided it."""

    holds: bool
    reason: str = ""
    line: int | None = None


@dataclass(frozen=True, slots=True)
class _Miss:
    """What was found instead, and where in the record to look."""

    found: str
    at: tuple[object, ...] = ()


def require_expectations(expectations: Sequence[object]) -> None:
    """Raises MisuseError for anything else, before a call is made in vain."""
    if isinstance(expectations, Expectation):
        raise MisuseError(f"what is expected must be a list: [{expectations!r}]")
    for number, each in enumerate(expectations, start=1):
        if not isinstance(each, Expectation):
            meant = f": did you mean Said({each!r})?" if isinstance(each, str) else ""
            raise MisuseError(f"expectation {number}: {each!r} is none{meant}")


def questions(expectations: Sequence[Expectation], record: CallRecord) -> list[Question]:
    """What a model must judge before `check`; each once."""
    asked = [_question(e, record) for e in expectations if isinstance(e, Said | NotSaid) and e.meaning is not None]
    return list(dict.fromkeys(question for question in asked if question.lines))


def check(
    expectations: Sequence[Expectation], record: CallRecord, verdicts: Mapping[Question, Verdict] | None = None
) -> list[Failure]:
    """Those that do not hold, in order. A meaning that nobody has judged does not hold."""
    failures = []
    for number, expectation in enumerate(expectations):
        miss = _miss(expectation, record, verdicts or {})
        if miss is not None:
            around = transcript(record, miss.at)
            failures.append(Failure(number, _expected(expectation), miss.found, around))
    return failures


def _miss(expectation: Expectation, record: CallRecord, verdicts: Mapping[Question, Verdict]) -> _Miss | None:
    match expectation:
        case ToolCalled():
            return _tool_called(expectation, record)
        case ToolNotCalled(name, arguments):
            calls = [tool for tool in record.tools if tool.name == name and _agrees(arguments, tool)]
            return _Miss(f"it was called: {tool_call(calls[0])}", tuple(calls)) if calls else None
        case ToolsInOrder():
            return _in_order(expectation, record)
        case Said():
            return _said(expectation, record, verdicts)
        case NotSaid():
            return _not_said(expectation, record, verdicts)
        case HandedOff(to, from_):
            reached = [h for h in record.handoffs if h.to_agent == to and from_ in (None, h.from_agent)]
            return None if reached else _Miss(f"the call {_way(record)}", record.handoffs)
        case NotHandedOff(to):
            reached = [h for h in record.handoffs if to in (None, h.to_agent)]
            return _Miss(f"the call {_way(record)}", tuple(reached)) if reached else None
        case Ended(disposition):
            ended = phrases.nearest(disposition, [record.disposition])
            if ended is not None and ended.is_like(phrases.LIKENESS_MIN):
                return None
            return _Miss(f"it ended: {record.disposition}", record.transcript[-1:])
        case AnswerTimes():
            return _answered_in_time(expectation, record)
        case Interruptions(most, least):
            number = len(record.barge_ins)
            if (most is None or number <= most) and (least is None or number >= least):
                return None
            return _Miss(f"there were {number or 'none'}", tuple(line for line in record.transcript if line.cut))
        case NoDeadAir(over_s):
            return _dead_air(over_s, record)
    assert_never(expectation)


# ---- tools -----------------------------------------------------------------------------------------------------------


def _tool_called(wanted: ToolCalled, record: CallRecord) -> _Miss | None:
    calls = [tool for tool in record.tools if _is_call(wanted, tool)]
    if (calls and wanted.times in (None, len(calls))) or (not calls and wanted.times == 0):
        return None
    if calls:
        return _Miss(f"it was called {_times(len(calls))}", tuple(calls))
    same_name = [tool for tool in record.tools if tool.name == wanted.name]
    if same_name:
        return _Miss(
            f"{wanted.name} was called otherwise: {_listed(_difference(wanted, t) for t in same_name)}",
            tuple(same_name),
        )
    if not record.tools:
        return _Miss("no tool was called at all")
    return _Miss(f"only these were called: {_listed(map(tool_call, record.tools))}", record.tools)


def _in_order(wanted: ToolsInOrder, record: CallRecord) -> _Miss | None:
    calls = sorted(record.tools, key=lambda tool: tool.start_ms)
    at = 0
    for number, step in enumerate(wanted.tools):
        tool = step if isinstance(step, ToolCalled) else ToolCalled(step)
        while at < len(calls) and not _is_call(tool, calls[at]):
            at += 1
        if at == len(calls):
            told = _listed(map(tool_call, calls)) or "none at all"
            behind = f" after {_named(wanted.tools[number - 1])}" if number else ""
            return _Miss(f"{_named(step)} was not called{behind}; these were, in order: {told}", tuple(calls))
        at += 1
    return None


def _is_call(wanted: ToolCalled, tool: ToolUse) -> bool:
    return (
        tool.name == wanted.name
        and _agrees(wanted.arguments, tool)
        and wanted.agent in (None, tool.agent)
        and wanted.outcome in (None, tool.outcome)
    )


def _agrees(arguments: Mapping[str, Argument], tool: ToolUse) -> bool:
    return all(name in tool.arguments and fits(value, tool.arguments[name]) for name, value in arguments.items())


def _difference(wanted: ToolCalled, tool: ToolUse) -> str:
    wrong = [
        f"{name} was {shown(tool.arguments[name]) if name in tool.arguments else 'not given'}"
        for name, value in wanted.arguments.items()
        if name not in tool.arguments or not fits(value, tool.arguments[name])
    ]
    if wanted.agent not in (None, tool.agent):
        wrong.append(f"by {tool.agent or 'nobody known'}")
    if wanted.outcome not in (None, tool.outcome):
        wrong.append(f"it was {tool.outcome or 'still running'}")
    return f"{tool_call(tool)} ({', '.join(wrong)})"


# ---- words -----------------------------------------------------------------------------------------------------------


def _lines(words: Said | NotSaid, record: CallRecord) -> tuple[Line, ...]:
    role = "assistant" if words.by == "agent" else "user"
    return tuple(line for line in record.transcript if line.role == role and (words.agent in (None, line.agent)))


def _texts(words: Said | NotSaid, lines: Iterable[Line]) -> tuple[str, ...]:
    if isinstance(words, Said):
        return tuple(line.text for line in lines)
    return tuple(f"{line.text} {line.unheard}".strip() for line in lines)


def _question(words: Said | NotSaid, record: CallRecord) -> Question:
    return Question(words.meaning or "", _texts(words, _lines(words, record)))


def _occurs(words: Said | NotSaid, record: CallRecord) -> tuple[bool, _Miss]:
    """Whether the words occur by text or pattern; and where they do, or what comes nearest."""
    lines = _lines(words, record)
    texts = _texts(words, lines)
    if words.pattern is not None:
        pattern = regular_expression(words.pattern)
        for line, text in zip(lines, texts, strict=True):
            if found := pattern.search(text):
                return True, _Miss(f"{found.group()!r}", (line,))
        return False, _Miss("")
    assert words.text is not None
    nearest = phrases.nearest(words.text, texts)
    if nearest is None:
        return False, _Miss("")
    at = _Miss(f"{nearest.words!r}", (lines[nearest.text],))
    if nearest.is_like(words.likeness_min):
        return True, at
    return False, at if nearest.likeness >= NEAR_MISS_MIN else _Miss("")


def _said(words: Said, record: CallRecord, verdicts: Mapping[Question, Verdict]) -> _Miss | None:
    who = words.agent or f"the {words.by}"
    lines = _lines(words, record)
    if not lines:
        return _Miss(f"{who} said nothing at all")
    if words.meaning is not None:
        verdict = verdicts.get(_question(words, record))
        if verdict is None:
            return _Miss("nobody has judged it: give a judge")
        return None if verdict.holds else _Miss(f"judged otherwise: {verdict.reason or 'no reason given'}", lines[-1:])
    occurs, where = _occurs(words, record)
    if occurs:
        return None
    if where.at:
        return _Miss(f"nearest to it, {who} said {where.found}", where.at)
    return _Miss(f"{who} said nothing like it")


def _not_said(words: NotSaid, record: CallRecord, verdicts: Mapping[Question, Verdict]) -> _Miss | None:
    who = words.agent or f"the {words.by}"
    if words.meaning is not None:
        question = _question(words, record)
        if not question.lines:
            return None
        verdict = verdicts.get(question)
        if verdict is None:
            return _Miss("nobody has judged it: give a judge")
        lines = _lines(words, record)
        at = lines[verdict.line : verdict.line + 1] if verdict.line is not None else ()
        return _Miss(f"judged otherwise: {verdict.reason or 'no reason given'}", at) if verdict.holds else None
    occurs, where = _occurs(words, record)
    return _Miss(f"{who} said {where.found}", where.at) if occurs else None


# ---- time ------------------------------------------------------------------------------------------------------------


def _answered_in_time(budget: AnswerTimes, record: CallRecord) -> _Miss | None:
    answers = [(line.answer_ms, line) for line in record.transcript if line.answer_ms is not None]
    if not answers:
        return _Miss("the caller was never answered")
    times = [ms for ms, _ in answers]
    if budget.max_ms is not None and max(times) > budget.max_ms:
        slow = tuple(line for ms, line in answers if ms > budget.max_ms)
        return _Miss(f"it took {max(times)} ms; {len(slow)} of {len(times)} answers were too slow", slow)
    if budget.p50_ms is not None and median(times) > budget.p50_ms:
        slow = tuple(line for ms, line in answers if ms > budget.p50_ms)
        return _Miss(f"half of {len(times)} answers took longer than {median(times):g} ms", slow)
    return None


def _dead_air(over_s: float, record: CallRecord) -> _Miss | None:
    """The longest silence, where it is too long."""
    spoken: list[tuple[int, int, object]] = [
        (line.start_ms, line.end_ms, line)
        for line in record.transcript
        if line.start_ms is not None and line.end_ms is not None
    ]
    spoken += [(n.start_ms, n.end_ms, n) for n in record.notices if n.end_ms is not None]
    silences: list[tuple[int, int, tuple[object, ...]]] = []
    until_ms = 0
    before: tuple[object, ...] = ()
    for start_ms, end_ms, line in sorted(spoken, key=lambda each: each[0]):
        silences.append((start_ms - until_ms, until_ms, (*before, line)))
        if end_ms >= until_ms:
            until_ms, before = end_ms, (line,)
    silences.append((record.duration_ms - until_ms, until_ms, before))
    length_ms, from_ms, around = max(silences, key=lambda each: each[0])
    if length_ms <= over_s * 1000:
        return None
    return _Miss(f"nobody spoke for {length_ms / 1000:.1f} s, from {from_ms / 1000:.1f} s on", around)


# ---- in words --------------------------------------------------------------------------------------------------------


def _expected(expectation: Expectation) -> str:
    match expectation:
        case ToolCalled():
            more = f" {_times(expectation.times)}" if expectation.times is not None else ""
            more += f" by {expectation.agent}" if expectation.agent else ""
            more += f", {expectation.outcome}" if expectation.outcome else ""
            return f"a call of {_call(expectation.name, expectation.arguments)}{more}"
        case ToolNotCalled(name, arguments):
            return f"no call of {_call(name, arguments)}"
        case ToolsInOrder(tools):
            return "tools called in this order: " + ", then ".join(map(_named, tools))
        case Said():
            return f"{expectation.agent or 'the ' + expectation.by} says {_words(expectation)}"
        case NotSaid():
            return f"{expectation.agent or 'the ' + expectation.by} does not say {_words(expectation)}"
        case HandedOff(to, from_):
            return f"a hand-off to {to}" + (f" from {from_}" if from_ else "")
        case NotHandedOff(to):
            return f"no hand-off to {to}" if to else "no hand-off"
        case Ended(disposition):
            return f"the call ends: {disposition}"
        case AnswerTimes(max_ms, p50_ms):
            budgets = [f"within {max_ms:g} ms"] if max_ms is not None else []
            return "answers " + " and ".join(budgets + ([f"half of them within {p50_ms:g} ms"] if p50_ms else []))
        case Interruptions(most, least):
            limits = ([f"at least {least}"] if least is not None else []) + (
                [f"at most {most}"] if most is not None else []
            )
            return f"{' and '.join(limits)} interruption{'' if most == 1 or (most is None and least == 1) else 's'}"
        case NoDeadAir(over_s):
            return f"no silence of more than {over_s:g} s"
    assert_never(expectation)


def _words(words: Said | NotSaid) -> str:
    if words.pattern is not None:
        return f"what matches /{words.pattern}/"
    return repr(words.text) if words.text is not None else f"something that means: {words.meaning}"


def _call(name: str, arguments: Mapping[str, Argument]) -> str:
    return f"{name}({', '.join(f'{key}={shown(value)}' for key, value in arguments.items())})" if arguments else name


def _named(step: str | ToolCalled) -> str:
    return step if isinstance(step, str) else _call(step.name, step.arguments)


def _times(number: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number} times")


def _listed(parts: Iterable[str]) -> str:
    return ", ".join(parts)


def _way(record: CallRecord) -> str:
    stations = [record.agent, *(handoff.to_agent for handoff in record.handoffs)]
    return f"stayed with {record.agent}" if len(stations) == 1 else f"went from {' to '.join(stations)}"
