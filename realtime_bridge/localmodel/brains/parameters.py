"""A function tool, read for a conversation: what it is called, what it wants, and how one asks for that.

The JSON schema is a client's, so anything may be in it. What cannot be asked for in words (a list of objects, a schema
that refers to itself) makes a parameter `OTHER`: a tool that requires one is never called.
"""

# ruff: noqa: SIM905 - a list of words is read more easily as one text
from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import jsonschema  # type: ignore[import-untyped,unused-ignore]  # its types are a package of their own
import referencing

from realtime_bridge.localmodel.brains.words import spoken_name, utterance

NESTING_MAX = 4
PARAMETERS_MAX = 60


class Kind(Enum):
    """How a value is found in what was said."""

    CHOICE = auto()  # one of some values
    YES_NO = auto()
    NUMBER = auto()
    CODE = auto()  # letters and digits: an order number, a telephone number
    MOMENT = auto()  # a day, a time, or both
    EMAIL = auto()
    TEXT = auto()
    OTHER = auto()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One value of a tool's arguments. `path`: the keys that lead to it. `schema`: its own, without `null`.

    `is_list`: the value goes into a list of one or more. `is_needed`: without it the arguments are refused.
    """

    path: tuple[str, ...]
    schema: dict[str, Any]
    kind: Kind
    description: str
    is_needed: bool
    is_list: bool = False

    @property
    def name(self) -> str:
        return spoken_name(self.path[-1])

    @property
    def choices(self) -> list[Any]:
        if "const" in self.schema:
            return [self.schema["const"]]
        choices = self.schema.get("enum")
        return choices if isinstance(choices, list) else []


@dataclass(frozen=True, slots=True)
class Tool:
    """`parameters` in the schema's order. `preset`: values that need no words (null where that is allowed, defaults)."""

    name: str
    description: str
    parameters: tuple[Parameter, ...]
    preset: tuple[tuple[tuple[str, ...], Any], ...]
    schema: dict[str, Any]

    @property
    def title(self) -> str:
        return spoken_name(self.name)

    @property
    def is_handoff(self) -> bool:
        return self.name.startswith("transfer_to_")

    @property
    def needed(self) -> list[Parameter]:
        return [parameter for parameter in self.parameters if parameter.is_needed]

    @property
    def can_be_filled(self) -> bool:
        return all(parameter.kind is not Kind.OTHER for parameter in self.needed)

    def accepts(self, arguments: dict[str, Any]) -> bool:
        """Whether the schema allows these arguments. A schema that is itself wrong allows nothing."""
        return allows(self.schema, arguments)

    def arguments(self, values: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
        """The object to call the tool with: presets, and `values` by path."""
        whole: dict[str, Any] = {}
        for path, value in (*self.preset, *values.items()):
            inner = whole
            for key in path[:-1]:
                inner = inner.setdefault(key, {})
            inner[path[-1]] = dict(value) if isinstance(value, dict) else value
        return whole


def allows(schema: dict[str, Any], value: Any) -> bool:
    """Whether `value` is valid. Never raises: a schema that cannot be used allows nothing."""
    try:
        validator = jsonschema.Draft202012Validator(
            schema,
            registry=referencing.Registry(),  # an empty one: a "$ref" to another host must not be fetched
            format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER,
        )
        return bool(validator.is_valid(value))
    except Exception:  # noqa: BLE001 - a client's nonsensical schema makes jsonschema raise nearly anything
        return False


def read_tool(declared: dict[str, Any]) -> Tool:
    """`declared`: a function tool as in `session.tools`. Never raises."""
    schema = declared.get("parameters")
    schema = schema if isinstance(schema, dict) else {"type": "object"}
    reader = _Reader(schema)
    reader.read(schema, (), needed=True, depth=0)
    return Tool(
        str(declared["name"]),
        str(declared.get("description") or ""),
        tuple(reader.parameters),
        tuple(reader.preset),
        schema,
    )


class _Reader:
    """Walks down the objects of a schema, collecting their leaves."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self.parameters: list[Parameter] = []
        self.preset: list[tuple[tuple[str, ...], Any]] = []

    def read(self, schema: dict[str, Any], path: tuple[str, ...], *, needed: bool, depth: int) -> None:
        properties = schema.get("properties")
        required = schema.get("required")
        names = set(map(str, required)) if isinstance(required, list | tuple) else set()
        if path and needed:
            self.preset.append((path, {}))
        for name, declared in properties.items() if isinstance(properties, dict) else ():
            if len(self.parameters) + len(self.preset) >= PARAMETERS_MAX:
                return
            self._property((*path, str(name)), declared, needed=needed and str(name) in names, depth=depth)

    def _property(self, path: tuple[str, ...], declared: Any, *, needed: bool, depth: int) -> None:
        schema, nullable = self._resolved(declared)
        description = str(schema.get("description") or "")
        if needed and "default" in schema:
            self.preset.append((path, schema["default"]))
            needed = False
        elif needed and nullable:
            self.preset.append((path, None))
            needed = False
        elif needed and "const" in schema:
            self.preset.append((path, schema["const"]))
            return
        if _type(schema) == "object" or "properties" in schema:
            if needed and depth < NESTING_MAX:
                self.read(schema, path, needed=True, depth=depth + 1)
            elif needed:
                self.parameters.append(Parameter(path, schema, Kind.OTHER, description, needed))
            return  # an object that may be left out is left out
        is_list = _type(schema) == "array"
        item, _ = self._resolved(schema.get("items", {})) if is_list else (schema, False)
        kind = Kind.OTHER if _type(item) in ("array", "object") else kind_of(path[-1], item, description)
        self.parameters.append(Parameter(path, item, kind, description, needed, is_list))

    def _resolved(self, declared: Any) -> tuple[dict[str, Any], bool]:
        """The schema with references followed and `null` taken out, and whether `null` was allowed."""
        schema, nullable = declared if isinstance(declared, dict) else {}, False
        for _ in range(NESTING_MAX):
            outer = {key: value for key, value in schema.items() if key in ("description", "default", "title")}
            variants = next(
                (schema[key] for key in ("anyOf", "oneOf", "allOf") if isinstance(schema.get(key), list)), None
            )
            if isinstance(schema.get("$ref"), str):
                schema = {**self._referred(schema["$ref"]), **outer}
            elif variants:
                real = [v for v in variants if isinstance(v, dict) and v.get("type") != "null"]
                nullable = nullable or ("allOf" not in schema and len(real) < len(variants))
                schema = {**(real[0] if real else {}), **outer}
            else:
                break
        types = schema.get("type")
        if isinstance(types, list):
            nullable = nullable or "null" in types
            schema = {**schema, "type": next((t for t in types if t != "null"), "null")}
        return schema, nullable

    def _referred(self, reference: str) -> dict[str, Any]:
        found: Any = self._root
        for key in reference.removeprefix("#").strip("/").split("/"):
            found = found.get(key) if key and isinstance(found, dict) else found
        return found if isinstance(found, dict) and reference.startswith("#") else {}


def _type(schema: dict[str, Any]) -> Any:
    return schema.get("type")


_CODE = frozenset(
    "id ids number no code reference ref account phone telephone mobile zip postcode zipcode pin sku iban".split()
)
_MOMENT = frozenset("date day time when datetime slot start end until deadline weekday appointment".split())
_EMAIL = frozenset(("email", "mail"))


def kind_of(name: str, schema: dict[str, Any], description: str) -> Kind:
    if "enum" in schema or "const" in schema:
        return Kind.CHOICE if isinstance(schema.get("enum", []), list) else Kind.OTHER
    declared = _type(schema)
    if declared == "boolean":
        return Kind.YES_NO
    name_words = spoken_name(name).split()
    if declared in ("integer", "number"):
        return Kind.CODE if declared == "integer" and _is_code(name_words, "") else Kind.NUMBER
    if declared not in ("string", None):
        return Kind.OTHER
    if schema.get("format") in ("date", "time", "date-time"):
        return Kind.MOMENT
    if schema.get("format") == "email" or _EMAIL & set(name_words):
        return Kind.EMAIL
    if _is_code(name_words, description):
        return Kind.CODE
    if name_words and (name_words[-1] in _MOMENT or name_words[0] in ("date", "time", "when")):
        return Kind.MOMENT
    return Kind.TEXT


def _is_code(name_words: list[str], description: str) -> bool:
    """By its name, or by the noun its description is about ("The order's number, as on the receipt")."""
    if name_words and name_words[-1] in _CODE:
        # "number of guests" and "time code" are told apart by where the word stands
        return True
    about = [word.form for word in utterance(re.split(r"[,;:.(]| for | of | to | on ", description)[0]).words]
    return bool(about) and about[-1] in _CODE and "name" not in name_words
