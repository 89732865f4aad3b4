import asyncio
from dataclasses import dataclass
from datetime import date

import pytest
from pydantic import BaseModel

from realtime_bridge.context import ToolContext
from realtime_bridge.guardrails import GuardrailTrippedError, Reject, tool_input_guardrail, tool_output_guardrail
from realtime_bridge.invocation import OUTPUT_CHARS_MAX, REFUSED, as_text, check_call, run_call
from realtime_bridge.tools import SilentResult, ToolError, tool


def run(tool_, arguments="{}"):
    return asyncio.run(run_call(tool_, ToolContext(), arguments))


def check(tool_, arguments="{}", *, guardrails=False):
    return asyncio.run(check_call(tool_, ToolContext(), arguments, guardrails=guardrails))


def test_a_result_is_told_as_text():
    @tool
    async def price() -> dict:
        return {"price": 3, "valid": True}

    assert run(price).output == '{"price":3,"valid":true}'


class Offer(BaseModel):
    until: date


@dataclass
class Point:
    x: int


class Odd:
    def __str__(self):
        return "odd"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        (None, "null"),
        (Offer(until=date(2030, 1, 2)), '{"until":"2030-01-02"}'),
        (Point(1), '{"x":1}'),
        ([Point(1), "ä"], '[{"x":1},"ä"]'),
        (Odd(), '"odd"'),
    ],
)
def test_anything_can_be_a_result(value, text):
    assert as_text(value) == text


def test_what_a_tool_raises_is_not_told_to_the_model():
    @tool
    async def broken() -> None:
        raise ValueError("password is hunter2")

    outcome = run(broken)
    assert outcome.kind == "failed"
    assert "hunter2" not in outcome.output
    assert isinstance(outcome.error, ValueError)
    assert not outcome.fatal


def test_a_tool_error_is_meant_for_the_model():
    @tool
    async def refund() -> None:
        raise ToolError("There is no such order.")

    outcome = run(refund)
    assert (outcome.kind, outcome.output, outcome.error) == ("failed", "There is no such order.", None)


def test_a_tool_may_have_its_own_words_for_its_errors():
    async def words(context, error):
        return f"Sorry: {error}"

    @tool(on_error=words)
    async def broken() -> None:
        raise ValueError("no")

    assert run(broken).output == "Sorry: no"


def test_words_for_errors_that_fail_themselves_fall_back():
    def words(context, error):
        raise KeyError("again")

    @tool(on_error=words)
    async def broken() -> None:
        raise ValueError("no")

    outcome = run(broken)
    assert isinstance(outcome.error, KeyError)
    assert isinstance(outcome.error.__context__, ValueError)


def test_on_error_raise_is_fatal():
    @tool(on_error="raise")
    async def broken() -> None:
        raise ValueError("no")

    assert run(broken).fatal


def test_a_tool_that_takes_too_long_is_given_up():
    @tool(timeout_s=0.01)
    async def slow() -> None:
        await asyncio.Event().wait()

    outcome = run(slow)
    assert outcome.kind == "timeout"
    assert "0.01 seconds" in outcome.output


def test_a_time_out_inside_a_tool_is_the_tools_failure():
    @tool
    async def impatient() -> None:
        raise TimeoutError

    assert run(impatient).kind == "failed"


def test_an_endless_result_is_refused():
    @tool
    async def much() -> str:
        return "x" * (OUTPUT_CHARS_MAX + 1)

    assert run(much).kind == "failed"


def test_a_silent_result_is_recorded_only():
    @tool
    async def note() -> SilentResult:
        return SilentResult({"ok": True})

    outcome = run(note)
    assert (outcome.output, outcome.silent) == ('{"ok":true}', True)


def test_an_input_guardrail_keeps_a_tool_from_running():
    ran = []

    @tool_input_guardrail
    async def no_big_sums(context):
        return Reject("Too much.") if context.arguments.get("amount", 0) > 100 else None

    @tool(input_guardrails=[no_big_sums])
    async def pay(amount: int) -> str:
        ran.append(amount)
        return "paid"

    context = ToolContext(arguments={"amount": 500})
    outcome = asyncio.run(run_call(pay, context, '{"amount": 500}'))
    assert (outcome.kind, outcome.output, ran) == ("rejected", "Too much.", [])
    context = ToolContext(arguments={"amount": 5})
    assert asyncio.run(run_call(pay, context, '{"amount": 5}')).output == "paid"


def test_an_output_guardrail_replaces_a_result():
    @tool_output_guardrail
    def no_secrets(context, result):
        return Reject("Withheld.") if "secret" in result else None

    @tool(output_guardrails=[no_secrets])
    async def read() -> str:
        return "a secret"

    outcome = run(read)
    assert (outcome.kind, outcome.output) == ("rejected", "Withheld.")


@pytest.mark.parametrize("kind", ["input_guardrails", "output_guardrails"])
def test_a_tool_guardrail_that_fails_lets_nothing_through(kind):
    make = tool_input_guardrail if kind == "input_guardrails" else tool_output_guardrail

    def broken(*_):
        raise RuntimeError("down")

    @tool(**{kind: [make(broken)]})
    async def act() -> str:
        return "done"

    outcome = run(act)
    assert (outcome.kind, outcome.output) == ("rejected", REFUSED)
    assert isinstance(outcome.error, RuntimeError)


def test_a_tool_guardrail_may_end_the_session():
    @tool_input_guardrail
    def stop(context):
        raise GuardrailTrippedError("fraud")

    @tool(input_guardrails=[stop])
    async def act() -> str: ...

    assert run(act).fatal


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        (True, True),
        (False, False),
        (lambda context, arguments: arguments["amount"] > 10, True),
        (lambda context, arguments: arguments["amount"] > 100, False),
        (lambda context, arguments: None, True),
        (lambda context, arguments: 1 / 0, True),
    ],
)
def test_whether_approval_is_needed_fails_closed(needs, expected):
    @tool(needs_approval=needs)
    async def pay(amount: int) -> str: ...

    assert check(pay, '{"amount": 50}').needs_approval is expected


def test_an_approval_predicate_may_be_asynchronous_and_must_not_hang():
    async def hangs(context, arguments):
        await asyncio.Event().wait()

    @tool(needs_approval=hangs, timeout_s=0.01)
    async def pay() -> str: ...

    checked = check(pay)
    assert checked.needs_approval
    assert isinstance(checked.error, TimeoutError)


def test_malformed_arguments_go_back_and_nobody_is_asked_to_approve_them():
    @tool(needs_approval=True)
    async def pay(amount: int) -> str: ...

    checked = check(pay, '{"amount": "much"}')
    assert checked.refusal is not None
    assert checked.refusal.kind == "invalid_arguments"


def test_guardrails_can_run_before_anybody_is_asked():
    @tool_input_guardrail
    def never(context):
        return Reject("No.")

    @tool(needs_approval=True, input_guardrails=[never])
    async def pay() -> str: ...

    assert check(pay).refusal is None
    refusal = check(pay, guardrails=True).refusal
    assert refusal is not None
    assert refusal.output == "No."
