"""Hooks, guardrails, audio and events of a live session."""

import asyncio

import pytest
from support.live_session import answer, look_up, of, run, session, until

from realtime_bridge import (
    Agent,
    AgentHooks,
    GuardrailResult,
    GuardrailSettings,
    TransportError,
    output_guardrail,
)
from realtime_bridge.realtime import EVENTS_BEFORE_MAX, INBOX_MAX
from realtime_bridge.transport.scripted import ScriptedTransport
from realtime_bridge.wire import client, server


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
