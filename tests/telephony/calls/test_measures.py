"""What calls tell Prometheus, over real sessions on a scripted model."""

import msgspec
import pytest
from support.live_session import of, run, session, until
from support.numbers import Numbers

from realtime_bridge import Agent, tool
from realtime_bridge.transport.base import ItemCut, ModelConnected, ModelLost, PlaybackInterrupted
from realtime_bridge.wire import Usage, server
from telephony import metrics
from telephony.call_details import CallDetails
from telephony.calls.live import CallEnding, LiveCall
from telephony.calls.measures import CallMeasures
from telephony.records.record import CallRecord
from telephony.steering.transfer import TRANSFERRED

DETAILS = CallDetails(call_sid="CA1", direction="inbound", caller="+14155552671")


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@tool(needs_approval=True)
async def refund(order: str) -> str:
    return f"{order} was refunded"


class Measured:
    """A measured call: what is measured is in `numbers`."""

    def __init__(self, made, details=DETAILS):
        self.numbers = Numbers()
        self.clock = Clock()
        self.measures = CallMeasures(self.clock)
        self.details = details
        self.measures.call_began(
            LiveCall(details=details, session=made, transport=None, context=None, control=None)  # not looked at
        )

    def end(self, *, in_order=True, record=None):
        self.measures.call_ended(self.details, CallEnding(reason="hung up", in_order=in_order, record=record))


def test_a_call_is_counted_while_it_lasts_and_by_how_it_ended():
    async def main():
        async with session() as (made, _):
            call = Measured(made)
            assert call.numbers.added("calls_active", direction="inbound") == 1
            call.clock.now += 42
            call.end()
            assert call.numbers.added("calls_active", direction="inbound") == 0
            assert call.numbers.added("calls_total", direction="inbound", outcome="they_hung_up") == 1
            assert call.numbers.added("call_seconds_sum", direction="inbound") == 42

    run(main)


@pytest.mark.parametrize(
    ("ending", "outcome"),
    [
        (CallEnding(reason="the caller hung up", in_order=True), "they_hung_up"),
        (CallEnding(reason="the caller was silent", in_order=True, steered=True), "we_hung_up"),
        (CallEnding(reason=TRANSFERRED, in_order=True, steered=True), "transferred"),
        (CallEnding(reason=TRANSFERRED, in_order=False, steered=True), "failed"),
    ],
)
def test_calls_are_counted_by_who_ended_them(ending, outcome):
    numbers = Numbers()
    CallMeasures().call_ended(DETAILS, ending)
    assert numbers.added("calls_total", direction="inbound", outcome=outcome) == 1


def test_a_call_that_never_began_is_a_failed_one():
    numbers = Numbers()
    CallMeasures().call_ended(DETAILS, CallEnding(reason="no model", in_order=False))
    assert numbers.added("calls_total", direction="inbound", outcome="failed") == 1
    assert numbers.added("calls_active", direction="inbound") == 0


def test_a_second_stream_of_a_call_replaces_the_first():
    async def main():
        async with session() as (made, _):
            call = Measured(made)
            call.measures.call_began(
                LiveCall(details=DETAILS, session=made, transport=None, context=None, control=None)
            )
            assert call.numbers.added("calls_active", direction="inbound") == 1
            call.end()
            call.end()
            assert call.numbers.added("calls_active", direction="inbound") == 0

    run(main)


def test_a_reply_is_timed_from_the_end_of_the_callers_speech():
    async def main():
        async with session() as (made, transport):
            call = Measured(made)
            detection = {"type": "server_vad", "silence_duration_ms": 500}
            transport.feed(server.SessionUpdated(session={"audio": {"input": {"turn_detection": detection}}}))
            transport.heard("What are your hours?")
            await until(made, "history_added")
            call.clock.now += 0.25
            transport.reply("Nine to five.")
            await until(made, "audio_stopped")
            for until_ in ("sent", "heard"):
                assert call.numbers.added("response_seconds_count", until=until_) == 1
                assert call.numbers.added("response_seconds_sum", until=until_) == 0.75
            transport.reply("Anything else?")
            await until(made, "audio_stopped", 2)
            assert call.numbers.added("response_seconds_count", until="sent") == 1, "nobody had asked"

    run(main)


def test_barge_ins_are_counted_with_what_was_not_heard():
    async def main():
        async with session() as (made, transport):
            call = Measured(made)
            cut = ItemCut(response_id="resp_1", item_id="item_1", content_index=0, heard_ms=1500, audio_ms=4000)
            transport.feed(PlaybackInterrupted(cuts=(cut,), by="speech"), PlaybackInterrupted(cuts=(), by="program"))
            await until(made, "transport_event", len(of(made, "transport_event")) + 2)
            assert call.numbers.added("interruptions_total", by="speech") == 1
            assert call.numbers.added("interruptions_total", by="program") == 1
            assert call.numbers.added("unheard_seconds_sum") == 2.5

    run(main)


def test_tools_are_timed_and_approvals_counted_while_they_wait():
    async def main():
        async with session(Agent("desk", "Be kind.", tools=[refund])) as (made, transport):
            call = Measured(made)
            transport.reply(
                calls=[("refund", '{"order": "7"}')], usage=Usage(total_tokens=30, input_tokens=20, output_tokens=10)
            )
            asked = await until(made, "tool_approval_requested")
            assert call.numbers.added("approvals_waiting") == 1
            await made.approve(asked.request)
            await until(made, "agent_tool_end")
            assert call.numbers.added("approvals_waiting") == 0
            assert call.numbers.added("approvals_total", outcome="approved") == 1
            assert call.numbers.added("tool_seconds_count", tool="refund", outcome="ok") == 1
            assert call.numbers.added("tokens_total", kind="input") == 20
            assert call.numbers.added("tokens_total", kind="output") == 10

    run(main)


def test_a_call_that_ends_leaves_no_approval_waiting():
    async def main():
        async with session(Agent("desk", "Be kind.", tools=[refund])) as (made, transport):
            call = Measured(made)
            transport.reply(calls=[("refund", '{"order": "7"}')])
            await until(made, "tool_approval_requested")
            call.end()
            assert call.numbers.added("approvals_waiting") == 0

    run(main)


def test_lost_models_errors_and_their_codes_are_counted():
    async def main():
        async with session() as (made, transport):
            call = Measured(made)
            error = server.ErrorDetail(type="server_error", code="rate_limit_exceeded", message="slow down")
            transport.feed(
                server.ErrorEvent(error=error),
                server.ErrorEvent(error=msgspec.structs.replace(error, code="+14155552671")),
            )
            await until(made, "error", 2)
            transport.feed(ModelLost(message="gone"), ModelConnected(attempt=2), server.SessionCreated(session={}))
            await until(made, "reconnecting")
            assert call.numbers.added("model_errors_total", code="rate_limit_exceeded") == 1
            assert call.numbers.added("model_errors_total", code="other") == 1
            assert call.numbers.added("model_losses_total") == 1

    run(main)


def test_what_the_bridge_took_is_told_at_the_end_from_the_record():
    numbers = Numbers()
    latencies = {"caller_to_model_p50": 0.1, "caller_to_model_p99": 0.4, "caller_to_model_max": 9.0}
    record = CallRecord(
        call_sid="CA1", direction="inbound", from_number="", to_number="", agent="desk", latency_ms=latencies,
        started_at=CallEnding(reason="", in_order=True).ended_at,
    )  # fmt: skip
    CallMeasures().call_ended(DETAILS, CallEnding(reason="hung up", in_order=True, record=record))
    assert numbers.added("call_delay_seconds_count", way="caller_to_model", percentile="p99") == 1
    assert numbers.added("call_delay_seconds_bucket", way="caller_to_model", percentile="p99", le="0.0005") == 1
    assert numbers.added("call_delay_seconds_bucket", way="caller_to_model", percentile="p50", le="0.0001") == 1


def test_neither_numbers_nor_sids_are_on_the_page():
    page = metrics.page()
    assert b"4155552671" not in page
    assert b"CA1" not in page
