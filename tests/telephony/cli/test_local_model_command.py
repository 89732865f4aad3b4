"""`realtime-bridge local-model` as users start it."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from telephony.cli import main

REPOSITORY = Path(__file__).parents[3]
PROGRAM = [sys.executable, "-c", "from telephony.cli import main; main()", "local-model"]
SCRIPT = "greeting: Hello, this is the bakery.\nfallback: Sorry?\nrules:\n  - heard: hello\n    say: Hi.\n"
TIMEOUT = 120


def environment(**settings) -> dict:
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **settings}


@contextlib.asynccontextmanager
async def served(*arguments, **settings):
    """The command as a process: (process, base URL)"""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM, "--port", "0", *arguments, env=environment(**settings), stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            async for line in process.stderr:
                if found := re.search(rb"Listening on (\S+)", line):
                    break
        yield process, found[1].decode()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def test_it_answers_by_its_script_until_it_is_told_to_stop_whatever_the_environment_says_of_language_models(tmp_path):
    script = tmp_path / "bakery.yaml"
    script.write_text(SCRIPT)
    settings = {"LOCAL_MODEL_API_KEY": "secret", "LOCAL_LLM_BASE_URL": "http://localhost:1/v1", "LOCAL_LLM_MODEL": "m"}

    async def scenario():
        async with (
            served("--script", str(script), **settings) as (process, base_url),
            asyncio.timeout(TIMEOUT),
        ):
            openai = AsyncOpenAI(base_url=base_url, api_key="secret")
            async with openai, openai.realtime.connect(model="gpt-realtime") as connection:
                await connection.response.create()
                async for event in connection:
                    if event.type == "response.done":
                        break
                assert event.response.status == "completed"
                assert event.response.output[0].content[0].transcript == "Hello, this is the bakery."
                process.send_signal(signal.SIGTERM)
                assert await process.wait() == 0

    asyncio.run(scenario())


@pytest.mark.parametrize(("wrong", "said"), [(("--script", "none.yaml"), "none.yaml"), (("--speed", "0"), "--speed")])
def test_a_missing_script_or_an_impossible_speed_is_wrong_usage(wrong, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["local-model", *wrong])
    assert left.value.code == 2
    assert said in capsys.readouterr().err
