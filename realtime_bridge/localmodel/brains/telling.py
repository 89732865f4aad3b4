"""Sentences for the caller: a tool's result read aloud, a question for what is missing, what was understood."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date, time
from typing import Any

from realtime_bridge.localmodel.brains.moments import MONTHS, WEEKDAYS
from realtime_bridge.localmodel.brains.parameters import Kind, Parameter, Tool
from realtime_bridge.localmodel.brains.words import spoken_name

FIELDS_MAX = 6  # more than a caller can follow
LIST_MAX = 3
TEXT_CHARACTERS_MAX = 600

_MAIN_FIELDS = ("message", "answer", "text", "summary", "result", "output", "content", "description")
_ERROR_FIELDS = ("error", "errors", "detail")
_ERROR_TEXT = re.compile(r"^\W*(?:an? )?(?:\w+ )?(?:error|exception|failed|failure)\b[\s:,-]*", re.IGNORECASE)
_CLAUSE = re.compile(r"[.;(:\n]|,? e\.g\.|,? for example\b|,? such as\b|, like\b")
_INDIRECT = ("whether", "if", "what", "which", "when", "where", "who", "whose", "how", "why")
_CALLER_WORDS = r"\b(?:the |a )?(?:user|customer|caller|client|guest|patient)"
_CALLER = re.compile(rf"{_CALLER_WORDS}('s)?\b", re.IGNORECASE)
_CALLER_VERB = re.compile(rf"{_CALLER_WORDS} (\w+s)\b", re.IGNORECASE)
_SECOND_PERSON = {"is": "are", "was": "were", "has": "have", "does": "do"}


def read_output(output: str) -> Any:
    """A tool's result: JSON where it is JSON, else its text."""
    try:
        return json.loads(output)
    except ValueError:
        return output


def result_sentence(output: str) -> str:
    """A tool's result as something to say."""
    value = read_output(output)
    if isinstance(value, dict):
        error = next((value[key] for key in _ERROR_FIELDS if value.get(key)), None)
        if error is not None:
            return f"I am sorry, that did not work: {_sentence(aloud(error))}"
        main = next(
            (value[key] for key in _MAIN_FIELDS if isinstance(value.get(key), str) and value[key].strip()), None
        )
        if main is not None:
            return _sentence(_short(main))
    if isinstance(value, str) and _ERROR_TEXT.match(value):
        cause = _ERROR_TEXT.sub("", value).strip()
        return (
            f"I am sorry, that did not work: {_sentence(_short(cause))}" if cause else "I am sorry, that did not work."
        )
    if value in (None, "", [], {}):
        return "That is done."
    if isinstance(value, bool):
        return "Yes." if value else "No."
    return _sentence(aloud(value))


def aloud(value: Any) -> str:
    """Any JSON value in words: "status: shipped, carrier: DHL", "red, blue and green"."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, dict):
        fields = [(spoken_name(str(key)) or str(key), field) for key, field in value.items() if field is not None]
        return ", ".join(f"{name}: {aloud(field)}" for name, field in fields[:FIELDS_MAX]) or "nothing"
    if isinstance(value, list):
        shown = [aloud(each) for each in value[:LIST_MAX]]
        more = len(value) - len(shown)
        return listed([*shown, f"{more} more"] if more else shown) or "nothing"
    return _short(str(value))


def listed(parts: Sequence[str], joint: str = "and") -> str:
    """ "a, b and c"."""
    return f"{', '.join(parts[:-1])} {joint} {parts[-1]}" if len(parts) > 1 else "".join(parts)


def question_for(parameter: Parameter, *, again: bool) -> str:
    """One question, from the parameter's description, or its name where there is none."""
    about = _CLAUSE.split(parameter.description.strip())[0].strip(" ,")
    question = _question(about, parameter)
    if parameter.kind is Kind.CHOICE and len(parameter.choices) <= 6:
        question = f"{question[:-1]}: {listed([_choice(each) for each in parameter.choices], 'or')}?"
    if not again:
        return question
    hint = {
        Kind.NUMBER: "I need a number. ",
        Kind.YES_NO: "Please say yes or no. ",
        Kind.CODE: "Please say it letter by letter, or digit by digit. ",
        Kind.EMAIL: "I need an e-mail address. ",
    }.get(parameter.kind, "")
    return f"I am sorry, I did not get that. {hint}{question}"


def _question(about: str, parameter: Parameter) -> str:
    if not about:
        name = parameter.name or "answer"
        return f"{name.capitalize()}, yes or no?" if parameter.kind is Kind.YES_NO else f"What is the {name}?"
    lower = about[0].lower() + about[1:] if not about[:2].isupper() else about
    lower = _CALLER_VERB.sub(lambda m: f"you {_SECOND_PERSON.get(m[1], m[1].removesuffix('s'))}", lower)
    lower = _CALLER.sub(lambda m: "your" if m[1] else "you", lower)
    first = lower.split()[0].casefold()
    if about.endswith("?"):
        return f"{lower[0].upper()}{lower[1:]}"
    if first in _INDIRECT:
        return f"Can you tell me {lower}?"
    if parameter.kind is Kind.YES_NO:
        return f"{lower[0].upper()}{lower[1:]}, yes or no?"
    return f"What is {lower}?" if first in ("the", "a", "an", "your") else f"What is the {lower}?"


def _choice(value: Any) -> str:
    return spoken_name(value) if isinstance(value, str) and spoken_name(value) else aloud(value)


def understood(tool: Tool, values: Mapping[tuple[str, ...], Any]) -> str:
    """What is about to be done, said back: "refund order, with order id A1042 and amount 20"."""
    told = [
        f"{parameter.name} {_value(parameter, values[parameter.path])}"
        for parameter in tool.parameters
        if values.get(parameter.path) is not None
    ]
    return f"{tool.title}, with {listed(told)}" if told else tool.title


def _value(parameter: Parameter, value: Any) -> str:
    if isinstance(value, list):
        return listed([_value(parameter, each) for each in value])
    if parameter.kind is Kind.CHOICE:
        return _choice(value)
    form = parameter.schema.get("format")
    if parameter.kind is Kind.MOMENT and form in ("date", "time", "date-time"):
        return _moment(str(value), str(form))
    return aloud(value)


def _moment(iso: str, form: str) -> str:
    """ "2026-11-19T15:30:00+01:00" as "Thursday, November 19 at 3:30 p.m."."""
    day = date.fromisoformat(iso[:10]) if form != "time" else None
    clock = time.fromisoformat(iso if form == "time" else iso[11:]) if form != "date" else None
    parts = []
    if day is not None:
        parts.append(f"{WEEKDAYS[day.weekday()].capitalize()}, {MONTHS[day.month - 1].capitalize()} {day.day}")
    if clock is not None:
        minutes = f":{clock.minute:02}" if clock.minute else ""
        parts.append(f"{(clock.hour - 1) % 12 + 1}{minutes} {'a.m.' if clock.hour < 12 else 'p.m.'}")
    return " at ".join(parts)


def _sentence(text: str) -> str:
    text = text.strip()
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."


def _short(text: str) -> str:
    text = " ".join(text.split())
    if len(text) <= TEXT_CHARACTERS_MAX:
        return text
    return text[:TEXT_CHARACTERS_MAX].rsplit(" ", 1)[0] + "…"
