"""The server as users start it, on a simulated Twilio: it cannot tell the difference."""

import asyncio
import contextlib

from support.loopback_model import KEY, LoopbackModel
from support.server_process import free_port, serve
from support.twilio_application import TOKEN, Twilio

from telephony.testing.twilio import STAY, HangUp, WaitForAgent

OURS, CALLER = "+15550199", "+15550100"


@contextlib.asynccontextmanager
async def served(directory, **settings):
    """(simulator, model, server): our number rings at the server, whose agent talks by this model."""
    port = free_port()
    public_url = f"http://127.0.0.1:{port}"
    async with (
        LoopbackModel() as model,
        Twilio() as twilio,
        serve(
            directory,
            port=port,
            **{
                "TWILIO_ACCOUNT_SID": twilio.account_sid,
                "TWILIO_AUTH_TOKEN": TOKEN,
                "TWILIO_API_BASE_URL": twilio.url,
                "PUBLIC_URL": public_url,
                "OPENAI_API_KEY": KEY,
                "OPENAI_BASE_URL": str(model.openai.base_url),
                "REALTIME_AUDIO": "pcmu",
                "RECORD_CALLS": "off",
                **settings,
            },
        ) as server,
    ):
        twilio.number(OURS, voice_url=public_url + "/twilio/voice", status_callback=public_url + "/twilio/status")
        yield twilio, model, server


def test_calls_to_a_server_in_a_process_of_its_own(tmp_path):
    async def main():
        async with served(tmp_path) as (twilio, model, server):
            # A caller and the agent talk, and the caller hangs up.
            steps = [WaitForAgent(quiet_ms=300), "Hello, my telephone is broken.", WaitForAgent(quiet_ms=300), HangUp()]
            call = await twilio.ring(CALLER, OURS, steps=steps)
            theirs = await model.confirmed_call()
            await theirs.reply(400, asked=await theirs.expect("response.create"))
            await theirs.hears_speech()
            await call.until(lambda: call.run.said, "end of the caller's words")
            await theirs.reply(300)
            await call.until_status("completed")
            assert call.run.failure is None
            assert len(call.heard.audible) == 2
            assert [(webhook.status, webhook.error) for webhook in call.sent("voice")] == [(200, "")]
            assert (call.stream.ending, call.stream.problems, call.alerts) == ("stopped", [], [])
            assert {echo.cause for echo in call.stream.echoes} == {"played"}

            # What is not Twilio's is turned away.
            twilio.faults.webhook("forged", kind="voice")
            call = await twilio.ring("+15550101", OURS, steps=[STAY])
            await call.until_said("application error")
            assert call.sent("voice")[0].status == 403
            call.hang_up()

            # The line breaks: the server lets go of the model.
            call = await twilio.ring("+15550102", OURS, steps=[STAY])
            theirs = await model.confirmed_call()
            (await call.until_stream()).drop()
            await theirs.ended.wait()
            call.hang_up()
        assert "Traceback" not in server.log

    asyncio.run(asyncio.wait_for(main(), 120))
