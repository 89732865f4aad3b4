"""The tools of agents on trial."""

import asyncio
import threading

import pytest

from realtime_bridge import Agent, ToolContext, handoff, tool
from realtime_bridge.errors import MisuseError
from realtime_bridge.tools import SilentResult, ToolError
from telephony.testing import run_virtual
from telephony.tools import hang_up, transfer_call
from telephony.trials.taped_call import NOTHING_TAPED, TapedDeeds, TapedTool
from telephony.trials.tools import RealWorld, TrialTools, UnknownCallError, require_mocked


@tool
async def price(context: ToolContext, item: str) -> str:
    """Look a price up."""
    raise AssertionError("nobody may call it")


def taped(*outputs, **more):
    return TapedDeeds(
        tools=tuple(TapedTool(name="price", arguments={"item": "tea"}, output=output, **more) for output in outputs)
    )


def equipped(tools, deeds, **options):
    trial = TrialTools(tools, deeds, **options)
    [copy] = trial.equip(Agent(name="Shop", tools=[price])).tools
    return trial, copy


async def asked(copy, arguments='{"item":"tea"}'):
    return await copy.call(None, arguments)


def test_the_tape_s_answers_come_in_their_order_and_the_last_one_again():
    _, copy = equipped("recorded", taped("2.10", "2.20"))

    async def call():
        return [await asked(copy) for _ in range(3)]

    assert run_virtual(call()) == ["2.10", "2.20", "2.20"]


def test_an_answer_takes_as_long_as_it_took():
    _, copy = equipped("recorded", taped("2.10", took_s=7.5))

    async def call():
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asked(copy)
        return loop.time() - began

    assert run_virtual(call()) == pytest.approx(7.5)


def test_what_failed_fails_again_and_what_was_silent_is_silent():
    _, copy = equipped("recorded", taped("The till is shut.", outcome="failed"))
    with pytest.raises(ToolError, match="The till is shut"):
        run_virtual(asked(copy))
    _, copy = equipped("recorded", taped("2.10", silent=True))
    assert run_virtual(asked(copy)) == SilentResult("2.10")


def test_the_order_of_arguments_does_not_matter():
    deeds = TapedDeeds(tools=(TapedTool(name="price", arguments={"a": 1, "b": [2]}, output="3"),))
    _, copy = equipped("recorded", deeds)
    assert run_virtual(asked(copy, '{"b":[2],"a":1}')) == "3"


@pytest.mark.parametrize(
    ("deeds", "told"),
    [
        (taped("2.10"), r'there was price\(\{"item":"tea"\}\)\. Mock price, or let tools be live'),
        (taped("gone", outcome="cancelled"), r"there was price"),
        (TapedDeeds(), "in the recorded call price was never called"),
        (NOTHING_TAPED, "this caller was not recorded with an agent's tools"),
    ],
)
def test_a_call_that_is_not_on_the_tape_has_no_answer(deeds, told):
    trial, copy = equipped("recorded", deeds)
    with pytest.raises(UnknownCallError, match=told):
        run_virtual(asked(copy, '{"item":"milk"}'))
    assert copy.on_error == "raise"
    assert len(trial.problems) == 1


def test_a_call_that_was_never_answered_is_said_to_be_one():
    _, copy = equipped("recorded", taped("gone", outcome="cancelled"))
    with pytest.raises(UnknownCallError, match="and it got no answer"):
        run_virtual(asked(copy))


def test_a_mock_is_a_value_or_a_function_of_the_arguments():
    async def later(item):
        return f"{item}: 4"

    for mock, expected in ((3, 3), (lambda item: f"{item}: 3", "tea: 3"), (later, "tea: 4")):
        _, copy = equipped({"price": mock}, NOTHING_TAPED)
        assert run_virtual(asked(copy)) == expected


def test_beside_mocks_tools_are_recorded_if_there_is_a_record_and_else_live():
    _, copy = equipped({"stock": 3}, taped("2.10"))
    assert run_virtual(asked(copy)) == "2.10"
    _, copy = equipped({"stock": 3}, NOTHING_TAPED)
    assert copy.call is price.call


def test_a_mock_of_no_tool_is_a_mistake():
    shop = Agent(name="Shop", tools=[price])
    require_mocked({"price": 3}, Agent(name="Desk", handoffs=[shop]))
    with pytest.raises(MisuseError, match=r"Shop .* have no tool 'prise' \(they have price\)"):
        require_mocked({"prise": 3}, shop)


def test_a_mock_may_fail_as_a_tool_does():
    def refuses(item):
        raise ToolError(f"no {item}")

    _, copy = equipped({"price": refuses}, NOTHING_TAPED)
    with pytest.raises(ToolError, match="no tea"):
        run_virtual(asked(copy))


def test_live_tools_reach_the_real_world_while_the_call_s_time_stands_still():
    threads = []

    @tool
    async def look_up(context: ToolContext) -> str:
        """Look it up."""
        threads.append(threading.current_thread().name)
        await asyncio.to_thread(lambda: None)
        await asyncio.sleep(0.01)
        return "found"

    @tool
    def fails(context: ToolContext) -> str:
        """Fail."""
        raise ToolError("not today")

    real_world = RealWorld()
    copies = TrialTools("live", NOTHING_TAPED, real_world).equip(Agent(name="Shop", tools=[look_up, fails])).tools

    async def call():
        loop = asyncio.get_running_loop()
        began = loop.time()
        found = await copies[0].call(None, "{}")
        with pytest.raises(ToolError, match="not today"):
            await copies[1].call(None, "{}")
        return found, loop.time() - began

    found, took_s = run_virtual(call())
    real_world.close()
    assert found == "found"
    assert took_s >= 0.009
    assert threads == ["live tools"]


def test_a_live_tool_that_takes_too_long_is_given_up():
    @tool(timeout_s=0.05)
    async def stuck(context: ToolContext) -> str:
        """Never answer."""
        await asyncio.Event().wait()
        return ""

    real_world = RealWorld()
    [copy] = TrialTools("live", NOTHING_TAPED, real_world).equip(Agent(name="Shop", tools=[stuck])).tools
    with pytest.raises(TimeoutError):
        run_virtual(copy.call(None, "{}"))
    real_world.close()


def test_agents_who_lead_to_each_other_are_copied_once_and_left_as_they_were():
    first, second = Agent(name="First", tools=[price]), Agent(name="Second", tools=[price])
    first.handoffs.append(handoff(second, description="to the second"))
    second.handoffs.append(first)
    copy = TrialTools("recorded", NOTHING_TAPED).equip(first)
    other = copy.handoffs[0].agent
    assert (copy.name, other.name) == ("First", "Second")
    assert other.handoffs == [copy]
    assert copy.handoffs[0].description == "to the second"
    assert copy.tools[0] is not price
    assert first.tools == [price]
    assert first.handoffs[0].agent is second


def test_what_steers_the_call_does_so_and_transfers_are_the_tape_s():
    transfer = transfer_call({"billing": "+14155550100"})
    copy = TrialTools("recorded", NOTHING_TAPED).equip(Agent(name="Desk", tools=[hang_up, transfer]))
    assert copy.tools[0] is hang_up
    assert copy.tools[1] is not transfer
