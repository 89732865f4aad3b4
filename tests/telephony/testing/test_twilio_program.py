"""`python -m telephony.testing.twilio`, and the simulator by HTTP."""

import asyncio
import contextlib
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

from support.together import Together
from support.twilio_application import Application, Twilio

from telephony.testing.twilio.voices import RealVoice

OURS, CALLER = "+15550199", "+15550100"
REPOSITORY = Path(__file__).parents[3]

together = Together()


async def ask(url, body=None, *, content_type="application/json"):
    """(status, decoded JSON or bytes)"""

    def send():
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data, {"Content-Type": content_type})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                raw = answer.read()
                return answer.status, json.loads(
                    raw
                ) if answer.headers.get_content_type() == "application/json" else raw
        except urllib.error.HTTPError as e:
            with e:
                return e.code, e.read().decode()

    return await asyncio.to_thread(send)


@contextlib.asynccontextmanager
async def program(*arguments):
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "telephony.testing.twilio", *arguments),
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            settings = [await process.stdout.readline() for _ in range(3)]
        yield dict(line.decode().strip().split("=", 1) for line in settings)
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 60) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


@together
async def test_the_program_rings_a_server_and_says_what_was_heard():
    async with (
        Application() as app,
        program("--port", "0", "--number", f"{OURS}={app.url}/voice", "--person", "+15550101=busy") as settings,
    ):
        url = settings["TWILIO_API_BASE_URL"]
        app.answers["/voice"] = "<Response><Say>Hi.</Say><Pause length='20'/></Response>"
        status, call = await ask(url + "/simulator/ring", {"from": CALLER, "to": OURS, "steps": [{"hear": "hi"}]})
        assert (status, call["status"]) == (200, "ringing")
        await app.until("/voice")
        async with asyncio.timeout(60):
            while call["status"] != "completed":
                _, call = await ask(f"{url}/simulator/calls/{call['sid']}")
                await asyncio.sleep(0.05)
        assert [said["text"] for said in call["said"]] == ["Hi."]
        status, sound = await ask(f"{url}/simulator/calls/{call['sid']}/heard.wav")
        assert (status, sound[:4]) == (200, b"RIFF")
        assert settings["TWILIO_AUTH_TOKEN"] == "simulated"


@together
async def test_the_person_on_the_line_can_be_steered():
    async with Application() as app, Twilio() as twilio:
        twilio.number(OURS, voice_url=app.url + "/voice")
        app.answers["/voice"] = "<Response><Gather numDigits='2' action='/keys'/></Response>"
        app.answers["/keys"] = "<Response><Pause length='20'/></Response>"
        _, call = await ask(twilio.url + "/simulator/ring", {"from": CALLER, "to": OURS})
        here = f"{twilio.url}/simulator/calls/{call['sid']}"
        await twilio.calls[call["sid"]].until_status("in-progress")
        assert await ask(here + "/press", {"digits": "42"}) == (200, {"ok": True})
        assert (await app.until("/keys")).form["Digits"] == "42"
        assert (await ask(here + "/say", {"text": "Bye."}))[0] == 200
        assert bytes(twilio.calls[call["sid"]].line.spoken).strip(b"\xff")
        _, call = await ask(here + "/hang-up", {})
        assert call["status"] == "completed"
        assert [one["sid"] for one in (await ask(twilio.url + "/simulator/calls"))[1]] == [call["sid"]]


@together
async def test_people_and_faults_can_be_set():
    async with Twilio() as twilio:
        twilio.number(OURS)
        wish = {"number": CALLER, "behaviour": "machine", "answers_after_s": 0.01, "greeting": "Hi."}
        assert (await ask(twilio.url + "/simulator/people", wish))[0] == 200
        assert (await ask(twilio.url + "/simulator/faults", {"on": "rest", "kind": "slow", "delay_s": 0.01}))[0] == 200
        made = await twilio.do(lambda c: c.calls.create(to=CALLER, from_=OURS, twiml="<Response/>"))
        await twilio.calls[made.sid].until_status("completed")
        assert twilio.calls[made.sid].message == b""
        assert (await ask(twilio.url + "/simulator/alerts"))[1] == []


@together
async def test_wishes_that_make_no_sense_are_refused_by_name():
    async with Twilio() as twilio:
        twilio.number(OURS)
        url = twilio.url + "/simulator"
        for path, wish, word in (
            ("/ring", {"from": "12", "to": OURS}, "$.from"),
            ("/ring", {"from": CALLER, "to": "+15559999"}, "no number of this account"),
            ("/ring", {"from": CALLER, "to": OURS, "steps": [{"sing": 1}]}, "sing"),
            ("/people", {"number": CALLER, "behaviour": "cat"}, "$.behaviour"),
            ("/people", {"number": CALLER, "steps": [{"press": "x"}]}, "no key"),
            ("/faults", {"on": "rest", "kind": "lost"}, "webhooks"),
            ("/faults", {"on": "webhook", "kind": "slow"}, "rest"),
        ):
            status, told = await ask(url + path, wish)
            assert (status, word in told) == (400, True), told
        assert (await ask(url + "/calls/CA1"))[0] == 404
        assert (await ask(url + "/ring", {"from": CALLER, "to": OURS}, content_type="text/plain"))[0] == 415
        assert not twilio.calls


def test_what_a_person_hears_can_be_had_in_words(voice, recognizer):
    async def main():
        async with Application() as app, Twilio(speech=RealVoice(voice)) as twilio:
            twilio.number(OURS, voice_url=app.url + "/voice")
            app.answers["/voice"] = "<Response><Say>Please call again in a few minutes.</Say></Response>"
            call = await twilio.ring(CALLER, OURS)
            await call.until_status("completed")
            assert (await call.words(recognizer=recognizer)).rstrip(".") == "Please call again in a few minutes"

    asyncio.run(asyncio.wait_for(main(), 120))
