"""The shell: a real event loop, real tasks, and a ScriptedTransport in the model's place."""

import asyncio
from contextlib import asynccontextmanager

import pytest
from pydantic import BaseModel

from realtime_bridge import (
    Agent,
    AgentHooks,
    ApprovalSettings,
    GuardrailResult,
    GuardrailSettings,
    GuardrailTrippedError,
    MisuseError,
    RealtimeSession,
    SilentResult,
    ToolContext,
    TransportError,
    UserCodeError,
    handoff,
    output_guardrail,
    tool,
    tool_input_guardrail,
)
from realtime_bridge.realtime import EVENTS_BEFORE_MAX, INBOX_MAX
from realtime_bridge.session.items import message
from realtime_bridge.session.journal import Opening, replay
from realtime_bridge.transport.base import SpareReady, TransportClosed
from realtime_bridge.transport.scripted import ScriptedTransport
from realtime_bridge.wire import ContentPart, Response, client, server


@tool
async def look_up(order: str) -> str:
    return f"{order} was shipped"


def run(main):
    asyncio.run(asyncio.wait_for(main(), 20))


@asynccontextmanager
async def session(agent=None, *, transport=None, **options):
    """A session on a scripted transport, with all its events in `events`."""
    transport = transport or ScriptedTransport()
    made = RealtimeSession(agent or Agent("desk", "Be kind.", tools=[look_up]), transport=transport, **options)
    made.events = []
    made.on(None, made.events.append)
    async with made:
        yield made, transport


def of(made, kind):
    return [event for event in made.events if event.type == kind]


async def until(made, kind, count=1):
    """Wait for the `count`th event of a type."""
    enough = asyncio.Event()

    def look(_):
        if len(of(made, kind)) >= count:
            enough.set()

    stop = made.on(None, look)
    look(None)
    await asyncio.wait_for(enough.wait(), 5)
    stop()
    return of(made, kind)[count - 1]


async def answer(transport, call_id=None):
    """The next result of a call that the model is told."""

    def is_result(event):
        return event.item.type == "function_call_output" and call_id in (None, event.item.call_id)

    event = await transport.wait_for(client.ConversationItemCreate, when=is_result)
    return event.item.output


# -- life ------------------------------------------------------------------------------------------------------------


def test_a_conversation_from_beginning_to_end():
    async def main():
        async with session() as (made, transport):

            async def watch():
                return [event.type async for event in made]

            watching = asyncio.create_task(watch())
            await made.send_message("where is my order?")
            transport.reply(to=await transport.wait_for("response.create"), calls=[("look_up", '{"order": "A1"}')])
            assert await answer(transport) == "A1 was shipped"
            transport.reply("It was shipped.", to=await transport.wait_for("response.create"))
            await until(made, "agent_end", 2)
        seen = await watching
        assert made.history[-1].text == "It was shipped."
        assert seen[0] == "transport_event"
        assert seen[-1] == "session_end"
        for kind in (
            "history_updated",
            "agent_start",
            "agent_tool_start",
            "agent_tool_end",
            "agent_end",
            "audio_start",
        ):
            assert kind in seen

    run(main)


def test_the_first_update_is_the_agents():
    async def main():
        config = {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}}
        async with session(Agent("desk", "Be kind.", voice="marin"), model="gpt-x", config=config) as (_, transport):
            sent = transport.session
            assert (sent["instructions"], sent["model"]) == ("Be kind.", "gpt-x")
            assert sent["audio"]["output"] == {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin"}
            assert sent["audio"]["input"]["turn_detection"] == {"type": "semantic_vad"}
            assert sent["audio"]["input"]["transcription"]["model"], "else the history has no words of the caller"

    run(main)


def test_duplicate_names_are_refused_before_anything_is_connected():
    with pytest.raises(MisuseError, match="look_up"):
        RealtimeSession(Agent("desk", tools=[look_up, look_up]), transport=ScriptedTransport())


def test_a_refused_connection_is_the_programs_to_know():
    async def main():
        transport = ScriptedTransport(refuse=TransportError("no", code=401, retryable=False))
        made = RealtimeSession(Agent("desk"), transport=transport)
        with pytest.raises(TransportError, match="no"):
            await made.__aenter__()
        await made.close()
        assert [event async for event in made] == []

    run(main)


def test_a_failing_instructions_function_is_the_programs_to_know():
    async def main():
        made = RealtimeSession(Agent("desk", lambda context: 1 / 0), transport=ScriptedTransport())
        with pytest.raises(ZeroDivisionError):
            await made.__aenter__()

    run(main)


def test_a_session_is_entered_once_and_used_inside():
    async def main():
        made = RealtimeSession(Agent("desk"), transport=ScriptedTransport())
        with pytest.raises(MisuseError, match="enter"):
            await made.send_message("too early")
        assert (made.history, made.usage.total, made.current_agent.name, made.quiet) == ((), 0, "desk", True)
        async with made:
            pass
        await made.send_message("too late")  # nothing happens, nothing hangs
        with pytest.raises(MisuseError, match="once"):
            await made.__aenter__()

    run(main)


def test_closing_is_idempotent_and_leaves_no_task_behind():
    async def main():
        before = asyncio.all_tasks()
        async with session() as (made, transport):
            await made.close("enough")
            await made.close()
            assert transport.closed
            assert of(made, "session_end")[0].reason == "enough"
        assert asyncio.all_tasks() == before

    run(main)


def test_a_caller_who_hangs_up_ends_the_session_and_its_tools():
    async def main():
        cancelled = asyncio.Event()

        @tool
        async def endless() -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        async with session(Agent("desk", tools=[endless])) as (made, transport):
            transport.reply(calls=[("endless", "{}")])
            await until(made, "agent_tool_start")
            transport.feed(TransportClosed(reason="the caller hung up"))
            events = [event async for event in made]
        assert events[-1].reason == "the caller hung up"
        assert cancelled.is_set()

    run(main)


def test_a_background_tool_may_finish_after_the_caller_is_gone():
    async def main():
        written = []
        started = asyncio.Event()
        go = asyncio.Event()

        @tool(background=True)
        async def note() -> None:
            started.set()
            await go.wait()
            written.append("note")

        async with session(Agent("desk", tools=[note])) as (_, transport):
            transport.reply(calls=[("note", "{}")])
            await started.wait()
            transport.feed(TransportClosed(reason="gone"))
            go.set()
        assert written == ["note"]

    run(main)


def test_a_tool_may_hang_up():
    async def main():
        @tool
        async def hang_up(context: ToolContext) -> str:
            await context.session.close("goodbye")
            return "bye"

        async with session(Agent("desk", tools=[hang_up])) as (made, transport):
            transport.reply(calls=[("hang_up", "{}")])
            assert (await until(made, "session_end")).reason == "goodbye"

    run(main)


# -- the program's calls ---------------------------------------------------------------------------------------------


def test_messages_may_be_text_parts_or_as_the_api_writes_them():
    async def main():
        async with session() as (made, transport):
            await made.send_message("text", respond=False)
            await made.send_message([ContentPart(type="input_text", text="part")], respond=False)
            content = [{"type": "input_text", "text": "mapping"}]
            await made.send_message({"type": "message", "role": "system", "content": content}, respond=False)
            await made.add_image("data:image/png;base64,AA==", respond=False)
            sent = [e.item for e in transport.sent]
            assert [item.role for item in sent] == ["user", "user", "system", "user"]
            assert sent[3].content[0].image_url == "data:image/png;base64,AA=="
            with pytest.raises(MisuseError, match="empty"):
                await made.send_message([])

    run(main)


def test_audio_goes_straight_to_the_transport():
    async def main():
        async with session() as (made, transport):
            await made.send_audio(b"\1\2")
            await made.send_audio(b"\3\4", commit=True)
            assert transport.audio == b"\1\2\3\4"
            assert isinstance(transport.sent[-1], client.InputAudioBufferCommit)
            await made.mute()
            assert made.muted
            assert transport.muted
            await made.mute(False)
            assert not made.muted

    run(main)


def test_the_program_may_interrupt_and_ask_for_responses():
    async def main():
        async with session() as (made, transport):
            await made.interrupt()
            assert ("interrupt",) in transport.calls
            await made.create_response({"instructions": "Say hello."})
            request = await transport.wait_for("response.create")
            assert request.response["instructions"] == "Say hello."
            await made.send_event(client.InputAudioBufferClear())
            assert isinstance(transport.sent[-1], client.InputAudioBufferClear)

    run(main)


def test_the_history_can_be_edited():
    async def main():
        async with session() as (made, transport):
            await made.update_history([message("m", "user", "hello")])
            assert [item.text for item in made.history] == ["hello"]
            await made.update_history(lambda history: [*history, message("n", "assistant", "hi")])
            assert [item.text for item in made.history] == ["hello", "hi"]
            assert [e.item.id for e in transport.sent] == ["m", "n"]

    run(main)


def test_the_agent_can_be_changed_and_so_can_its_clone():
    async def main():
        async with session() as (made, transport):
            other = made.current_agent.clone(instructions="Be brief.")
            await made.update_agent(other)
            assert made.current_agent is other
            assert transport.sent[-1].session["instructions"] == "Be brief."
            assert of(made, "agent_handoff")[0].to_agent == "desk#2"
            with pytest.raises(MisuseError):
                await made.update_agent(Agent("broken", tools=[look_up, look_up]))

    run(main)


def test_the_programs_own_object_is_given_to_user_code():
    async def main():
        @tool
        async def who(context: ToolContext) -> str:
            return f"{context.context['user']} {context.agent} {context.call_id} {len(context.history)}"

        async with session(Agent("desk", tools=[who]), context={"user": "Ann"}) as (made, transport):
            transport.reply(calls=[("who", "{}")])
            assert (await answer(transport)).startswith("Ann desk call_")
            assert made.context == {"user": "Ann"}
            assert made.transport is transport

    run(main)


# -- tools -----------------------------------------------------------------------------------------------------------


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


# -- approvals -------------------------------------------------------------------------------------------------------


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


# -- hand-offs -------------------------------------------------------------------------------------------------------


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


# -- hooks, guardrails, events ---------------------------------------------------------------------------------------


def test_hooks_are_called_in_order_and_their_failures_told():
    async def main():
        calls = []

        class Hooks(AgentHooks):
            async def on_start(self, context, agent):
                calls.append("start")

            async def on_tool_start(self, context, agent, tool):
                calls.append(f"tool_start {tool.name} {context.arguments}")

            async def on_tool_end(self, context, agent, tool, output):
                calls.append(f"tool_end {output}")
                raise RuntimeError("hook")

            async def on_end(self, context, agent, output):
                calls.append(f"end {output}")

        async with session(Agent("desk", tools=[look_up], hooks=Hooks())) as (made, transport):
            transport.reply("Hm.", calls=[("look_up", '{"order": "A"}')])
            await answer(transport)
            error = await until(made, "error")
            assert (error.source, str(error.exception)) == ("hook", "hook")
        assert calls == ["start", "tool_start look_up {'order': 'A'}", "end Hm.", "tool_end A was shipped"]

    run(main)


def test_a_guardrail_stops_what_must_not_be_said():
    async def main():
        @output_guardrail
        async def no_prices(context, text):
            return GuardrailResult(tripped="pound" in text, info={"word": "pound"}, feedback="No prices, please.")

        settings = GuardrailSettings(every_chars=10)
        async with session(output_guardrails=[no_prices], guardrail_settings=settings) as (made, transport):
            transport.reply("It costs ten pounds.")
            event = await until(made, "guardrail_tripped")
            assert (event.guardrail, event.text, event.info) == (
                "no_prices",
                "It costs ten pounds.",
                "{'word': 'pound'}",
            )
            await transport.wait_for("response.create")
            assert made.history[-1].text == "No prices, please."

    run(main)


@pytest.mark.parametrize(("on_failure", "trips"), [("pass", 0), ("trip", 1)])
def test_a_guardrail_that_fails_or_hangs_counts_as_the_program_says(on_failure, trips):
    async def main():
        @output_guardrail
        async def hangs(context, text):
            await asyncio.Event().wait()

        settings = GuardrailSettings(timeout_s=0.01, on_failure=on_failure)
        async with session(output_guardrails=[hangs], guardrail_settings=settings) as (made, transport):
            transport.reply("Hello")
            error = await until(made, "error")
            assert (error.source, error.tool) == ("guardrail", "hangs")
            assert isinstance(error.exception, TimeoutError)
            assert len(of(made, "guardrail_tripped")) == trips

    run(main)


def test_on_a_line_that_plays_itself_audio_is_held_by_the_transport():
    async def main():
        @output_guardrail
        def fine(context, text):
            return False

        settings = GuardrailSettings(holdback_ms=500)
        async with session(output_guardrails=[fine], guardrail_settings=settings) as (_, transport):
            assert transport.calls[0] == ("hold_back", 500)
            transport.reply("Hello")
            assert await transport.wait_for_call("release") == ("release", "item_2", 0, None)

    run(main)


def test_where_the_program_plays_it_gets_the_audio():
    async def main():
        async with session(transport=ScriptedTransport(plays_audio=False)) as (made, transport):
            transport.reply("Hello there")
            audio = await until(made, "audio")
            assert len(audio.audio) == 11 * 60 * 48
            kinds = [e.type for e in made.events if e.type.startswith("audio")]
            assert kinds == ["audio_start", "audio", "audio_stopped"]
            await made.audio_played(audio.item_id, 300)
            transport.heard("stop")
            cut = (await until(made, "audio_interrupted")).cuts[0]
            assert cut.heard_ms == 300
            truncate = await transport.wait_for(client.ConversationItemTruncate)
            assert truncate.audio_end_ms == 300
            assert made.history[0].cut

    run(main)


def test_where_the_program_plays_tripped_audio_never_reaches_it():
    async def main():
        @output_guardrail
        async def no_prices(context, text):
            return "pound" in text

        options = {
            "output_guardrails": [no_prices],
            "guardrail_settings": GuardrailSettings(holdback_ms=5000),
            "transport": ScriptedTransport(plays_audio=False),
        }
        async with session(**options) as (made, transport):
            transport.reply("It costs ten pounds.")
            await until(made, "guardrail_tripped")
            transport.reply("Fine words.", to=await transport.wait_for("response.create"))
            audio = await until(made, "audio")
            assert len(of(made, "audio")) == 1
            assert audio.response_id == of(made, "agent_start")[1].response_id

    run(main)


def test_audio_that_is_no_audio_is_left_out():
    async def main():
        async with session(transport=ScriptedTransport(plays_audio=False)) as (made, transport):
            part = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}
            transport.feed(server.ResponseOutputAudioDelta(delta="***", **part))
            assert "base64" in (await until(made, "error")).message

    run(main)


def test_listeners_hear_what_they_asked_for_until_they_stop():
    async def main():
        async with session() as (made, transport):
            heard = []

            def broken(event):
                raise RuntimeError("a listener's own trouble")

            made.on("agent_start", broken)
            stop = made.on("agent_start", heard.append)
            transport.reply("one")
            await until(made, "agent_end")
            stop()
            stop()
            transport.reply("two")
            await until(made, "agent_end", 2)
            assert len(heard) == 1

    run(main)


def test_events_nobody_fetches_do_not_pile_up():
    async def main():
        async with session() as (made, transport):
            for n in range(EVENTS_BEFORE_MAX + 500):
                transport.feed(server.RateLimitsUpdated(event_id=str(n), rate_limits=()))
            await until(made, "transport_event", EVENTS_BEFORE_MAX + 500)
        assert len([event async for event in made]) <= EVENTS_BEFORE_MAX + 1

    run(main)


def test_a_flood_of_events_ends_the_session_instead_of_eating_the_memory():
    async def main():
        async with session() as (made, transport):
            transport.feed(*[server.RateLimitsUpdated(rate_limits=())] * (INBOX_MAX + 10))
            with pytest.raises(TransportError, match="keep up"):
                async for _ in made:
                    pass

    run(main)


def test_a_fatal_error_of_the_models_comes_out_of_the_iterator():
    async def main():
        async with session() as (made, transport):
            detail = server.ErrorDetail(type="insufficient_quota", code="insufficient_quota", message="no money")
            transport.feed(server.ErrorEvent(error=detail))
            with pytest.raises(TransportError, match="no money") as raised:
                async for _ in made:
                    pass
            assert not raised.value.retryable

    run(main)


def test_a_fault_inside_ends_the_session_in_order():
    async def main():
        transport = ScriptedTransport()

        def broken(event):
            raise RuntimeError("the socket object is broken")

        async with session(transport=transport) as (made, _):
            transport.send = broken
            await made.send_message("hello")
            with pytest.raises(RuntimeError, match="broken"):
                async for _ in made:
                    pass
            assert transport.closed
            assert of(made, "session_end")

    run(main)


# -- other model sessions, recordings --------------------------------------------------------------------------------


def test_the_model_session_is_changed_in_time():
    async def main():
        async with session(rotate_after_s=0.02) as (made, transport):
            await made.send_message("hello", respond=False)
            await transport.wait_for_call("rotate")
            transport.feed(SpareReady())
            await until(made, "reconnected")
            assert transport.calls[-2:] == [("switch",), ("resume",)]

    run(main)


def test_what_was_recorded_replays():
    async def main():
        records = []
        async with session(on_record=lambda record, now: records.append((now, record))) as (made, transport):
            await made.send_message("hello")
            transport.reply("Hi", to=await transport.wait_for("response.create"), calls=[("look_up", '{"order": "A"}')])
            await answer(transport)
        (_, opening), *inputs = records
        assert isinstance(opening, Opening)
        sent = [c.event for commands in replay(opening, inputs) for c in commands if hasattr(c, "event")]
        assert [e for e in sent if type(e).__module__.endswith("client")] == transport.sent

    run(main)


def test_a_response_that_never_ends_can_be_closed():
    async def main():
        async with session() as (made, transport):
            transport.begin()
            await until(made, "agent_start")
            assert not made.quiet
        assert of(made, "session_end")
        transport.feed(server.ResponseDone(response=Response(id="resp_1")))  # too late for anybody

    run(main)
