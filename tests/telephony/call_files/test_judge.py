"""A model as judge: asked over real HTTP, and read with care."""

import asyncio
import json

import pytest
from support.http_endpoint import HttpEndpoint, answer

from realtime_bridge.errors import MisuseError, TransportError
from telephony.call_files.judge import judge_of, read_verdict
from telephony.expectations import Question, Verdict
from telephony.settings import Settings

QUESTION = Question("offers help", ("Good morning.", "What can I do for you?"))


def completion(content):
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    return answer(body={"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]})


def judged(*replies, **settings):
    """The verdicts, and what the endpoint was asked."""

    async def run():
        left = list(replies)
        async with HttpEndpoint(lambda _: left.pop(0) if len(left) > 1 else left[0]) as endpoint:
            given = {"local_llm_base_url": f"{endpoint.url}/v1", "local_llm_model": "judge", **settings}
            if not given["local_llm_model"]:
                given = {"openai_base_url": f"{endpoint.url}/v1", "openai_api_key": "sk-test"}
            judge = judge_of(Settings(_env_file=None, **given))
            verdicts = await asyncio.to_thread(judge, [QUESTION])
            return verdicts[QUESTION], endpoint.asked

    return asyncio.run(run())


def test_the_judge_sees_numbered_lines_and_the_statement_and_its_verdict_is_taken():
    verdict, (asked,) = judged(completion('{"holds": true, "line": 2, "reason": "asks what to do"}'))
    assert verdict == Verdict(True, "asks what to do", 1)
    body = json.loads(asked.body)
    assert (asked.path, body["model"]) == ("/v1/chat/completions", "judge")
    assert body["messages"][-1]["content"] == (
        "Lines:\n1: Good morning.\n2: What can I do for you?\n\nStatement: it offers help"
    )


def test_openais_model_judges_where_there_is_no_other():
    verdict, (asked,) = judged(completion('{"holds": false}'), local_llm_model="")
    assert not verdict.holds
    assert json.loads(asked.body)["model"] == "gpt-5-mini"
    assert asked.headers["authorization"] == "Bearer sk-test"


def test_a_judge_that_rambles_is_asked_again():
    verdict, asked = judged(completion("I think so."), completion('Well: {"holds": true, "line": null}'))
    assert verdict == Verdict(True)
    assert len(asked) == 2


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (completion("Perhaps."), "gives no verdict but 'Perhaps.'"),
        (answer(401, {"error": {"message": "wrong key"}}), "cannot be asked: .*wrong key"),
        (answer(body={"choices": []}), "gives no verdict"),
    ],
)
def test_a_judge_that_does_not_judge_is_an_error_and_no_verdict(reply, told):
    with pytest.raises(TransportError, match=told):
        judged(reply)


def test_without_a_model_it_is_said_what_to_set():
    with pytest.raises(MisuseError, match="set OPENAI_API_KEY, or LOCAL_LLM_BASE_URL"):
        judge_of(Settings(_env_file=None, openai_api_key=None))


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ('{"holds": true, "line": 1, "reason": "x"}', Verdict(True, "x", 0)),
        ('```json\n{"holds": false, "reason": "{}"}\n```', Verdict(False, "{}")),
        ('{"holds": true, "line": 99}', Verdict(True)),
        ('{"holds": "true"}', None),
        ("[]", None),
        ("", None),
    ],
)
def test_verdicts_are_read_from_what_surrounds_them(text, verdict):
    assert read_verdict(text, 2) == verdict
