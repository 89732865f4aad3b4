"""What calls tell OpenTelemetry, over real sessions on a scripted model, with the SDK's exporter in memory."""

import asyncio
import re

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from support.live_session import run, session, until

from realtime_bridge import Agent, handoff, tool
from realtime_bridge.transport.base import ModelLost
from telephony.call_details import CallDetails
from telephony.calls.live import CallEnding, LiveCall
from telephony.calls.spans import CallSpans

DETAILS = CallDetails(call_sid="CA1", caller="+14155552671", called="+14155550000", agent="desk")
PROVIDER = TracerProvider()
TRACER = PROVIDER.get_tracer("test")
both_asked = asyncio.Event()


@pytest.fixture
def spans():
    exporter = InMemorySpanExporter()
    PROVIDER.add_span_processor(SimpleSpanProcessor(exporter))
    yield exporter
    exporter.shutdown()


@tool
async def look_up(order: str) -> str:
    await asyncio.sleep(0)
    with TRACER.start_as_current_span(f"query {order}"):
        await asyncio.sleep(0.01)
    return f"{order} was shipped"


@tool
def broken() -> str:
    raise RuntimeError("no")


@tool(needs_approval=True)
async def refund() -> str:
    return "refunded"


billing = Agent("billing", "Bill.")
DESK = Agent("desk", "Be kind.", tools=[look_up, broken, refund], handoffs=[handoff(billing)])


class Traced:
    def __init__(self, made):
        self.listener = CallSpans(TRACER)
        self.listener.call_began(
            LiveCall(details=DETAILS, session=made, transport=None, context=None, control=None)  # not looked at
        )

    def end(self, *, in_order=True):
        self.listener.call_ended(DETAILS, CallEnding(reason="asked for +14155552671", in_order=in_order))


def named(spans, name):
    (found,) = [span for span in spans.get_finished_spans() if span.name == name]
    return found


def is_inside(inner, outer):
    return inner.parent is not None and inner.parent.span_id == outer.context.span_id


def test_a_call_is_a_trace_with_a_span_for_each_turn_and_no_number_in_it(spans):
    async def main():
        async with session(DESK) as (made, transport):
            call = Traced(made)
            transport.heard("Hello?")
            transport.reply("Good morning.")
            await until(made, "agent_end")
            call.end()

    run(main)
    call, turn = named(spans, "call"), named(spans, "turn")
    assert call.parent is None
    assert is_inside(turn, call)
    assert turn.attributes["outcome"] == "completed"
    assert turn.start_time < turn.events[0].timestamp, "it begins where the caller stopped speaking"
    assert call.attributes["call.sid"] == "CA1"
    assert not re.search(r"415\D{0,2}555|555\D?(2671|0000)", call.to_json() + turn.to_json())


def test_tools_run_inside_their_own_spans_even_side_by_side(spans):
    async def main():
        async with session(DESK) as (made, transport):
            call = Traced(made)
            transport.reply(calls=[("look_up", '{"order": "1"}'), ("look_up", '{"order": "2"}'), ("broken", "{}")])
            await until(made, "agent_tool_end", 3)
            call.end()

    run(main)
    call = named(spans, "call")
    tools = {span.context.span_id: span for span in spans.get_finished_spans() if span.name == "tool look_up"}
    assert all(is_inside(span, call) for span in tools.values())
    queries = [named(spans, f"query {order}") for order in (1, 2)]
    assert {query.parent.span_id for query in queries} == set(tools)
    failed = named(spans, "tool broken")
    assert (failed.status.status_code, failed.attributes["outcome"]) == (StatusCode.ERROR, "failed")


def test_approvals_hand_offs_and_lost_models_are_spans_of_their_call(spans):
    async def main():
        async with session(DESK) as (made, transport):
            call = Traced(made)
            transport.reply(calls=[("refund", "{}")])
            asked = await until(made, "tool_approval_requested")
            await made.approve(asked.request)
            await until(made, "agent_tool_end")
            transport.reply(calls=[("transfer_to_billing", "{}")])
            await until(made, "agent_handoff")
            transport.feed(ModelLost(message="gone"))
            await until(made, "reconnecting")
            call.end(in_order=False)

    run(main)
    call = named(spans, "call")
    assert call.status.status_code is StatusCode.ERROR
    for name in ("approval refund", "tool refund", "handoff", "model reconnect"):
        assert is_inside(named(spans, name), call)
    assert named(spans, "approval refund").attributes["outcome"] == "approved by program"
    assert named(spans, "handoff").attributes["to"] == "billing"


def test_what_a_call_does_outside_of_tools_is_inside_the_call_and_nothing_leaks_out_of_it(spans):
    async def main():
        async with session(DESK) as (made, _):

            async def talk():
                call = Traced(made)
                with TRACER.start_as_current_span("lookup of past calls"):
                    await asyncio.sleep(0)
                call.end()

            await asyncio.create_task(talk())
            assert trace.get_current_span() is trace.INVALID_SPAN

    run(main)
    assert is_inside(named(spans, "lookup of past calls"), named(spans, "call"))
