from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import aclosing, asynccontextmanager

import pytest
from support.brain_turns import agent, call, caller, function, result, system, turn
from support.chat_endpoint import ChatEndpoint, chunk, event

from realtime_bridge.errors import MisuseError
from realtime_bridge.localmodel.brains.chat import APOLOGY, ChatBrain, ChatTimeouts, LlmSettings, chat_client
from realtime_bridge.localmodel.brains.chat_messages import chat_messages, chat_tools
from realtime_bridge.localmodel.brains.selection import brain_for
from realtime_bridge.localmodel.parts import CallTool, Say
from realtime_bridge.wire import ContentPart, Item

FIND = function("find_order", "Find an order.", order_id={"type": "string"})
ASKED = turn([caller("Where is my order?")], [FIND], "You are a baker.")
TEXT = [chunk(""), chunk("We are "), chunk("open. We close"), chunk(" at 6.30 p.m. today."), chunk(finish="stop")]
PATIENT = ChatTimeouts(connect_s=60.0, first_token_s=60.0, total_s=60.0)
QUICK = ChatTimeouts(connect_s=2.0, first_token_s=0.3, total_s=0.6)
UNENDED = ChatTimeouts(total_s=1.5)  # time enough for a first word on a busy machine


async def respond(endpoint, asked=ASKED, timeouts=None):
    settings = LlmSettings(endpoint.base_url, "tiny", "sk-secret", timeouts or PATIENT)
    async with chat_client(settings) as client:
        return [deed async for deed in ChatBrain(client, settings.model, settings.timeouts).respond(asked)]


def answers(*replies, asked=ASKED, timeouts=None):
    async def run():
        async with ChatEndpoint(*replies).serve() as endpoint:
            return await respond(endpoint, asked, timeouts), endpoint

    return asyncio.run(run())


def test_a_reply_comes_sentence_by_sentence():
    done, endpoint = answers(TEXT)
    assert done == [Say("We are open."), Say("We close at 6.30 p.m. today.")]
    sent = endpoint.requests[0]
    assert sent["model"] == "tiny"
    assert sent["stream"] is True
    assert endpoint.headers[0]["authorization"] == "Bearer sk-secret"


def test_the_first_sentence_is_handed_on_while_the_rest_is_still_being_written():
    go_on = asyncio.Event()

    async def slow():
        yield event(chunk("One moment. I "))
        await go_on.wait()
        yield event(chunk("am looking.", finish="stop"))
        yield event("[DONE]")

    async def run():
        async with connected(slow) as (_, brain), aclosing(brain.respond(ASKED)) as reply:
            first = await anext(reply)
            go_on.set()
            return [first, *[deed async for deed in reply]]

    assert asyncio.run(run()) == [Say("One moment."), Say("I am looking.")]


def test_tool_calls_are_put_together_from_their_pieces():
    pieces = [
        chunk("Let me see. "),
        chunk(calls=[{"index": 0, "id": "a", "function": {"name": "find_order", "arguments": ""}}]),
        chunk(calls=[{"index": 0, "function": {"arguments": '{"order_'}}]),
        chunk(calls=[{"index": 1, "id": "b", "function": {"name": "find_order", "arguments": "{}"}}]),
        chunk(calls=[{"index": 0, "function": {"arguments": 'id": "A1"}'}}]),
        chunk(finish="tool_calls"),
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [], "usage": None},
    ]
    done, _ = answers(pieces)
    assert done == [Say("Let me see."), CallTool("find_order", {"order_id": "A1"}), CallTool("find_order", {})]


def test_servers_that_send_no_index_and_repeat_the_name_are_understood():
    pieces = [
        chunk(calls=[{"id": "a", "function": {"name": "find_order", "arguments": '{"order_id"'}}]),
        chunk(calls=[{"id": "a", "function": {"name": "find_order", "arguments": ': "A1"}'}}]),
        chunk(
            calls=[{"id": "b", "function": {"name": "find_order", "arguments": '{"order_id": "B2"}'}}], finish="stop"
        ),
    ]
    done, _ = answers(pieces)
    assert done == [CallTool("find_order", {"order_id": "A1"}), CallTool("find_order", {"order_id": "B2"})]


def test_thoughts_and_markup_are_not_spoken():
    pieces = [chunk("<th"), chunk("ink>Hm. He wants **bread**."), chunk(" Yes.</thi"), chunk("nk>\n\nSure, **two** l")]
    done, _ = answers([*pieces, chunk("oaves. If 1 <"), chunk(" 2, `call`.", finish="stop")])
    assert done == [Say("Sure, two loaves."), Say("If 1 < 2, call.")]


async def _hang():
    await asyncio.Event().wait()
    yield ""


async def _hang_in_the_middle():
    yield event(chunk("We are open. We"))
    await asyncio.Event().wait()


async def _endless():
    while True:
        yield event(chunk("On and on. "))
        await asyncio.sleep(0.02)


async def _cut():
    yield event(chunk("We are open. We"))
    raise ConnectionResetError


async def _ends_early():
    yield event(chunk("We are open. We"))


async def _garbage():
    yield "data: {{{{\n\n"


async def _other_json():
    yield event({"choices": "soon"})


async def _array():
    yield event([1, 2])


async def _error_event():
    yield event({"error": {"message": "out of memory"}})


APOLOGISED = [Say(APOLOGY)]
BEGUN = [Say("We are open."), Say("We"), Say(APOLOGY)]


@pytest.mark.parametrize(
    ("reply", "expected", "logged"),
    [
        ((500, {"error": {"message": "model crashed"}}), APOLOGISED, "HTTP 500: "),
        ((404, {"error": {"message": "no such model"}}), APOLOGISED, "no such model"),
        ((200, {"choices": []}), APOLOGISED, "the reply broke off"),
        (_hang, APOLOGISED, "no word of a reply after 0."),
        (_hang_in_the_middle, [Say("We are open."), Say(APOLOGY)], "no end of the reply after "),
        (_cut, [Say("We are open."), Say(APOLOGY)], "the connection failed"),
        (_ends_early, BEGUN, "the reply broke off in the middle"),
        (_garbage, APOLOGISED, "no chat completion"),
        (_other_json, APOLOGISED, "not a chunk"),
        (_array, APOLOGISED, ""),
        (_error_event, APOLOGISED, "out of memory"),
        ([chunk(calls=[{"index": 0, "function": {"name": "rm", "arguments": ""}}], finish="stop")], APOLOGISED, "'rm'"),
        (
            [chunk(calls=[{"index": 0, "function": {"name": "find_order", "arguments": "{"}}], finish="length")],
            APOLOGISED,
            "not JSON",
        ),
        (
            [chunk(calls=[{"index": 0, "function": {"name": "find_order", "arguments": "[]"}}], finish="stop")],
            APOLOGISED,
            "no JSON object",
        ),
    ],
)
def test_the_caller_hears_an_apology_and_the_log_the_cause(reply, expected, logged, caplog):
    done, _ = answers(
        reply, timeouts={_hang: QUICK, _hang_in_the_middle: UNENDED}.get(reply if callable(reply) else None)
    )
    assert done == expected
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert any("the language model failed" in message and logged in message for message in errors)


def test_a_reply_that_never_ends_is_ended(caplog):
    done, _ = answers(_endless, timeouts=UNENDED)
    assert len(done) > 3
    assert done[-1] == Say(APOLOGY)
    assert "no end of the reply" in caplog.text


def test_one_failure_before_the_first_word_is_tried_again():
    done, endpoint = answers((503, {"error": {"message": "loading"}}), TEXT)
    assert done[0] == Say("We are open.")
    assert len(endpoint.requests) == 2


def test_the_log_never_holds_the_key(caplog):
    done, _ = answers((401, {"error": {"message": "wrong key sk-secret"}}))
    assert done == APOLOGISED
    assert "HTTP 401: check LOCAL_LLM_API_KEY" in caplog.text
    assert "sk-secret" not in caplog.text
    assert "sk-secret" not in repr(LlmSettings("http://x", "m", "sk-secret"))


def test_an_endpoint_that_is_not_there_is_apologised_for(caplog):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    endpoint = ChatEndpoint()
    endpoint.base_url = f"http://127.0.0.1:{port}/v1"
    assert asyncio.run(respond(endpoint)) == APOLOGISED
    assert "the connection failed" in caplog.text


@asynccontextmanager
async def connected(*replies):
    async with (
        ChatEndpoint(*replies).serve() as endpoint,
        chat_client(LlmSettings(endpoint.base_url, "tiny")) as client,
    ):
        yield endpoint, ChatBrain(client, "tiny")


def test_a_reply_that_is_cut_off_closes_the_stream():
    async def run():
        async with connected(_hang_in_the_middle) as (endpoint, brain):
            async with aclosing(brain.respond(ASKED)) as reply:
                assert await anext(reply) == Say("We are open.")
            await asyncio.wait_for(endpoint.closed_by_client.wait(), 60)

    asyncio.run(run())


def test_a_cancelled_response_closes_the_stream():
    async def run():
        async with connected(_hang_in_the_middle) as (endpoint, brain):
            heard = asyncio.Event()

            async def listen():
                async for _ in brain.respond(ASKED):
                    heard.set()

            task = asyncio.create_task(listen())
            await asyncio.wait_for(heard.wait(), 60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(endpoint.closed_by_client.wait(), 60)

    asyncio.run(run())


def test_keys_and_names_in_the_environment_are_not_sent_to_the_endpoint(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, "private")

    async def run():
        async with connected(TEXT) as (endpoint, brain):
            assert [deed async for deed in brain.respond(ASKED)]
            return endpoint.headers[0]

    assert "private" not in str(asyncio.run(run()))


def test_the_conversation_is_put_in_the_order_a_chat_endpoint_wants():
    items = [
        agent("Hello!"),
        caller("Where are A1 and B2?"),
        call("find_order", "call_1", order_id="A1"),
        call("find_order", "call_2", order_id="B2"),
        caller(None),
        agent("One moment."),
        result("shipped", "call_1"),
        system("The caller is in a hurry."),
    ]
    messages = chat_messages(turn(items, [FIND], "You are a baker."))
    assert [message["role"] for message in messages] == [
        *("system", "assistant", "user", "assistant", "tool", "tool", "user", "assistant", "system"),
    ]
    assert messages[0]["content"].startswith("You are a baker.")
    assert [made["id"] for made in messages[3]["tool_calls"]] == ["call_1", "call_2"]
    assert messages[4] == {"role": "tool", "tool_call_id": "call_1", "content": "shipped"}
    assert messages[5]["content"] == "(Still running; the result will follow.)"
    assert messages[6]["content"] == "(The caller said nothing that could be understood.)"


def test_a_call_that_just_began_still_has_a_user_message():
    assert chat_messages(turn([]))[-1]["role"] == "user"


def test_pictures_are_handed_on():
    part = ContentPart(type="input_image", image_url="data:image/png;base64,AA==")
    picture = Item(type="message", role="user", content=(ContentPart(type="input_text", text="Look!"), part))
    assert chat_messages(turn([picture]))[1]["content"] == [
        {"type": "text", "text": "Look!"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    ]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", "auto"),
        ("required", "required"),
        ({"type": "function", "name": "find_order"}, {"type": "function", "function": {"name": "find_order"}}),
        ({"type": "mcp", "server_label": "x"}, "auto"),
    ],
)
def test_tools_and_their_choice_are_translated(choice, expected):
    sent = chat_tools(turn([], [FIND, {"type": "mcp", "server_label": "x"}], tool_choice=choice))
    assert sent["tool_choice"] == expected
    assert [tool["function"]["name"] for tool in sent["tools"]] == ["find_order"]


def test_forbidden_tools_are_not_even_offered():
    assert chat_tools(turn([], [FIND], tool_choice="none")) == {}


def test_the_right_brain_is_chosen(tmp_path):
    script = tmp_path / "script.yaml"
    script.write_text("rules: [{heard: hello, say: hi}]")
    llm = LlmSettings("http://localhost:1/v1", "m")
    names = [type(brain_for(*given)()).__name__ for given in ((script, None), (None, None), (None, llm))]
    assert names == ["ScriptBrain", "AgentBrain", "ChatBrain"]
    with pytest.raises(MisuseError, match="choose one"):
        brain_for(script, llm)


def test_a_closed_factory_has_closed_its_connections():
    async def run():
        async with ChatEndpoint(TEXT).serve() as endpoint:
            factory = brain_for(None, LlmSettings(endpoint.base_url, "tiny"))
            assert Say("We are open.") in [deed async for deed in factory().respond(ASKED)]
            await factory.aclose()
            with pytest.raises(RuntimeError, match="closed"):
                assert [deed async for deed in factory().respond(ASKED)]

    asyncio.run(run())
