"""What is expected of a call, as `*.call.yaml` says it (`telephony/call_files/call_file.py` shows it all)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

import yaml

from realtime_bridge.errors import MisuseError
from telephony.call_files.yaml_reading import Field, Place, Reader, place_of
from telephony.expectations import (
    ANYTHING,
    AnswerTimes,
    Argument,
    Ended,
    Expectation,
    HandedOff,
    Interruptions,
    Like,
    Matches,
    NoDeadAir,
    NotHandedOff,
    NotSaid,
    OneOf,
    Said,
    ToolCalled,
    ToolNotCalled,
    ToolsInOrder,
)

_WORDS: Final = ("text", "matches", "means", "by", "agent", "likeness")
_LOOSE: Final = ("like", "matches", "one_of", "any")
_MEANT: Final = {
    **dict.fromkeys(("arguments", "args", "params", "parameters", "input"), "with"),
    **dict.fromkeys(("tool_called", "called", "calls"), "tool"),
    **dict.fromkeys(("not_called", "tool_not_called", "no_tool"), "never_called"),
    **dict.fromkeys(("says", "say", "text", "contains"), "said"),
    **dict.fromkeys(("not_says", "never_said", "says_not"), "not_said"),
    **dict.fromkeys(("latency", "answer_within", "response_time"), "answers_within"),
    **dict.fromkeys(("dead_air", "silence", "no_silence_over"), "no_dead_air_over"),
    **dict.fromkeys(("barge_ins", "barge_in"), "interruptions"),
    **dict.fromkeys(("transfer", "handed_off", "handover", "to"), "handoff"),
    **dict.fromkeys(("disposition", "ended", "end"), "ends"),
    **dict.fromkeys(("count", "number"), "times"),
}


def read_expectations(reader: Reader, node: yaml.Node) -> list[tuple[Place, Expectation]]:
    """All of them, each with its place; mistakes are noted in the reader."""
    found = []
    entries = reader.items(node, "'expect'")
    if not entries and isinstance(node, yaml.SequenceNode):
        reader.mistake(node, "'expect' is empty; a test without expectations cannot fail")
    for entry in entries:
        expectation = _expectation(reader, entry)
        if expectation is not None:
            found.append((place_of(entry), expectation))
    return found


def _expectation(reader: Reader, node: yaml.Node) -> Expectation | None:
    known = [key for kind, more in _KINDS.items() for key in (kind, *more[0])]
    fields = reader.fields(node, list(dict.fromkeys(known)), "an expectation", meant=_MEANT)
    if fields is None:
        return None
    kinds = [key for key in fields if key in _KINDS]
    if len(kinds) != 1:
        if fields:
            told = " and ".join(repr(kind) for kind in kinds) or "none"
            reader.mistake(
                node, f"one expectation after the other, each behind '- '; here is {told} of {', '.join(_KINDS)}"
            )
        return None
    (kind,) = kinds
    more, make = _KINDS[kind]
    for key, field in fields.items():
        if key not in (kind, *more):
            allowed = f"; it may have {', '.join(more)}" if more else ""
            reader.mistake(field.key, f"'{key}' does not belong to '{kind}'{allowed}")
    try:
        return make(reader, fields)
    except MisuseError as e:
        reader.mistake(fields[kind].value, str(e))
        return None


def _tool(reader: Reader, fields: dict[str, Field]) -> Expectation | None:
    name = reader.text(fields["tool"].value, "'tool'")
    times = reader.count(fields["times"].value, "'times'") if "times" in fields else None
    agent = reader.text(fields["agent"].value, "'agent'") if "agent" in fields else None
    outcome = None
    if "outcome" in fields:
        outcome = reader.choice(fields["outcome"].value, ("done", "failed", "rejected", "cancelled"), "'outcome'")
    arguments = _arguments(reader, fields)
    return None if name is None else ToolCalled(name, arguments, times, agent, cast("Any", outcome))


def _never_called(reader: Reader, fields: dict[str, Field]) -> Expectation | None:
    name = reader.text(fields["never_called"].value, "'never_called'")
    arguments = _arguments(reader, fields)
    return None if name is None else ToolNotCalled(name, arguments)


def _order(reader: Reader, fields: dict[str, Field]) -> Expectation | None:
    names = [reader.text(entry, "a tool") for entry in reader.items(fields["order"].value, "'order'")]
    return ToolsInOrder([name for name in names if name is not None])


def _arguments(reader: Reader, fields: dict[str, Field]) -> dict[str, Argument]:
    if "with" not in fields:
        return {}
    node = fields["with"].value
    if not isinstance(node, yaml.MappingNode):
        reader.mistake(node, "'with' must name arguments, as in {order_id: A1042}")
        return {}
    return {str(key.value): _argument(reader, value) for key, value in node.value}


def _argument(reader: Reader, node: yaml.Node) -> Argument:
    if not (isinstance(node, yaml.MappingNode) and len(node.value) == 1 and node.value[0][0].value in _LOOSE):
        return reader.plain(node)
    key, value = node.value[0]
    match key.value:
        case "like":
            return Like(reader.text(value, "'like'") or "-")
        case "matches":
            try:
                return Matches(reader.text(value, "'matches'") or "")
            except MisuseError as e:
                reader.mistake(value, str(e))
                return ANYTHING
        case "one_of":
            return OneOf(tuple(reader.plain(entry) for entry in reader.items(value, "'one_of'")))
        case _:
            return ANYTHING


def _words(reader: Reader, kind: str, fields: dict[str, Field]) -> Expectation | None:
    node = fields[kind].value
    inner = {"text": Field(node, node)}
    if isinstance(node, yaml.MappingNode):
        inner = reader.fields(node, _WORDS, f"'{kind}'") or {}
    inner = {**inner, **{key: field for key, field in fields.items() if key != kind}}
    options: dict[str, Any] = {}
    for key, option in (("text", "text"), ("matches", "pattern"), ("means", "meaning"), ("agent", "agent")):
        if key in inner:
            options[option] = reader.text(inner[key].value, f"'{key}'")
    if "by" in inner:
        options["by"] = reader.choice(inner["by"].value, ("agent", "caller"), "'by'")
    if "likeness" in inner:
        options["likeness_min"] = (reader.share(inner["likeness"].value, "'likeness'") or 0) * 100
    if None in options.values():
        return None
    return (Said if kind == "said" else NotSaid)(**options)


def _handoff(reader: Reader, fields: dict[str, Field]) -> Expectation | None:
    to = reader.text(fields["handoff"].value, "'handoff'")
    from_ = reader.text(fields["from"].value, "'from'") if "from" in fields else None
    return None if to is None else HandedOff(to, from_)


def _no_handoff(reader: Reader, fields: dict[str, Field]) -> Expectation | None:
    to = reader.text(fields["no_handoff"].value, "'no_handoff'")
    return None if to is None else NotHandedOff(None if to == "any" else to)


def _ends(reader: Reader, fields: dict[str, Field]) -> Expectation | None:
    how = reader.text(fields["ends"].value, "'ends'")
    return None if how is None else Ended(how)


def _answers_within(reader: Reader, fields: dict[str, Field]) -> Expectation | None:
    ms = {key: reader.ms(field.value, f"'{key}'") for key, field in fields.items()}
    return AnswerTimes(max_ms=ms.get("answers_within"), p50_ms=ms.get("half_within"))


def _interruptions(reader: Reader, fields: dict[str, Field]) -> Expectation | None:
    node = fields["interruptions"].value
    if not isinstance(node, yaml.MappingNode):
        number = reader.count(node, "'interruptions'")
        return None if number is None else Interruptions(max=number, min=number)
    inner = reader.fields(node, ("max", "min"), "'interruptions'") or {}
    limits = {key: reader.count(field.value, f"'{key}'") for key, field in inner.items()}
    return Interruptions(**limits)


def _dead_air(reader: Reader, fields: dict[str, Field]) -> Expectation | None:
    ms = reader.ms(fields["no_dead_air_over"].value, "'no_dead_air_over'")
    return None if ms is None else NoDeadAir(ms / 1000)


_Make = Callable[[Reader, dict[str, Field]], Expectation | None]
# Each kind of expectation: what else stands beside its key, and what makes it.
_KINDS: dict[str, tuple[tuple[str, ...], _Make]] = {
    "tool": (("with", "times", "agent", "outcome"), _tool),
    "never_called": (("with",), _never_called),
    "order": ((), _order),
    "said": (("by", "agent", "likeness"), lambda reader, fields: _words(reader, "said", fields)),
    "not_said": (("by", "agent", "likeness"), lambda reader, fields: _words(reader, "not_said", fields)),
    "handoff": (("from",), _handoff),
    "no_handoff": ((), _no_handoff),
    "ends": ((), _ends),
    "answers_within": (("half_within",), _answers_within),
    "interruptions": ((), _interruptions),
    "no_dead_air_over": ((), _dead_air),
}
