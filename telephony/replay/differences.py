"""What changed between a call and its replay, in words that a reader of the code knows: truncation, clear, mark, tool, …

The answers of a machine to one input are compared as a whole: byte for byte first, which is the usual end of it. Only
where they differ are they laid beside each other by what they are about, so that one answer more does not make all the
following ones look changed.

Pure.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Any, Final, TypeAlias

import msgspec

from realtime_bridge.tape.format import Source

Answer: TypeAlias = tuple[Source, bytes]  # where to, and what; as tapes keep it. SESSION: a report

SHOWN_CHARS: Final = 160
ALIGNED_MAX: Final = 100  # answers to one input; a machine gives a few dozen at most, a forged tape any number
NUMBERED: Final = ("id", "name", "rb_request")  # how the fields end that count: one more or less changes all later ones

_TO_MODEL = {
    "conversation.item.truncate": "truncation",
    "conversation.item.create": "conversation",
    "conversation.item.delete": "conversation",
    "conversation.item.retrieve": "conversation",
    "session.update": "session_update",
    "response.create": "response",
    "response.cancel": "response",
    "input_audio_buffer.append": "caller_audio",
    "input_audio_buffer.commit": "caller_audio",
    "input_audio_buffer.clear": "caller_audio",
}
_COMMANDS = {
    "check_call": "tool",
    "run_tool": "tool",
    "cancel_tool": "tool",
    "run_handoff": "handoff",
    "run_guardrails": "guardrail",
    "interrupt": "interruption",
    "discard": "response",
    "release": "hold_back",
    "rotate": "reconnection",
    "switch": "reconnection",
    "resume": "reconnection",
    "close": "end",
}
_TOLD = {
    "agent_tool_start": "tool",
    "agent_tool_end": "tool",
    "mcp_tools_changed": "tool",
    "tool_approval_requested": "approval",
    "tool_approval_resolved": "approval",
    "agent_handoff": "handoff",
    "agent_start": "response",
    "agent_end": "response",
    "audio_interrupted": "interruption",
    "history_added": "history",
    "history_updated": "history",
    "guardrail_tripped": "guardrail",
    "reconnecting": "reconnection",
    "reconnected": "reconnection",
    "session_end": "end",
}
_REPORTS = {
    "audio_received": "media",
    "playback_started": "playback",
    "playback_finished": "playback",
    "playback_interrupted": "interruption",
    "dtmf_received": "keys",
    "transport_problem": "problem",
}
_DIGITS = re.compile(r"\d+")
_KINDS = re.compile(rb'"(do|event|type)":"([\w.]+)')  # of a digest's beginning, which may end in the middle of a word


@dataclass(frozen=True, slots=True)
class Difference:
    """One answer that is not as it was. `time`: seconds since the tape began; `source` and `payload`: the input.

    `what` names the behaviour that changed. `taped` is None for an answer that the call did not give, `replayed` for one
    that is no longer given; with both, the answer has changed, or (where they are equal) its place among the others.
    """

    what: str
    time: float
    source: Source
    payload: bytes
    taped: Answer | None
    replayed: Answer | None

    @property
    def only_numbers(self) -> bool:
        """Nothing but a running number differs: the consequence of a difference before it."""
        changes = self._changes
        return bool(changes) and all(
            name.endswith(NUMBERED) and _without_digits(old) == _without_digits(new) for name, old, new in changes
        )

    @property
    def _changes(self) -> list[tuple[str, object, object]]:
        if self.taped is None or self.replayed is None or self.taped[1].startswith(b"#"):
            return []
        return list(_changes(_object(self.taped[1]), _object(self.replayed[1])))

    def __str__(self) -> str:
        lines = [f"{clock(self.time)} {self.what}: {self._summary()}", f"  after {_origin(self.source, self.payload)}"]
        if self.taped is not None:
            lines.append(f"  the tape has {_way(self.taped[0])}: {_shown(self.taped[1])}")
        if self.replayed is not None and self.replayed != self.taped:
            lines.append(f"  the replay has {_way(self.replayed[0])}: {_shown(self.replayed[1])}")
        return "\n".join(lines)

    def _summary(self) -> str:
        if self.replayed is None:
            return "no longer there"
        if self.taped is None:
            return "was not there"
        if self.taped == self.replayed:
            return "at another place among the answers"
        changes = self._changes
        if not changes:
            return "other bytes"
        shown = [f"{name} {_value(old)} → {_value(new)}" for name, old, new in changes[:4]]
        return ", ".join([*shown, *(["…"] if len(changes) > len(shown) else [])])


def differences(
    time: float, source: Source, payload: bytes, taped: Sequence[Answer], replayed: Sequence[Answer]
) -> list[Difference]:
    """What differs in the answers to one input, in order. Empty when they are the same bytes."""
    pairs = list(_pairs(taped, replayed))
    lost = Counter(old for old, new in pairs if old is not None and new is None)
    moved = lost & Counter(new for old, new in pairs if new is not None and old is None)
    told_as_moved = moved.copy()
    found = []
    for old, new in pairs:
        if new is None and old is not None and told_as_moved[old]:
            told_as_moved[old] -= 1
            continue
        same = old is None and new is not None and moved[new] > 0
        if same and new is not None:
            moved[new] -= 1
        about = new or old
        assert about is not None
        found.append(Difference(behaviour(about), time, source, payload, new if same else old, new))
    return found


def behaviour(answer: Answer) -> str:
    """What an answer is about, in a word."""
    source, frame = answer
    said = _object(frame)
    if source is Source.TO_PHONE:
        return str(said.get("event", "media"))  # what is kept as a digest is audio
    if source is Source.TO_MODEL:
        return _to_model(said) if said else "to_model"
    if source is Source.SESSION:
        return _REPORTS.get(str(said.get("type")), "report")
    match said.get("do"):
        case "send":
            return _to_model(_part(said, "event"))
        case "emit":
            told = str(_part(said, "event").get("type"))
            return _named(told, _TOLD)
        case None:
            return "session"
        case other:
            return _COMMANDS.get(str(other), str(other))


def clock(seconds: float) -> str:
    """A time of a call as people read it: 1:02.345."""
    minutes, rest_ms = divmod(round(seconds * 1000), 60_000)
    return f"{minutes}:{rest_ms / 1000:06.3f}"


def _pairs(taped: Sequence[Answer], replayed: Sequence[Answer]) -> Iterator[tuple[Answer | None, Answer | None]]:
    """Answers that belong to each other, without those that are the same."""
    if max(len(taped), len(replayed)) > ALIGNED_MAX:
        yield from (pair for pair in zip_longest(taped, replayed) if pair[0] != pair[1])
        return
    old_kinds, new_kinds = ([(a[0], behaviour(a)) for a in answers] for answers in (taped, replayed))
    matcher = SequenceMatcher(None, old_kinds, new_kinds, autojunk=False)
    for change, i, i_end, j, j_end in matcher.get_opcodes():
        if change == "equal":
            yield from (pair for pair in zip(taped[i:i_end], replayed[j:j_end], strict=True) if pair[0] != pair[1])
        else:
            yield from ((old, None) for old in taped[i:i_end])
            yield from ((None, new) for new in replayed[j:j_end])


def _to_model(event: dict[str, Any]) -> str:
    kind = str(event.get("type"))
    if kind == "conversation.item.create" and _part(event, "item").get("type") == "function_call_output":
        return "tool"
    return _named(kind, _TO_MODEL)


def _named(kind: str, names: Mapping[str, str]) -> str:
    return names.get(kind) or next((name for known, name in names.items() if known.startswith(kind)), kind)


def _object(frame: bytes) -> dict[str, Any]:
    """Of a digest, what its beginning tells of its kind. Empty for what is no object."""
    if frame.startswith(b"#"):
        said: dict[str, Any] = {name.decode(): kind.decode() for name, kind in _KINDS.findall(frame)}
        return {**said, "event": {"type": said["type"]}} if "do" in said and "type" in said else said
    try:
        return msgspec.json.decode(frame, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}


def _part(said: dict[str, Any], name: str) -> dict[str, Any]:
    part = said.get(name)
    return part if isinstance(part, dict) else {}


def _changes(old: dict[str, Any], new: dict[str, Any], path: str = "") -> Iterator[tuple[str, object, object]]:
    """(path, before, now) of each field that differs."""
    for name in [*old, *(name for name in new if name not in old)]:
        before, now = old.get(name), new.get(name)
        if before == now:
            continue
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _changes(before, now, f"{path}{name}.")
        else:
            yield f"{path}{name}", before, now


def _without_digits(value: object) -> str:
    return _DIGITS.sub("", str(value))


def _origin(source: Source, payload: bytes) -> str:
    said = _object(payload)
    name = said.get("event") or said.get("type") or ""
    who = {
        Source.PHONE: "the phone's",
        Source.MODEL: "the model's",
        Source.PROGRAM: "the program's",
        Source.TIMER: "the timer's",
        Source.SESSION: "the session's",
    }.get(source, source.name.lower())
    return f"{who} {name}: {_shown(payload)}" if name else f"{who} {_shown(payload)}"


def _way(source: Source) -> str:
    ways = {Source.TO_PHONE: "to the phone", Source.TO_MODEL: "to the model", Source.SESSION: "to the session"}
    return ways.get(source, "from the session")


def _value(value: object) -> str:
    return _shown(msgspec.json.encode(value), chars=60) if value is not None else "nothing"


def _shown(frame: bytes, *, chars: int = SHOWN_CHARS) -> str:
    """As one line of printable characters, whatever is in it."""
    text = frame[: 4 * chars].decode(errors="replace")
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= chars else text[:chars] + "…"
