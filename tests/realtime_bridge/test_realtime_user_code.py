"""User code in a live session: tools, approvals, hand-offs."""

import asyncio

import pytest
from pydantic import BaseModel
from support.live_session import answer, look_up, of, run, session, until

from realtime_bridge import (
    Agent,
    AgentHooks,
    ApprovalSettings,
    GuardrailTrippedError,
    SilentResult,
    UserCodeError,
    handoff,
    tool,
    tool_input_guardrail,
)


def test_tools_run_side_by_side():
    async def main():
        both = asyncio.Barrier(2)

        @tool
        async def meet(who: str) -> str:
            await both.wait()
            return who

        async with session(Agent("desk", tools=[meet])) as (_, transport):
            transport.reply(calls=[("meet", '{"who": "a"}'), ("meet", '{"who": "b"}')])
            assert {await answer(transport), await answer(transport)} == {"a", "b"}

    run(main)


def test_what_a_tool_raises_surfaces_with_its_name_and_the_call_goes_on():
    async def main():
        @tool
        async def broken() -> None:
            raise LookupError("no such order")

        async with session(Agent("desk", tools=[broken])) as (made, transport):
            transport.reply(calls=[("broken", "{}")])
            assert "no such order" not in await answer(transport)
            error = await until(made, "error")
            assert (error.source, error.tool, error.fatal) == ("tool", "broken", False)
            assert isinstance(error.exception, LookupError)
            assert "no such order" in error.message
            transport.reply("I am sorry.", to=await transport.wait_for("response.create"))

    run(main)


def test_what_a_tool_raises_ends_the_session_if_the_program_wants_it_so():
    async def main():
        @tool(on_error="raise")
        async def broken() -> None:
            raise LookupError("no such order")

        async with session(Agent("desk", tools=[broken])) as (made, transport):
            transport.reply(calls=[("broken", "{}")])
            with pytest.raises(UserCodeError, match="no such order") as raised:
                async for _ in made:
                    pass
            assert raised.value.tool == "broken"
            assert isinstance(raised.value.__cause__, LookupError)

    run(main)


def test_a_tool_guardrail_may_end_the_session():
    async def main():
        @tool_input_guardrail
        def stop(context):
            raise GuardrailTrippedError("fraud")

        @tool(input_guardrails=[stop])
        async def pay() -> None: ...

        async with session(Agent("desk", tools=[pay])) as (made, transport):
            transport.reply(calls=[("pay", "{}")])
            with pytest.raises(UserCodeError, match="fraud"):
                async for _ in made:
                    pass

    run(main)


def test_a_tool_whose_inside_was_cancelled_has_failed():
    async def main():
        @tool
        async def odd() -> None:
            raise asyncio.CancelledError

        async with session(Agent("desk", tools=[odd])) as (made, transport):
            transport.reply(calls=[("odd", "{}")])
            assert "failed" in await answer(transport)
            assert (await until(made, "error")).tool == "odd"

    run(main)


def test_arguments_that_do_not_fit_go_back_to_the_model():
    async def main():
        async with session() as (made, transport):
            transport.reply(calls=[("look_up", '{"oder": 1}')])
            assert "order" in await answer(transport)
            assert (await until(made, "agent_tool_end")).outcome == "invalid_arguments"
            await transport.wait_for("response.create")

    run(main)


def test_the_program_may_word_what_the_model_is_told_of_errors():
    async def main():
        @tool
        async def broken() -> None:
            raise LookupError

        @tool(needs_approval=True)
        async def refund() -> None: ...

        async def words(info):
            return f"{info.kind} {info.tool}" if info.kind != "invalid_arguments" else None

        async with session(Agent("desk", tools=[broken, refund, look_up]), tool_error_formatter=words) as (
            made,
            transport,
        ):
            transport.reply(calls=[("broken", "{}")])
            assert await answer(transport) == "failed broken"
            transport.reply(calls=[("refund", "{}")])
            await made.reject((await until(made, "tool_approval_requested")).request.call_id)
            assert await answer(transport) == "approval_rejected refund"
            transport.reply(calls=[("look_up", "{}")])
            assert "order" in await answer(transport), "None leaves the standard words"

    run(main)


def test_a_formatter_that_fails_is_told_and_does_no_harm():
    async def main():
        @tool
        async def broken() -> None:
            raise LookupError

        def words(info):
            raise KeyError("formatter")

        async with session(Agent("desk", tools=[broken]), tool_error_formatter=words) as (made, transport):
            transport.reply(calls=[("broken", "{}")])
            assert "failed" in await answer(transport)
            assert any(isinstance(error.exception, KeyError) for error in of(made, "error"))

    run(main)


def test_results_of_any_kind_become_text():
    class Offer(BaseModel):
        price: int

    async def main():
        @tool
        def offer() -> Offer:
            return Offer(price=3)

        @tool
        async def note() -> SilentResult:
            return SilentResult("noted")

        async with session(Agent("desk", tools=[offer, note])) as (_, transport):
            transport.reply(calls=[("offer", "{}")])
            assert await answer(transport) == '{"price":3}'
            transport.reply(to=await transport.wait_for("response.create"), calls=[("note", "{}")])
            assert await answer(transport) == "noted"

    run(main)


def test_an_approval_asked_and_given():
    async def main():
        paid = []

        @tool(needs_approval=lambda context, arguments: arguments["amount"] > 10)
        async def pay(amount: int) -> str:
            paid.append(amount)
            return "paid"

        async with session(Agent("desk", tools=[pay])) as (made, transport):
            transport.reply(calls=[("pay", '{"amount": 5}')])
            assert await answer(transport) == "paid"
            transport.reply(calls=[("pay", '{"amount": 50}')])
            request = (await until(made, "tool_approval_requested")).request
            assert paid == [5]
            assert (request.tool, request.arguments) == ("pay", '{"amount": 50}')
            await made.approve(request)
            assert await answer(transport, request.call_id) == "paid"
            assert paid == [5, 50]

    run(main)


def test_an_approval_refused_with_a_message():
    async def main():
        @tool(needs_approval=True)
        async def pay() -> str: ...

        async with session(Agent("desk", tools=[pay])) as (made, transport):
            transport.reply(calls=[("pay", "{}")])
            await made.reject((await until(made, "tool_approval_requested")).request, message="Not today.")
            assert await answer(transport) == "Not today."

    run(main)


def test_an_approval_nobody_gives_is_refused_in_time():
    async def main():
        @tool(needs_approval=True)
        async def pay() -> str: ...

        async with session(Agent("desk", tools=[pay]), approvals=ApprovalSettings(timeout_s=0.05)) as (made, transport):
            transport.reply(calls=[("pay", "{}")])
            assert "Nobody approved" in await answer(transport)
            assert (await until(made, "tool_approval_resolved")).by == "timeout"

    run(main)


def test_a_predicate_that_fails_asks_and_tells():
    async def main():
        @tool(needs_approval=lambda context, arguments: arguments["nothing"])
        async def pay() -> str:
            return "paid"

        async with session(Agent("desk", tools=[pay])) as (made, transport):
            transport.reply(calls=[("pay", "{}")])
            await until(made, "tool_approval_requested")
            error = of(made, "error")[0]
            assert (error.source, error.tool) == ("approval", "pay")
            assert isinstance(error.exception, KeyError)

    run(main)


def test_a_hand_off_with_input_filter_and_hooks():
    class Reason(BaseModel):
        why: str

    async def main():
        calls = []

        class Hooks(AgentHooks):
            async def on_handoff(self, context, agent, source):
                calls.append(("on_handoff", agent.name, source.name))

            async def on_leave(self, context, agent, target):
                calls.append(("on_leave", agent.name, target.name))

        billing = Agent("Billing", lambda context: f"{len(context.history)} items", hooks=Hooks())
        move = handoff(
            billing,
            on_handoff=lambda context, reason: calls.append(("moved", reason.why)),
            input_type=Reason,
            filter=lambda history: [item for item in history if item.type != "message"],
        )
        desk = Agent("desk", handoffs=[move], hooks=Hooks())
        async with session(desk) as (made, transport):
            transport.heard("my card is 4111")
            transport.reply(calls=[("transfer_to_billing", '{"why": "card"}')])
            update = await transport.wait_for("session.update")
            assert update.session["instructions"] == "2 items"
            assert await answer(transport) == '{"assistant": "Billing"}'
            assert made.current_agent is billing
            assert [item.type for item in made.history] == ["function_call"]
        assert calls == [("moved", "card"), ("on_leave", "desk", "Billing"), ("on_handoff", "Billing", "desk")]

    run(main)


@pytest.mark.parametrize(("arguments", "told"), [("{}", "why"), ('{"why": "angry"}', "could not be made")])
def test_a_hand_off_that_cannot_be_made_goes_back_to_the_model(arguments, told):
    class Reason(BaseModel):
        why: str

    def refuse(context, reason):
        raise PermissionError(reason.why)

    async def main():
        desk = Agent("desk", handoffs=[handoff(Agent("Billing"), on_handoff=refuse, input_type=Reason)])
        async with session(desk) as (made, transport):
            transport.reply(calls=[("transfer_to_billing", arguments)])
            assert told in await answer(transport)
            assert made.current_agent is desk
            assert all(isinstance(error.exception, PermissionError) for error in of(made, "error"))

    run(main)
