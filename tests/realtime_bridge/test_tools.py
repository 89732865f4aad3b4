import asyncio
import json
import threading
from typing import Any

import pytest

from realtime_bridge.context import RunContext, ToolContext
from realtime_bridge.errors import MisuseError
from realtime_bridge.tools import ArgumentsError, HostedMcpTool, Tool, parse_object, tool


def call(tool_: Tool, arguments: Any, context: ToolContext | None = None) -> Any:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return asyncio.run(tool_.call(context or ToolContext(), text))


def test_the_context_comes_first_and_is_no_parameter():
    @tool
    async def who(context: ToolContext, name: str) -> str:
        return f"{context.call_id} {name}"

    assert list(who.parameters["properties"]) == ["name"]
    assert call(who, {"name": "Ann"}, ToolContext(call_id="call_1")) == "call_1 Ann"


def test_a_run_context_will_do_and_may_be_generic():
    @tool
    async def user(context: RunContext[dict[str, str]]) -> str:
        return context.context["user"]

    assert call(user, {}, ToolContext(context={"user": "Ann"})) == "Ann"


def test_a_context_in_another_place_is_refused():
    def wrong(name: str, context: ToolContext) -> str: ...

    with pytest.raises(MisuseError, match="first parameter"):
        tool(wrong)


def test_a_synchronous_function_runs_beside_the_event_loop():
    @tool
    def where() -> str:
        return threading.current_thread().name

    assert call(where, {}) != threading.main_thread().name


def test_a_callable_object_can_be_a_tool():
    class Adder:
        """Add."""

        async def __call__(self, a: int, b: int) -> int:
            return a + b

    assert call(tool(name="add")(Adder()), {"a": 1, "b": 2}) == 3


def test_a_method_can_be_a_tool():
    class Shop:
        async def price(self, item: str) -> str:
            return f"{item}: 3"

    assert call(tool(Shop().price), {"item": "tea"}) == "tea: 3"


def test_positional_only_parameters_are_bound_by_position():
    @tool
    async def power(base: int, /, exponent: int) -> int:
        return base**exponent

    assert call(power, {"base": 2, "exponent": 5}) == 32


def test_arguments_become_the_types_they_are_annotated_with():
    @tool
    async def kind(numbers: set[int]) -> str:
        return type(numbers).__name__

    assert call(kind, {"numbers": [1, 2]}) == "set"


@pytest.mark.parametrize(
    ("arguments", "mentions"),
    [
        ("{", "JSON"),
        ("[1]", "object"),
        ({"count": "many"}, "count"),
        ({}, "count"),
        ({"count": 1, "colour": "red"}, "colour"),
    ],
)
def test_arguments_that_do_not_fit_are_told_in_words_a_model_can_mend(arguments, mentions):
    @tool
    async def order(count: int) -> None: ...

    with pytest.raises(ArgumentsError, match=mentions) as raised:
        call(order, arguments)
    assert "pydantic" not in str(raised.value)
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    with pytest.raises(ArgumentsError, match=mentions):
        order.parse(text)


def test_no_arguments_at_all_are_an_empty_object():
    @tool
    async def ping() -> str:
        return "pong"

    assert call(ping, "") == "pong"
    assert parse_object("") == {}


@pytest.mark.parametrize("arguments", ["{", "[]", '{"a":' + "[" * 100_000, '{"a":' * 500_000 + "1" + "}" * 500_000])
def test_arguments_that_are_no_object_that_can_be_read_are_refused(arguments):
    with pytest.raises(ArgumentsError):
        parse_object(arguments)


def test_the_decorated_function_can_still_be_called():
    @tool
    def double(x: int) -> int:
        return 2 * x

    assert double(4) == 8


def test_a_tool_can_be_made_from_a_schema_and_a_handler():
    async def handler(context: ToolContext, arguments_json: str) -> str:
        return arguments_json

    raw = Tool(name="raw", parameters={"type": "object", "properties": {}}, call=handler)
    assert call(raw, '{"a": 1}') == '{"a": 1}'
    assert raw.parse('{"a": 1}') == {"a": 1}
    with pytest.raises(MisuseError):
        raw()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"name": "no spaces"}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"on_barge_in": "explode"}, "on_barge_in"),
        ({"approval_by_caller": "1"}, "needs_approval"),
        ({"approval_by_caller": "12", "needs_approval": True}, "one key"),
        ({"approval_by_caller": "*", "needs_approval": True}, "one key"),
    ],
)
def test_impossible_settings_are_refused(settings, complaint):
    with pytest.raises(MisuseError, match=complaint):
        tool(**{"name": "fine", **settings})(lambda: None)


def test_an_annotation_that_cannot_be_resolved_is_named():
    def broken(x: "Nowhere") -> None: ...  # noqa: F821 -- this is what is tested

    with pytest.raises(MisuseError, match="Nowhere"):
        tool(broken)


def test_a_hosted_mcp_server_as_it_stands_in_the_session():
    server = HostedMcpTool(
        server_label="shop",
        server_url="https://shop.example/mcp",
        allowed_tools=["find"],
        require_approval="never",
        headers={"X-Key": "secret"},
        authorization="token",
    )
    assert server.definition() == {
        "type": "mcp",
        "server_label": "shop",
        "server_url": "https://shop.example/mcp",
        "allowed_tools": ["find"],
        "require_approval": "never",
        "headers": {"X-Key": "secret"},
        "authorization": "token",
    }
    assert "secret" not in repr(server)
    assert "token" not in repr(server)


def test_a_hosted_mcp_server_needs_one_address():
    with pytest.raises(MisuseError, match="server_url or connector_id"):
        HostedMcpTool(server_label="shop")
    with pytest.raises(MisuseError, match="server_url or connector_id"):
        HostedMcpTool(server_label="shop", server_url="https://x", connector_id="y")
