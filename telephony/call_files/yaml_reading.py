"""Reads a YAML file that people write by hand, and tells them of all their mistakes: where each is, and what was meant.

A `Reader` holds the file as nodes that know their places. Its methods turn a node into a value, or note a mistake and
return None; `finish` raises all that were noted. The file comes from whoever runs the tests, but may be any file: its
size and depth are limited, and aliases, which can blow up a small file, are refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from rapidfuzz import fuzz, process

from realtime_bridge.errors import MisuseError
from realtime_bridge.plain_yaml import PlainLoader

FILE_BYTES_MAX: Final = 100_000
DEPTH_MAX: Final = 20
MISTAKES_SHOWN_MAX: Final = 10
MEANT_MIN: Final = 60.0  # likeness of 100, to be offered as what was meant
WORDS_OF_KEY_MAX: Final = 2  # what stands before a colon and is longer, is text that lacks its quotes
_LINE_SHOWN_MAX: Final = 100

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min)")
_UNIT_MS = {"ms": 1.0, "s": 1000.0, "min": 60_000.0}
# What the parser says of common slips, and what to do about them.
_REMEDIES = {
    "found character '\\t'": "a tab: YAML is indented with spaces",
    "mapping values are not allowed here": "': ' has a meaning in YAML: put the text in quotes, or check the indentation",
    "found unexpected end of stream": "a quotation mark or bracket is not closed",
    "expected alphabetic or numeric character": "a text that begins with '*' or '&' must be in quotes",
    "expected a single document": "one file is one call: take out the line '---' and what follows",
}


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Both counted from 1, as editors do."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Field:
    """A key of a mapping, and its value."""

    key: yaml.Node
    value: yaml.Node


class FileMistakesError(MisuseError):
    """What is wrong with a file, mistake by mistake, each with its place."""


def place_of(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)


def as_key(text: str) -> str:
    """A key as it is compared: `hand-off`, `hand off` and `hand_off` are one."""
    return re.sub(r"[\s-]+", "_", text.strip().lower())


class Reader:
    """One file. `root` is its top node."""

    def __init__(self, path: Path, *, name: str | None = None) -> None:
        """`name`: what to call the file in messages. Raises FileMistakesError for what is no YAML at all."""
        self.name = name or path.name
        self._mistakes: list[tuple[Place, str]] = []
        self._lines: list[str] = []
        text = self._text(path)
        self._lines = text.splitlines()
        self.root = self._compose(text)

    # ---- mistakes ----------------------------------------------------------------------------------------------------

    def mistake(self, at: yaml.Node | Place, what: str) -> None:
        self._mistakes.append((at if isinstance(at, Place) else place_of(at), what))

    @property
    def has_mistakes(self) -> bool:
        return bool(self._mistakes)

    def finish(self) -> None:
        """Raises FileMistakesError if there were any."""
        if self._mistakes:
            raise FileMistakesError(self._told())

    def at(self, place: Place) -> str:
        """`name:line:column`, which editors and terminals can follow."""
        return f"{self.name}:{place.line}:{place.column}"

    def _told(self) -> str:
        mistakes = sorted(set(self._mistakes))
        shown = [self._shown(place, what) for place, what in mistakes[:MISTAKES_SHOWN_MAX]]
        more = len(mistakes) - len(shown)
        return "\n".join([*shown, f"and {more} more"] if more else shown)

    def _shown(self, place: Place, what: str) -> str:
        told = f"{self.at(place)}: {what}"
        if not 0 < place.line <= len(self._lines):
            return told
        line = self._lines[place.line - 1]
        if len(line) > _LINE_SHOWN_MAX or not line.isprintable():
            return told
        return f"{told}\n    {line}\n    {' ' * (place.column - 1)}^"

    def _fail(self, place: Place, what: str) -> FileMistakesError:
        self.mistake(place, what)
        return FileMistakesError(self._told())

    # ---- values ------------------------------------------------------------------------------------------------------

    def fields(
        self, node: yaml.Node, known: Sequence[str], what: str, *, meant: Mapping[str, str] | None = None
    ) -> dict[str, Field] | None:
        """A mapping's fields, by key as `as_key` gives it. `meant`: which keys people mean by other names."""
        if not isinstance(node, yaml.MappingNode):
            self.mistake(node, f"{what} must be 'key: value' lines, not {_kind(node)}; keys are {', '.join(known)}")
            return None
        found: dict[str, Field] = {}
        for key_node, value in node.value:
            key = as_key(key_node.value) if isinstance(key_node, yaml.ScalarNode) else ""
            if key not in known:
                self.mistake(key_node, self._unknown(key_node, known, what, meant or {}))
            elif key in found:
                first = place_of(found[key].key)
                self.mistake(key_node, f"{key_node.value!r} is here twice; the first is in line {first.line}")
            else:
                found[key] = Field(key_node, value)
        return found

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        self.mistake(node, f"{what} must be a list, each entry behind '- ', not {_kind(node)}")
        return []

    def text(self, node: yaml.Node, what: str) -> str | None:
        """Text; numbers and the like as they are written."""
        if not isinstance(node, yaml.ScalarNode) or _is_null(node):
            self.mistake(node, f"{what} must be text, not {_kind(node)}")
            return None
        text = str(node.value).strip()
        if not text:
            self.mistake(node, f"{what} is empty")
            return None
        return text

    def count(self, node: yaml.Node, what: str, *, least: int = 0) -> int | None:
        value = self.plain(node)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            self.mistake(node, f"{what} must be a whole number from {least} on, not {_kind(node)}")
            return None
        return value

    def share(self, node: yaml.Node, what: str) -> float | None:
        """0 to 1, or in per cent."""
        text = node.value if isinstance(node, yaml.ScalarNode) else ""
        percent = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", text)
        value = float(percent[1]) / 100 if percent else self.plain(node)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
            self.mistake(node, f"{what} must be from 0 to 1, or per cent (90%), not {_kind(node)}")
            return None
        return float(value)

    def ms(self, node: yaml.Node, what: str) -> float | None:
        text = node.value.strip() if isinstance(node, yaml.ScalarNode) else ""
        found = _DURATION.fullmatch(text)
        if found is None:
            meant = f" (perhaps '{text} s' or '{text} ms'?)" if re.fullmatch(r"\d+(\.\d+)?", text) else ""
            self.mistake(
                node, f"{what} must be a time with its unit, such as 800 ms or 2.5 s, not {_kind(node)}{meant}"
            )
            return None
        return float(found[1]) * _UNIT_MS[found[2]]

    def choice(self, node: yaml.Node, options: Sequence[str], what: str) -> str | None:
        text = str(node.value).strip().lower() if isinstance(node, yaml.ScalarNode) else ""
        if text in options:
            return text
        self.mistake(node, f"{what} must be {_either(options)}, not {_kind(node)}{self._meant(text, options)}")
        return None

    def plain(self, node: yaml.Node) -> Any:
        """Any value, as JSON has them."""
        match node:
            case yaml.MappingNode():
                return {str(key.value): self.plain(value) for key, value in node.value}
            case yaml.SequenceNode():
                return [self.plain(each) for each in node.value]
            case _:
                return _scalar(node)

    def entry(self, node: yaml.Node) -> str | None:
        """The text of a scalar; None for anything else."""
        return str(node.value) if isinstance(node, yaml.ScalarNode) and not _is_null(node) else None

    def _unknown(self, node: yaml.Node, known: Sequence[str], what: str, meant: Mapping[str, str]) -> str:
        text = str(node.value) if isinstance(node, yaml.ScalarNode) else "this"
        told = f"{what} has no {text[:40]!r}"
        if as_key(text) in meant:
            return f"{told}; did you mean {meant[as_key(text)]!r}?"
        if near := self._meant(as_key(text), known):
            return told + near
        if len(text.split()) > WORDS_OF_KEY_MAX:
            return f"{told}; a text with ': ' in it must be in quotes"
        return f"{told}; it may have {', '.join(known)}"

    def _meant(self, text: str, known: Sequence[str]) -> str:
        near = process.extractOne(text, known, scorer=fuzz.ratio, score_cutoff=MEANT_MIN) if text else None
        return f"; did you mean {near[0]!r}?" if near else ""

    # ---- the file ----------------------------------------------------------------------------------------------------

    def _text(self, path: Path) -> str:
        try:
            with path.open("rb") as file:
                data = file.read(FILE_BYTES_MAX + 1)
        except OSError as e:
            raise FileMistakesError(f"{self.name}: cannot be read: {e.strerror or e}") from e
        if len(data) > FILE_BYTES_MAX:
            raise FileMistakesError(f"{self.name}: longer than {FILE_BYTES_MAX:,} bytes; is it the right file?")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as e:
            line = data.count(b"\n", 0, e.start) + 1
            column = e.start - (data.rfind(b"\n", 0, e.start) + 1) + 1
            raise FileMistakesError(f"{self.name}:{line}:{column}: not UTF-8 text; save it as UTF-8") from e

    def _compose(self, text: str) -> yaml.Node:
        try:
            loader = _Loader(text)
            try:
                root = loader.get_single_node()
            finally:
                loader.dispose()
        except _RefusedError as e:
            raise self._fail(e.place, str(e)) from None
        except yaml.MarkedYAMLError as e:
            mark = e.problem_mark or e.context_mark
            place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
            said = f"{e.context or ''} {e.problem or ''}"
            remedy = next((remedy for sign, remedy in _REMEDIES.items() if sign in said), None)
            raise self._fail(place, remedy or f"not YAML: {e.problem or e.context}") from e
        except yaml.reader.ReaderError as e:
            line = text.count("\n", 0, e.position) + 1
            raise self._fail(Place(line, 1), f"a character that no YAML may hold: {e.character!r}") from e
        if root is None:
            raise FileMistakesError(f"{self.name}: empty")
        return root


class _RefusedError(Exception):
    def __init__(self, place: Place, what: str) -> None:
        super().__init__(what)
        self.place = place


class _Loader(PlainLoader):
    """Without aliases and without depths."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        place = Place(event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.AliasEvent):
            raise _RefusedError(place, f"*{event.anchor}: aliases are not understood here; write it out, or in quotes")
        if self._depth >= DEPTH_MAX:
            raise _RefusedError(place, f"nested more than {DEPTH_MAX} deep")
        self._depth += 1
        try:
            node: yaml.Node | None = super().compose_node(parent, index)
        finally:
            self._depth -= 1
        return node


def _scalar(node: yaml.Node) -> Any:
    kind = node.tag.rpartition(":")[2]
    text: str = node.value
    match kind:
        case "null":
            return None
        case "bool":
            return text.lower() == "true"
        case "int":
            return text if re.match(r"[-+]?0\d", text) or len(text) > 100 else int(text)  # "0042" is no number
        case "float":
            number = float(text)
            return number if math.isfinite(number) else text
        case _:
            return text


def _is_null(node: yaml.Node) -> bool:
    return bool(node.tag == "tag:yaml.org,2002:null")


def _kind(node: yaml.Node) -> str:
    match node:
        case yaml.MappingNode():
            return "'key: value' lines"
        case yaml.SequenceNode():
            return "a list"
        case _ if _is_null(node):
            return "nothing"
        case _:
            text = str(node.value)
            return repr(text if len(text) <= 40 else text[:39] + "…")


def _either(options: Sequence[str]) -> str:
    return options[0] if len(options) == 1 else ", ".join(options[:-1]) + " or " + options[-1]
