"""JSON schemas for tools and hand-offs: a function's parameters as a pydantic model, and any schema made strict.

Strict is what OpenAI's structured outputs ask for (https://platform.openai.com/docs/guides/structured-outputs#supported-schemas):
every object closed, every property required, no keyword that the decoder cannot follow. A parameter with a default is
therefore required of the model; its default is told in the description instead.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import docstring_parser
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.fields import FieldInfo

from realtime_bridge.errors import MisuseError

_DEPTH_MAX = 50
_UNSUPPORTED = frozenset(
    {"not", "if", "then", "else", "dependentRequired", "dependentSchemas", "patternProperties", "prefixItems"}
)
_EMPTY = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}


@dataclass(frozen=True, slots=True)
class Parameters:
    """A function's parameters, as a schema for the model and as a validator for what it sends."""

    schema: dict[str, Any]
    model: type[BaseModel]
    takes_context: bool
    positional_only: tuple[str, ...]
    fields: dict[str, str]  # parameter name -> field name in `model`

    def bind(self, arguments_json: str) -> tuple[list[Any], dict[str, Any]]:
        """What to call the function with (the context aside). Raises pydantic.ValidationError."""
        values = self.model.model_validate_json(arguments_json or "{}")
        bound = {name: getattr(values, field) for name, field in self.fields.items()}
        return [bound.pop(name) for name in self.positional_only], bound


def describe(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """A function's summary and its parameters' descriptions, from a Google, NumPy or reST docstring."""
    text = inspect.getdoc(function)
    if not text:
        return "", {}
    parsed = docstring_parser.parse(text)
    return (parsed.description or "").strip(), {
        p.arg_name.lstrip("*"): p.description for p in parsed.params if p.description
    }


def function_parameters(
    function: Callable[..., Any], *, context_types: tuple[type, ...], descriptions: Mapping[str, str], strict: bool
) -> Parameters:
    """The parameters of `function`, its context parameter left out.

    Raises MisuseError naming the function and the parameter: `*args`, an annotation that cannot be resolved or has no
    JSON schema, a context that is not the first parameter, a type that cannot be strict.
    """
    name = getattr(function, "__name__", repr(function))
    hints = _hints(function, name)
    names = list(inspect.signature(function).parameters.values())
    takes_context = bool(names) and _is_context(hints.get(names[0].name), context_types)
    fields: dict[str, Any] = {}
    mapping: dict[str, str] = {}
    for index, parameter in enumerate(names[1:] if takes_context else names):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise MisuseError(f"tool {name}: parameter {parameter} has no JSON schema; name each parameter")
        annotation = hints.get(parameter.name, Any)
        if _is_context(annotation, context_types):
            raise MisuseError(f"tool {name}: the context must be the first parameter, not {parameter.name}")
        # Neutral field names: a parameter may be called `json` or `_x`, which a pydantic field may not.
        mapping[parameter.name] = f"p{index}"
        fields[f"p{index}"] = _field(parameter, annotation, descriptions.get(parameter.name))
    try:
        model = create_model(f"{name}_arguments", __config__=ConfigDict(extra="forbid"), **fields)
        schema = model.model_json_schema(by_alias=True)
    except (PydanticUserError, PydanticInvalidForJsonSchema) as e:
        raise MisuseError(f"tool {name}: a parameter's type has no JSON schema: {e}") from e
    return Parameters(
        schema=strict_schema(schema, owner=f"tool {name}") if strict else tidy_schema(schema),
        model=model,
        takes_context=takes_context,
        positional_only=tuple(p.name for p in names if p.kind is p.POSITIONAL_ONLY and p.name in mapping),
        fields=mapping,
    )


def type_parameters(kind: Any, *, owner: str) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    """(validator, strict schema) of a type that must be an object: a model, a dataclass, a TypedDict.

    Raises MisuseError.
    """
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(kind)
        return adapter, strict_schema(adapter.json_schema(), owner=owner)
    except (PydanticUserError, PydanticInvalidForJsonSchema) as e:
        raise MisuseError(f"{owner}: its input type has no JSON schema: {e}") from e


def strict_schema(schema: Mapping[str, Any], *, owner: str) -> dict[str, Any]:
    """A copy of `schema` in strict form. Raises MisuseError, naming `owner` and the place, where there is none."""
    if not schema:
        return dict(_EMPTY)
    strict = _Strict(dict(schema), owner).node(dict(schema), "", 0)
    if strict.get("type") != "object":
        raise MisuseError(f"{owner}: the parameters must be one JSON object")
    return strict


def tidy_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A copy without pydantic's generated titles, which say nothing and cost tokens."""
    tidied: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        if key in ("properties", "$defs") and isinstance(value, Mapping):
            tidied[key] = {name: tidy_schema(sub) for name, sub in value.items()}
        elif isinstance(value, Mapping) and key != "default":
            tidied[key] = tidy_schema(value)
        elif isinstance(value, list):
            tidied[key] = [tidy_schema(sub) if isinstance(sub, Mapping) else sub for sub in value]
        else:
            tidied[key] = value
    return tidied


class _Strict:
    """One conversion; carries the root, where references lead, and the owner's name, for messages."""

    def __init__(self, root: dict[str, Any], owner: str) -> None:
        self._root = root
        self._owner = owner

    def node(self, schema: dict[str, Any], path: str, depth: int) -> dict[str, Any]:
        if depth > _DEPTH_MAX:
            raise MisuseError(f"{self._owner}: the schema is nested more than {_DEPTH_MAX} deep at {path}")
        if bad := _UNSUPPORTED.intersection(schema):
            raise self._not_strict(path, f"uses {', '.join(sorted(bad))}")
        if "$ref" in schema and len(schema) > 1:
            schema = self._resolve(schema, path)
        if len(several := schema.get("allOf", [])) == 1:
            schema = {**several[0], **{key: value for key, value in schema.items() if key != "allOf"}}
        elif several:
            raise self._not_strict(path, "uses allOf")
        strict = {key: value for key, value in schema.items() if key not in ("title", "default", "discriminator")}
        if schema.get("default") is not None:
            told = f"Default: {json.dumps(schema['default'], ensure_ascii=False)}."
            strict["description"] = f"{strict['description']} {told}" if strict.get("description") else told
        self._children(strict, path, depth)
        return strict

    def _children(self, strict: dict[str, Any], path: str, depth: int) -> None:
        for key in ("$defs", "definitions"):
            if key in strict:
                strict[key] = {n: self.node(dict(s), f"{path}/{n}", depth + 1) for n, s in strict[key].items()}
        if strict.get("type") == "object" or "properties" in strict:
            if strict.get("additionalProperties") not in (None, False):
                raise self._not_strict(path, "takes any key")
            properties = strict.get("properties", {})
            if not properties and path and "additionalProperties" not in strict:
                raise self._not_strict(path, "takes any key")
            strict["properties"] = {n: self.node(dict(s), f"{path}/{n}", depth + 1) for n, s in properties.items()}
            strict["required"] = list(properties)
            strict["additionalProperties"] = False
        if isinstance(items := strict.get("items"), dict):
            strict["items"] = self.node(items, f"{path}/[]", depth + 1)
        if "oneOf" in strict:
            strict["anyOf"] = strict.pop("oneOf")
        if "anyOf" in strict:
            strict["anyOf"] = [self.node(dict(s), path, depth + 1) for s in strict["anyOf"]]

    def _resolve(self, schema: dict[str, Any], path: str) -> dict[str, Any]:
        """A reference with neighbours (a description, a default), written out: strict mode allows no neighbours."""
        target: Any = self._root
        for step in schema["$ref"].removeprefix("#/").split("/"):
            target = target.get(step) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            raise self._not_strict(path, f"refers to {schema['$ref']}, which is not there")
        return {**target, **{key: value for key, value in schema.items() if key != "$ref"}}

    def _not_strict(self, path: str, what: str) -> MisuseError:
        where = path.strip("/") or "the parameters"
        return MisuseError(f"{self._owner}: {where} {what}, which a strict schema cannot; pass strict=False")


def _hints(function: Callable[..., Any], name: str) -> dict[str, Any]:
    target = function if inspect.isroutine(function) else type(function).__call__
    try:
        return get_type_hints(target, include_extras=True)
    except NameError as e:
        raise MisuseError(f"tool {name}: annotation {e.name!r} cannot be resolved where the function is defined") from e


def _is_context(annotation: Any, context_types: tuple[type, ...]) -> bool:
    origin = get_origin(annotation) or annotation
    return isinstance(origin, type) and issubclass(origin, context_types)


def _field(parameter: inspect.Parameter, annotation: Any, described: str | None) -> tuple[Any, FieldInfo]:
    """(annotation, Field) of one parameter: description from the docstring, from `Field(description=…)`, or from a
    bare string in `Annotated`."""
    if get_origin(annotation) is Annotated and not described:
        described = next((extra for extra in get_args(annotation)[1:] if isinstance(extra, str)), None)
    default = ... if parameter.default is parameter.empty else parameter.default
    if isinstance(default, FieldInfo):
        extra = {"description": described} if described else {}
        return annotation, FieldInfo.merge_field_infos(default, alias=parameter.name, **extra)
    if described:
        return annotation, Field(default, alias=parameter.name, description=described)
    return annotation, Field(default, alias=parameter.name)
