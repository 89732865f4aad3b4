"""The shell: a real event loop, real tasks, and a ScriptedTransport in the model's place."""

import asyncio

import pytest
from support.live_session import answer, look_up, of, run, session, until

from realtime_bridge import (
    Agent,
    MisuseError,
    RealtimeSession,
    ToolContext,
    TransportError,
    tool,
)
from realtime_bridge.session.items import message
from realtime_bridge.session.journal import Opening, replay
from realtime_bridge.transport.base import SpareReady, TransportClosed
from realtime_bridge.transport.scripted import ScriptedTransport
from realtime_bridge.wire import ContentPart, Response, client, server


def test_a_conversation_from_beginning_to_end():
    async def main():
        async with session() as (made, transport):

            async def watch():
                return [event.type async for event in made]

            ends = []
            made.on("session_end", ends.append)
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
        assert len(ends) == 1
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


def test_the_first_update_can_be_known_before():
    async def main():
        transport = ScriptedTransport()
        made = RealtimeSession(Agent("desk", "Be kind.", tools=[look_up]), transport=transport)
        expected = await made.initial_config()
        async with made:
            assert transport.session == expected

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


def test_the_model_session_is_changed_in_time():
    async def main():
        async with session(rotate_after_s=0.02) as (made, transport):
            await made.send_message("hello", respond=False)
            await transport.wait_for_call("rotate")
            transport.feed(SpareReady())
            await until(made, "reconnected")
            assert transport.calls[-2:] == [("switch",), ("resume",)]

    run(main)


class Tape:
    def __init__(self):
        self.records = []
        self.commands = []

    def session_made(self, machine):
        assert machine.agent

    def session_input(self, record, now):
        self.records.append((now, record))

    def session_commands(self, commands, _now):
        self.commands.append(commands)


def test_what_was_recorded_replays():
    async def main():
        tape = Tape()
        async with session(tap=tape) as (made, transport):
            await made.send_message("hello")
            transport.reply("Hi", to=await transport.wait_for("response.create"), calls=[("look_up", '{"order": "A"}')])
            await answer(transport)
        (_, opening), *inputs = tape.records
        assert isinstance(opening, Opening)
        replayed = [commands for commands in replay(opening, inputs) if commands]
        assert replayed == tape.commands
        sent = [c.event for commands in replayed for c in commands if hasattr(c, "event")]
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
