import asyncio
from dataclasses import dataclass

import pytest

from realtime_bridge.agent import Agent, ModelSettings, check_names, handoff_name, reachable
from realtime_bridge.context import RunContext, ToolContext
from realtime_bridge.errors import MisuseError
from realtime_bridge.guardrails import (
    GuardrailResult,
    GuardrailSettings,
    output_guardrail,
)
from realtime_bridge.handoffs import handoff
from realtime_bridge.roster import Roster
from realtime_bridge.tools import ArgumentsError, HostedMcpTool, tool


@tool
async def look_up(order: str) -> str:
    return order


def spec(agent, guardrails=(), context=None):
    return asyncio.run(Roster(guardrails).spec(agent, context or RunContext()))


@pytest.mark.parametrize(
    "instructions",
    [
        "Hello Ann",
        lambda context: f"Hello {context.context}",
        lambda context, agent: f"{agent.name} {context.context}",
    ],
)
def test_instructions_may_be_text_or_a_function(instructions):
    agent = Agent("Hello", instructions)
    assert spec(agent, context=RunContext(context="Ann")).instructions == "Hello Ann"


def test_instructions_may_be_asynchronous():
    async def instructions(context):
        await asyncio.sleep(0)
        return "later"

    assert spec(Agent("a", instructions)).instructions == "later"


def test_instructions_must_give_text():
    with pytest.raises(MisuseError, match="instructions gave int"):
        spec(Agent("a", lambda context: 3))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"name": " "}, "name"),
        ({"name": "a", "tools": [lambda: None]}, "@tool"),
        ({"name": "a", "handoffs": ["billing"]}, "handoffs"),
        ({"name": "a", "output_guardrails": [print]}, "output_guardrails"),
    ],
)
def test_an_agent_that_cannot_work_is_refused_at_once(fields, complaint):
    with pytest.raises(MisuseError, match=complaint):
        Agent(**fields)


def test_a_clone_has_lists_of_its_own():
    agent = Agent("a", tools=[look_up])
    other = agent.clone(name="b")
    other.tools.clear()
    assert agent.tools == [look_up]
    assert other.name == "b"


def test_two_agents_may_hand_over_to_each_other():
    desk, billing = Agent("Front desk"), Agent("Billing")
    desk.handoffs.append(billing)
    billing.handoffs.append(handoff(desk, name="back"))
    assert reachable(desk) == [desk, billing]
    assert [h.name for h in spec(billing).handoffs] == ["back"]


def test_duplicate_names_are_refused_wherever_they_are_reachable():
    twice = Agent("twice", tools=[look_up, tool(name="look_up")(lambda: None)])
    with pytest.raises(MisuseError, match=r"twice.*look_up"):
        Roster(()).check(Agent("first", handoffs=[twice]))


def test_a_hand_off_and_a_tool_of_one_name_are_refused():
    with pytest.raises(MisuseError, match="look_up"):
        check_names([look_up], [handoff(Agent("x"), name="look_up")], owner="a")


def test_two_mcp_servers_of_one_label_are_refused():
    servers = [HostedMcpTool(server_label="s", server_url=f"https://{n}") for n in "ab"]
    with pytest.raises(MisuseError, match="MCP server s"):
        check_names(servers, [], owner="a")


def test_disabled_tools_and_hand_offs_are_hidden():
    async def only_vip(context):
        return context.context == "vip"

    agent = Agent(
        "a",
        tools=[
            look_up,
            tool(name="refund", is_enabled=only_vip)(lambda: None),
            tool(name="off", is_enabled=False)(lambda: None),
        ],
        handoffs=[handoff(Agent("x"), is_enabled=lambda context: False), Agent("y")],
    )
    assert [t.name for t in spec(agent).tools] == ["look_up"]
    assert [t.name for t in spec(agent, context=RunContext(context="vip")).tools] == ["look_up", "refund"]
    assert [h.name for h in spec(agent).handoffs] == ["transfer_to_y"]


def test_model_settings_become_fields_of_the_session():
    settings = ModelSettings(
        tool_choice="required", max_output_tokens=100, speed=1.2, realtime={"audio": {"output": {"voice": "cedar"}}}
    )
    assert spec(Agent("a", model_settings=settings)).settings == {
        "tool_choice": "required",
        "max_output_tokens": 100,
        "audio": {"output": {"speed": 1.2, "voice": "cedar"}},
    }
    with pytest.raises(MisuseError, match="speed"):
        spec(Agent("a", model_settings=ModelSettings(speed=3.0)))


def test_another_agent_of_the_same_name_gets_a_name_of_its_own():
    roster = Roster(())
    first, second = Agent("a"), Agent("a")
    assert [roster.name_of(agent) for agent in (first, second, first)] == ["a", "a#2", "a"]
    assert roster.agent("a#2") is second


def test_guardrails_of_agent_and_session_count_once():
    @output_guardrail
    def polite(context, text):
        return False

    roster = Roster([polite])
    agent = Agent("a", output_guardrails=[polite])
    assert asyncio.run(roster.spec(agent, RunContext())).guarded
    assert roster.guardrails_of("a") == [polite]


def test_a_prompt_may_be_given_or_made():
    assert spec(Agent("a", prompt={"id": "p"})).prompt == {"id": "p"}
    assert spec(Agent("a", prompt=lambda context: {"id": context.context}), context=RunContext(context="q")).prompt == {
        "id": "q"
    }


# -- hand-offs --


def test_a_hand_off_describes_itself():
    billing = Agent("Billing & Co.", handoff_description="For invoices.")
    plain = handoff(billing)
    assert plain.name == "transfer_to_billing___co_"
    assert plain.description == "Pass the conversation on to Billing & Co.. For invoices."
    assert plain.transfer_message() == '{"assistant": "Billing & Co."}'
    assert handoff_name(Agent("Ä")) == "transfer_to__"
    renamed = handoff(billing, name="to_billing", description="Money", message="Over to billing.")
    assert (renamed.name, renamed.description, renamed.transfer_message()) == (
        "to_billing",
        "Money",
        "Over to billing.",
    )


@dataclass
class Reason:
    why: str


def test_a_hand_off_takes_typed_input():
    got = []

    async def arrived(context, reason):
        got.append((context.call_id, reason))

    transfer = handoff(Agent("b"), on_handoff=arrived, input_type=Reason)
    assert transfer.parameters["required"] == ["why"]
    asyncio.run(transfer.accept(ToolContext(call_id="c"), '{"why": "angry"}'))
    assert got == [("c", Reason("angry"))]
    with pytest.raises(ArgumentsError, match="why"):
        asyncio.run(transfer.accept(ToolContext(), "{}"))


@pytest.mark.parametrize(
    ("on_handoff", "input_type"),
    [(None, Reason), (lambda: None, None), (lambda context: None, Reason), (lambda context, reason: None, None)],
)
def test_a_hand_off_whose_parts_do_not_go_together_is_refused(on_handoff, input_type):
    with pytest.raises(MisuseError, match="hand-off to b"):
        handoff(Agent("b"), on_handoff=on_handoff, input_type=input_type)


# -- output guardrails --


def test_a_guardrail_may_return_a_bool_or_a_result():
    @output_guardrail
    async def rude(context, text):
        return GuardrailResult(tripped="damn" in text, info="language", feedback="Be polite.")

    @output_guardrail(name="numbers")
    def digits(context, text):
        return any(c.isdigit() for c in text)

    assert (rude.name, digits.name) == ("rude", "numbers")
    assert asyncio.run(rude.run(RunContext(), "damn")).feedback == "Be polite."
    assert asyncio.run(digits.run(RunContext(), "4")).tripped
    assert not asyncio.run(digits.run(RunContext(), "four")).tripped


def test_a_guardrail_must_give_a_verdict():
    with pytest.raises(MisuseError, match="forgot"):
        asyncio.run(output_guardrail(name="forgot")(lambda context, text: None).run(RunContext(), ""))


@pytest.mark.parametrize("settings", [{"every_chars": -1}, {"holdback_ms": -1}, {"timeout_s": 0}])
def test_impossible_guardrail_settings_are_refused(settings):
    with pytest.raises(MisuseError):
        GuardrailSettings(**settings)
