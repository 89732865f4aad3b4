from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from realtime_bridge.errors import MisuseError
from realtime_bridge.schema import describe, strict_schema, tidy_schema, type_parameters
from realtime_bridge.tools import tool


class Address(BaseModel):
    street: str
    city: str | None = None


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


def test_a_signature_becomes_a_strict_schema():
    @tool
    def order(
        *, item: str, count: int, size: Size, colour: Literal["red", "blue"], to: Address, tags: list[str]
    ) -> None: ...

    schema = order.parameters
    assert schema["required"] == ["item", "count", "size", "colour", "to", "tags"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["colour"] == {"enum": ["red", "blue"], "type": "string"}
    assert schema["$defs"]["Address"]["required"] == ["street", "city"]
    assert schema["$defs"]["Address"]["additionalProperties"] is False
    assert "title" not in str(schema)


def test_a_default_is_told_in_the_description_because_strict_schemas_have_none():
    @tool
    def search(query: str, limit: Annotated[int, Field(ge=1, description="At most so many.")] = 10) -> None: ...

    assert search.parameters["required"] == ["query", "limit"]
    assert search.parameters["properties"]["limit"] == {
        "description": "At most so many. Default: 10.",
        "minimum": 1,
        "type": "integer",
    }


GOOGLE = """Book a table.

    Args:
        day: Which day.
        people: How many.
    """
NUMPY = """Book a table.

    Parameters
    ----------
    day : str
        Which day.
    people : int
        How many.
    """
REST = """Book a table.

    :param day: Which day.
    :param people: How many.
    """


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, REST])
def test_descriptions_come_from_the_docstring_in_any_common_style(docstring):
    def book(day: str, people: int) -> None: ...

    book.__doc__ = docstring
    made = tool(book)
    assert made.description == "Book a table."
    assert made.parameters["properties"]["day"]["description"] == "Which day."
    assert made.parameters["properties"]["people"]["description"] == "How many."


def test_a_bare_string_in_annotated_is_a_description():
    @tool
    def call(number: Annotated[str, "With the country code."]) -> None: ...

    assert call.parameters["properties"]["number"]["description"] == "With the country code."


def test_a_function_without_docstring_has_no_description():
    assert describe(lambda: None) == ("", {})


def test_parameter_names_that_pydantic_fields_may_not_have_are_fine():
    @tool
    def odd(json: str, _hidden: int, model_config: bool, copy: float) -> None: ...

    assert list(odd.parameters["properties"]) == ["json", "_hidden", "model_config", "copy"]


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (lambda *numbers: None, "numbers"),
        (lambda **options: None, "options"),
    ],
)
def test_variadic_parameters_are_refused_by_name(function, complaint):
    with pytest.raises(MisuseError, match=complaint):
        tool(function)


def test_a_type_without_schema_is_refused():
    def bad(callback: Callable[[], None]) -> None: ...

    with pytest.raises(MisuseError, match="tool bad"):
        tool(bad)


def test_an_open_object_cannot_be_strict_but_can_be_a_tool():
    def store(values: dict[str, Any]) -> None: ...

    with pytest.raises(MisuseError, match=r"values takes any key.*strict=False"):
        tool(store)
    assert tool(strict=False)(store).parameters["properties"]["values"]["additionalProperties"] is True


def test_strict_form_of_foreign_schemas():
    schema = {
        "type": "object",
        "title": "Thing",
        "properties": {
            "title": {"type": "string"},
            "size": {"oneOf": [{"type": "integer"}, {"type": "null"}], "default": None},
            "colour": {"allOf": [{"type": "string"}], "description": "Which?"},
            "place": {"$ref": "#/$defs/place", "description": "Where?"},
        },
        "$defs": {"place": {"type": "object", "properties": {"x": {"type": "number"}}}},
    }
    strict = strict_schema(schema, owner="test")
    assert strict["properties"]["title"] == {"type": "string"}
    assert strict["properties"]["size"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    assert strict["properties"]["colour"] == {"type": "string", "description": "Which?"}
    assert strict["properties"]["place"]["description"] == "Where?"
    assert strict["properties"]["place"]["required"] == ["x"]
    assert strict["required"] == ["title", "size", "colour", "place"]
    assert schema["title"] == "Thing", "the original is left alone"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"not": {"type": "string"}}}},
        {"type": "object", "properties": {"a": {"type": "array", "prefixItems": [{"type": "string"}]}}},
        {"type": "object", "properties": {"a": {"allOf": [{"type": "string"}, {"minLength": 1}]}}},
        {"type": "object", "properties": {"a": {"type": "object"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/missing", "description": "?"}}},
        {"type": "array", "items": {"type": "string"}},
        {"anyOf": [{"type": "object"}, {"type": "null"}]},
    ],
)
def test_what_strict_mode_cannot_say_is_refused_with_the_owner(schema):
    with pytest.raises(MisuseError, match="tool x"):
        strict_schema(schema, owner="tool x")


def test_endless_nesting_is_refused():
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(60):
        schema = {"type": "object", "properties": {"deeper": schema}}
    with pytest.raises(MisuseError, match="nested"):
        strict_schema(schema, owner="tool x")


def test_an_empty_schema_is_an_object_without_properties():
    assert strict_schema({}, owner="x")["properties"] == {}


def test_tidying_keeps_a_property_called_title():
    schema = {"title": "A", "properties": {"title": {"title": "Title", "type": "string"}}, "examples": [{"title": "x"}]}
    assert tidy_schema(schema)["properties"] == {"title": {"type": "string"}}


@dataclass
class Reason:
    why: str
    urgent: bool = False


class Ticket(TypedDict):
    number: int


@pytest.mark.parametrize("kind", [Reason, Ticket, Address])
def test_inputs_of_hand_offs_may_be_dataclasses_typed_dicts_and_models(kind):
    _, schema = type_parameters(kind, owner="hand-off")
    assert schema["type"] == "object"
    assert schema["additionalProperties"] is False


def test_an_input_type_without_schema_is_refused():
    with pytest.raises(MisuseError, match="hand-off to b"):
        type_parameters(Callable[[], None], owner="hand-off to b")
