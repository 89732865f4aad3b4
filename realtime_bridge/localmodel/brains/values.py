"""A tool's arguments, taken from what the caller said, each as its JSON schema wants it.

What is found is never forced: a value that its schema refuses counts as not found, and is asked for.
"""

# ruff: noqa: SIM905 - a list of words is read more easily as one text
from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rapidfuzz import fuzz

from realtime_bridge.localmodel.brains.codes import NUMBER_CHARACTERS_MAX, Code, Number, code_runs, number_runs
from realtime_bridge.localmodel.brains.moments import Moment, as_said, moments
from realtime_bridge.localmodel.brains.parameters import Kind, Parameter, allows
from realtime_bridge.localmodel.brains.smalltalk import yes_or_no
from realtime_bridge.localmodel.brains.words import Utterance, alike, mentions, spoken_name, utterance

_CHOICE_FIT_MIN = 70.0
_NEARBY_BEFORE, _NEARBY_AFTER = 4, 2  # words looked at around a number for what it counts
_CLEAR = 2.0  # a number whose surroundings name the parameter

_FUNCTION_WORDS = frozenset(
    "a an the of for to in on at by with and or is are be as that this it its i you my your their our his her which what"
    " who whose e g etc any if from".split()
)
_GENERIC = frozenset("id ids number no code name value type optional caller customer user example called".split())
_MONEY_WORDS = frozenset(
    "amount price cost total budget payment sum fee money dollars euros pounds usd eur currency".split()
)
_QUERY_NAMES = frozenset(
    "query question search topic subject request input issue problem prompt keywords message".split()
)
_PLACE_NAMES = frozenset(
    "city location place country town destination origin address area region station airport".split()
)
_PERSON_NAMES = frozenset(
    "person doctor employee staff barber stylist agent contact recipient colleague provider".split()
)
_NEGATIONS = frozenset("no not without dont never".split())

_LEAD_IN = re.compile(
    r"""^(?:(?:um+|uh+|er+|well|so|okay|ok|yes|sure|please|it's|it\ is|it\ was|that's|that\ is|that\ would\ be|i'd\ say|
    because|my\ name\ is|the\ name\ is|i'd\ like|i\ would\ like|i\ want)\b[\s,]*)+""",
    re.IGNORECASE | re.VERBOSE,
)
_TAIL = re.compile(r"[\s,]*\b(?:please|thanks|thank you)\W*$", re.IGNORECASE)
_EMAIL_WRITTEN = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_EMAIL_SPOKEN = re.compile(
    r"((?:[\w.]+ (?:dot|underscore|dash|hyphen) )*[\w.]+) at ((?:[\w-]+ dot )+[a-z]{2,}|[\w-]+(?:\.[\w-]+)+)"
)
_SIGNS = {"dot": ".", "underscore": "_", "dash": "-", "hyphen": "-"}
_BECAUSE = re.compile(r"\b(?:because|since)\b\s*(?P<value>[^.!?]+)", re.IGNORECASE)
_NAMED = re.compile(
    r"\b(?:name is|name's|called|under the name(?: of)?|this is)\s+(?P<value>[^\W\d_][\w'-]*(?:\s+(?!and\b)[A-Z][\w'-]*){0,2})"
)
_CAPITALS = r"[A-Z][\w'-]+(?:\s+[A-Z][\w'-]+){0,3}"


@dataclass(slots=True)
class _Search:
    """One search through one utterance; `taken`: words that already belong to a value."""

    heard: Utterance
    now: datetime
    asked: Parameter | None
    insist: bool
    values: dict[tuple[str, ...], Any] = field(default_factory=dict)
    taken: set[int] = field(default_factory=set)

    def keep(self, parameter: Parameter, value: Any, span: Iterable[int] = ()) -> bool:
        """Take `value` if its schema allows it."""
        if value is None or not allows(parameter.schema, value):
            return False
        self.values[parameter.path] = [value] if parameter.is_list else value
        self.taken.update(span)
        return True


def find_values(
    parameters: Sequence[Parameter],
    text: str,
    *,
    now: datetime,
    asked: Parameter | None = None,
    insist: bool = False,
) -> dict[tuple[str, ...], Any]:
    """Values for `parameters` in what the caller said, by path.

    `asked`: the parameter that was just asked for, which takes what nobody else claims. `insist`: it was asked for
    before, so take the answer as it is where that is allowed. `now`: the caller's local time, with its zone.
    """
    search = _Search(utterance(text), now, asked, insist)
    if not search.heard.words:
        return {}
    by_kind = {kind: [p for p in parameters if p.kind is kind] for kind in Kind}
    for parameter in by_kind[Kind.CHOICE]:
        _find_choice(search, parameter)
    for parameter in by_kind[Kind.EMAIL]:
        _find_email(search, parameter)
    _find_moments(search, by_kind[Kind.MOMENT])
    _find_numbers(search, [*by_kind[Kind.CODE], *by_kind[Kind.NUMBER]])
    for parameter in by_kind[Kind.YES_NO]:
        _find_yes_no(search, parameter)
    for parameter in by_kind[Kind.TEXT]:
        _find_text(search, parameter, alone=len([p for p in parameters if p.is_needed]) == 1)
    if asked is not None and insist and "format" not in asked.schema and asked.path not in search.values:
        search.keep(asked, _plain_answer(text))
    return search.values


def cue_words(parameter: Parameter) -> list[str]:
    """Words that, near a value, say that it is this parameter's."""
    about = re.split(r"[.;(]|\be\.g\.|\bfor example\b|\bsuch as\b", parameter.description)[0]
    words = [*parameter.name.split(), *(word.form for word in utterance(about).words)]
    return [w for w in dict.fromkeys(words) if w not in _FUNCTION_WORDS and w not in _GENERIC and not w.isdecimal()]


# --- one of some values, yes or no ---------------------------------------------------------------------------------


def _find_choice(search: _Search, parameter: Parameter) -> None:
    asked = parameter is search.asked
    line = [word.form for word in search.heard.words]
    mentioned = [choice for choice in parameter.choices if _is_mentioned(choice, line, asked=asked)]
    if parameter.is_list and mentioned:
        search.values[parameter.path] = mentioned
    elif mentioned:
        search.keep(parameter, max(mentioned, key=lambda choice: len(str(choice))))
    elif asked and parameter.choices:
        fits = [fuzz.token_sort_ratio(spoken_name(str(choice)), search.heard.line) for choice in parameter.choices]
        if max(fits) >= _CHOICE_FIT_MIN:
            search.keep(parameter, parameter.choices[fits.index(max(fits))])


def _is_mentioned(choice: Any, line: list[str], *, asked: bool) -> bool:
    if isinstance(choice, bool) or choice is None:
        return False
    words = [word.form for word in utterance(spoken_name(str(choice)) or str(choice)).words]
    if not words or (len("".join(words)) < 3 and not asked):  # "s" or "no" may stand there for another reason
        return False
    if len("".join(words)) >= 5 and "".join(words) in "".join(line):  # "hair cut" for haircut
        return True
    return all(mentions(line, word) for word in words)


def _find_yes_no(search: _Search, parameter: Parameter) -> None:
    if parameter is search.asked:
        search.keep(parameter, yes_or_no(search.heard))
        return
    cues = [word for word in parameter.name.split() if word not in _FUNCTION_WORDS and word not in ("has", "include")]
    at = [i for i, word in enumerate(search.heard.words) if any(alike(word.form, cue) for cue in cues)]
    if cues and all(mentions([word.form for word in search.heard.words], cue) for cue in cues):
        before = {word.form for word in search.heard.words[max(at[0] - 3, 0) : at[0]]}
        search.keep(parameter, before.isdisjoint(_NEGATIONS))


# --- e-mail, days and times ------------------------------------------------------------------------------------------


def _find_email(search: _Search, parameter: Parameter) -> None:
    written = _EMAIL_WRITTEN.search(search.heard.text)
    if written:
        search.keep(parameter, written.group().rstrip(".").lower())
        return
    spoken = _EMAIL_SPOKEN.search(search.heard.line)
    if spoken:
        name, host = (
            re.sub(r" (dot|underscore|dash|hyphen) ", lambda m: _SIGNS[m[1]], part) for part in spoken.groups()
        )
        search.keep(parameter, f"{name}@{host}", search.heard.span(spoken))


def _find_moments(search: _Search, parameters: Sequence[Parameter]) -> None:
    if not parameters:
        return
    found = moments(search.heard, search.now)
    asked = search.asked
    if not found and asked in parameters and number_runs(search.heard):  # "ten thirty", said to "At what time?"
        search.heard = utterance("at " + search.heard.text)
        found = moments(search.heard, search.now)
    days = [moment for moment in found if not moment.is_time]
    times = [moment for moment in found if moment.is_time]
    wants_day = [p for p in parameters if _wants(p) == "day"]
    for parameter in sorted(parameters, key=lambda p: p is not asked):
        wants = _wants(parameter)
        chosen: list[Moment]
        if wants == "day":
            chosen = days[:1]
        elif wants == "time":
            chosen = times[:1] if wants_day or parameter.schema.get("format") == "time" else [*days[:1], *times[:1]]
        else:
            chosen = [*days[:1], *times[:1]]
        chosen.sort(key=lambda moment: moment.span.start)
        value = _moment_value(search, parameter, chosen)
        if search.keep(parameter, value, [word for moment in chosen for word in moment.span]):
            days = [moment for moment in days if moment not in chosen]
            times = [moment for moment in times if moment not in chosen]


def _wants(parameter: Parameter) -> str:
    named = {"date": "day", "time": "time", "date-time": "both"}.get(str(parameter.schema.get("format")))
    if named:
        return named
    words = set(parameter.name.split())
    if words & {"date", "day", "weekday"}:
        return "both" if words & {"time", "datetime"} else "day"
    return "time" if "time" in words else "both"


def _moment_value(search: _Search, parameter: Parameter, chosen: list[Moment]) -> str | None:
    form = parameter.schema.get("format")
    if not chosen:
        return None
    if form not in ("date", "time", "date-time"):
        return as_said(search.heard, chosen)
    day = next((moment.day for moment in chosen if moment.day), None)
    clock = next((moment.clock for moment in chosen if moment.clock), None)
    zone = search.now.tzinfo
    if form == "date":
        return day.isoformat() if day else None
    if form == "time":  # RFC 3339 full-time carries the zone's offset on that day
        return datetime.combine(day or search.now.date(), clock, zone).timetz().isoformat() if clock else None
    return datetime.combine(day, clock, zone).isoformat() if day and clock is not None else None


# --- numbers and codes -----------------------------------------------------------------------------------------------


def _find_numbers(search: _Search, parameters: Sequence[Parameter]) -> None:
    """Give each number to the parameter that its surroundings name, then the only one left to the only one left."""
    claims = sorted(
        (
            (_claim(search, parameter, run), -order, parameter, run)
            for order, parameter in enumerate(parameters)
            for run in _runs(search, parameter)
        ),
        key=lambda claim: claim[:2],
        reverse=True,
    )
    for score, _, parameter, run in claims:
        if score >= _CLEAR and parameter.path not in search.values and search.taken.isdisjoint(run.span):
            search.keep(parameter, _rendered(parameter, run), run.span)
    waiting = [p for p in parameters if p.is_needed and p.path not in search.values]
    left = [c for c in claims if c[0] >= 0 and c[2] in waiting and search.taken.isdisjoint(c[3].span)]
    if len(waiting) == 1 and len(left) == 1:
        search.keep(waiting[0], _rendered(waiting[0], left[0][3]), left[0][3].span)


def _runs(search: _Search, parameter: Parameter) -> Sequence[Code | Number]:
    runs: Sequence[Code | Number] = (
        code_runs(search.heard) if parameter.kind is Kind.CODE else number_runs(search.heard)
    )
    return [run for run in runs if search.taken.isdisjoint(run.span)]


def _claim(search: _Search, parameter: Parameter, run: Code | Number) -> float:
    """How much speaks for this number being that parameter."""
    words = search.heard.words
    before = words[max(run.span.start - _NEARBY_BEFORE, 0) : run.span.start]
    after = words[run.span.stop : run.span.stop + _NEARBY_AFTER]
    cues = cue_words(parameter)
    near = [i for i, word in enumerate(reversed(before)) if any(alike(word.form, cue) for cue in cues)]
    score = 3.0 - 0.5 * near[0] if near else 0.0  # the nearer the name, the better
    score += 2.0 if any(alike(word.form, cue) for word in after for cue in cues) else 0.0
    if parameter is search.asked:
        score += 3.0
    money = {i for number in number_runs(search.heard) if number.is_money for i in number.span}
    is_money = not money.isdisjoint(run.span)
    if is_money:
        score += 4.0 if _MONEY_WORDS & {*cues, *parameter.name.split()} else -4.0
    if isinstance(run, Code):
        letters = len(run.digits) < len(run.plain)
        score += 1.0 if letters or len(run.digits) >= 3 else -1.0
    elif any(len(code.digits) < len(code.plain) and set(code.span) & set(run.span) for code in code_runs(search.heard)):
        score -= 3.0  # the digits of a code with letters
    return score


def _rendered(parameter: Parameter, run: Code | Number) -> Any:
    if isinstance(run, Code):
        return _shaped(parameter, run)
    value = run.value
    if parameter.schema.get("type") == "integer":
        return int(value) if float(value).is_integer() else None
    is_price = _MONEY_WORDS & set(cue_words(parameter))
    if is_price and not run.is_money and len(run.digits) == 2 and len(run.digits[1]) == 2:
        return float(".".join(run.digits)) * (-1 if value < 0 else 1)  # "nineteen ninety nine"
    return value


def _shaped(parameter: Parameter, code: Code) -> Any:
    """The code in the shape that the schema shows by a pattern or an example: "A1042", "A-1042", "1042"."""
    if parameter.schema.get("type") == "integer":
        return int(code.digits) if len(code.digits) <= NUMBER_CHARACTERS_MAX else None
    shapes = [code.plain, "-".join(code.pieces), " ".join(code.pieces)]
    shapes += [shape.lower() for shape in shapes] + [code.digits]
    example = _shape(_example(parameter))
    shapes.sort(key=lambda shape: _shape(shape) != example)  # stable: without an example the order stays
    return next((shape for shape in dict.fromkeys(shapes) if allows(parameter.schema, shape)), None)


def _shape(code: str) -> str:
    """ "AB-1042" and "Q-7" have the same shape."""
    return re.sub(r"[A-Z]+", "A", re.sub(r"[a-z]+", "a", re.sub(r"\d+", "0", code)))


def _example(parameter: Parameter) -> str:
    examples = parameter.schema.get("examples")
    texts = [*(examples if isinstance(examples, list) else ()), parameter.description]
    found = (re.search(r"(?<![\w-])(?=[\w-]*\d)[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*", str(text)) for text in texts)
    return next((match.group() for match in found if match), "")


# --- other words -----------------------------------------------------------------------------------------------------


def _find_text(search: _Search, parameter: Parameter, *, alone: bool) -> None:
    text = search.heard.text
    if parameter is search.asked:
        search.keep(parameter, _plain_answer(text))
        return
    value = _named_in(text, parameter)
    if value is None and alone and parameter.is_needed and set(parameter.name.split()) & _QUERY_NAMES:
        value = text.strip()
    if value is not None:
        search.keep(parameter, value)


def _named_in(text: str, parameter: Parameter) -> str | None:
    """What follows the parameter's name ("change my address to ..."), or a name behind a fitting preposition."""
    words = set(parameter.name.split())
    patterns: list[re.Pattern[str]] = []
    if words & {"reason", "why", "cause"}:
        patterns.append(_BECAUSE)
    if "name" in words:
        patterns.append(_NAMED)
    last = re.escape(parameter.name.split()[-1]) if parameter.name else ""
    if last and last not in _FUNCTION_WORDS:
        patterns.append(
            re.compile(rf"\b{last}\s+(?:is|was|to|as|should be|will be|:)\s+(?P<value>[^.!?]+)", re.IGNORECASE)
        )
    if words & _PLACE_NAMES:
        patterns.append(re.compile(rf"\b(?:in|at|near|from|to|for)\s+(?P<value>{_CAPITALS})"))
    if words & _PERSON_NAMES:
        patterns.append(re.compile(rf"\b(?:with|to|by|see)\s+(?P<value>{_CAPITALS})"))
    for pattern in patterns:
        match = pattern.search(text)
        if match:
            return _plain_answer(match["value"])
    return None


def _plain_answer(text: str) -> str | None:
    """An answer without the words around it ("It's because the box was open, please."). None when nothing is left."""
    answer = _TAIL.sub("", text.strip().rstrip(".!?…")).strip(" ,")
    shorter = _LEAD_IN.sub("", answer).strip(" ,")
    return shorter or answer or None
