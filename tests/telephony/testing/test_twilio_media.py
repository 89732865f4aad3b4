"""Media streams of the simulated Twilio, as another WebSocket library sees them."""

import asyncio
import contextlib
import time

import pytest
from support.quiet import quietly, until
from support.together import Together
from support.twilio_application import TOKEN, Application, MediaApplication, Twilio
from twilio.request_validator import RequestValidator

from telephony.testing.twilio import STAY, HearText, Pause, Press, StreamFaults
from telephony.testing.twilio.sound import tone

OURS, CALLER = "+15550199", "+15550100"


@contextlib.asynccontextmanager
async def streaming(*, steps=(STAY,), then="<Say>The stream is over.</Say>", connect="", stream="", **options):
    """(simulator, application, media application, call): a call that is being connected to a stream."""
    async with Application() as application, MediaApplication() as media, Twilio(**options) as twilio:
        twilio.number(OURS, voice_url=application.url + "/voice")
        application.answers["/voice"] = (
            f"<Response><Connect {connect}><Stream url='{media.url}?gone=1' {stream}>"
            f"<Parameter name='token' value='t &lt; 1'/></Stream></Connect>{then}</Response>"
        )
        call = await twilio.ring(CALLER, OURS, steps=steps)
        yield twilio, application, media, call


together = Together()


@together
async def test_a_stream_opens_signed_and_with_its_parameters():
    async with streaming(stream='statusCallback="/stream" name="line"') as (twilio, app, media, call):
        theirs = await media.call()
        signature = theirs.headers["X-Twilio-Signature"]
        assert RequestValidator(TOKEN).validate(media.url, {}, signature)
        assert theirs.path == "/media"  # without its query string
        assert [message["event"] for message in theirs.messages[:2]] == ["connected", "start"]
        start = theirs.start["start"]
        assert (start["callSid"], start["accountSid"]) == (call.sid, twilio.account_sid)
        assert start["customParameters"] == {"token": "t < 1"}
        assert start["mediaFormat"] == {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
        told = (await app.until("/stream")).form
        assert (told["StreamEvent"], told["StreamSid"]) == ("stream-started", start["streamSid"])
        assert (told["StreamName"], told["CallSid"]) == ("line", call.sid)
        call.hang_up()
        await theirs.until("stop")
        assert (await app.until("/stream", 2)).form["StreamEvent"] == "stream-stopped"
        await theirs.ended.wait()
        assert call.stream.ending == "stopped"


@together
async def test_the_caller_is_heard_in_real_time_without_a_gap():
    speech = tone(440, ms=300)
    began = time.monotonic()
    async with streaming(steps=[Pause(100), speech, STAY]) as (_, _, media, call):
        theirs = await media.call()
        await theirs.until("media", 40)
        assert 0.78 <= time.monotonic() - began < 10
        frames = theirs.of("media")
        assert [int(frame["media"]["timestamp"]) for frame in frames] == [20 * n for n in range(len(frames))]
        assert [int(frame["media"]["chunk"]) for frame in frames] == [n + 1 for n in range(len(frames))]
        assert speech in theirs.mulaw
        assert theirs.mulaw in bytes(call.line.spoken)


@together
async def test_what_is_played_is_heard_when_it_is_played_and_its_mark_comes_back_then():
    async with streaming() as (_, _, media, call):
        theirs = await media.call()
        sound = tone(600, ms=400)
        sent_at = time.monotonic()
        await theirs.play(sound)
        await theirs.mark("end")
        mark = await theirs.until("mark")
        assert 0.4 <= time.monotonic() - sent_at < 10
        assert mark["mark"] == {"name": "end"}
        await call.until_silent(0.1)
        assert sound in call.heard.mulaw
        [span] = call.heard.audible
        assert -0.021 <= span.start - sent_at < 5


@together
async def test_clear_silences_at_once_and_brings_back_the_marks():
    async with streaming() as (_, _, media, call):
        theirs = await media.call()
        await theirs.play(tone(600, ms=5000))
        await theirs.mark("a")
        await theirs.mark("b")
        await call.until_heard(0.3)
        await theirs.clear()
        await theirs.until("mark", 2)
        await call.until_silent(0.3)
        [span] = call.heard.audible
        assert span.end - span.start < 4.5
        assert [echo.cause for echo in call.stream.echoes] == ["cleared", "cleared"]


@together
async def test_keys_are_told():
    async with streaming(steps=[Pause(200), Press("5"), Press("#"), STAY]) as (_, _, media, _):
        theirs = await media.call()
        await theirs.until("dtmf", 2)
        assert [message["dtmf"]["digit"] for message in theirs.of("dtmf")] == ["5", "#"]


@together
async def test_when_the_application_closes_the_next_verb_runs():
    async with streaming() as (_, _, media, call):
        theirs = await media.call()
        await theirs.socket.close(1000)
        await call.until_said("The stream is over.")
        assert (call.stream.ending, call.stream.close_code) == ("closed", 1000)


@together
async def test_an_action_is_asked_when_the_stream_is_over():
    async with streaming(connect='action="/after"') as (_, app, media, call):
        app.answers["/after"] = "<Response><Say>And now?</Say></Response>"
        theirs = await media.call()
        await theirs.socket.close(1000)
        await call.until_said("And now?")
        assert app.at("/after")[0].form["CallStatus"] == "in-progress"


@together
async def test_new_twiml_ends_the_stream():
    async with streaming() as (twilio, _, media, call):
        theirs = await media.call()
        await twilio.do(
            lambda c: c.calls(call.sid).update(twiml="<Response><Say>Please hold.</Say><Pause/></Response>")
        )
        await theirs.until("stop")
        await call.until_said("Please hold.")
        assert "The stream is over." not in [said.text for said in call.heard.said]


@together
async def test_a_stream_that_is_refused_is_an_alert_and_the_call_goes_on():
    async with streaming(stream='statusCallback="/stream"', steps=[HearText("is over"), STAY]) as (
        _,
        app,
        media,
        call,
    ):
        media.refuse = True
        await call.until_said("The stream is over.")
        assert [alert.code for alert in call.alerts] == [31920]
        assert (await app.until("/stream")).form["StreamEvent"] == "stream-error"


@together
async def test_what_twilio_does_not_understand_is_an_alert():
    async with streaming() as (_, _, media, call):
        theirs = await media.call()
        await theirs.socket.send(b"\x00\x01")
        await theirs.socket.send("{}")
        await theirs.socket.send('{"event":"clear","streamSid":"MZother"}')
        await call.until(lambda: len(call.alerts) == 3)
        assert [alert.code for alert in call.alerts] == [31950, 31951, 31951]


@together
async def test_a_socket_that_drops_leaves_the_application_without_a_stop():
    async with streaming() as (_, _, media, call):
        theirs = await media.call()
        await theirs.until("media")
        call.stream.drop()
        await theirs.ended.wait()
        assert theirs.of("stop") == []
        await call.until_said("The stream is over.")
        assert (call.stream.ending, [alert.code for alert in call.alerts]) == ("broken", [31921])


@together
async def test_after_a_stall_all_comes_at_once_and_nothing_is_lost():
    async with streaming() as (_, _, media, call):
        theirs = await media.call()
        await theirs.until("media", 5)
        call.stream.stall(3)
        sound = tone(600, ms=100)
        await theirs.play(sound)
        await theirs.mark("late")
        await asyncio.sleep(0.3)  # for what was on its way
        before = len(theirs.of("media"))
        await asyncio.sleep(0.5)
        assert len(theirs.of("media")) == before
        assert call.heard.audible == []
        await theirs.until("mark")
        frames = theirs.of("media")
        assert [int(frame["media"]["chunk"]) for frame in frames] == [n + 1 for n in range(len(frames))]
        assert len(frames) - before >= 20
        await call.until_silent(0.1)
        assert sound in call.heard.mulaw


@together
async def test_frames_are_lost_repeated_and_swapped_as_they_are_told_to_be():
    async with streaming() as (twilio, _, media, _):
        twilio.faults.stream = StreamFaults(media_lost=0.2, media_repeated=0.2, media_swapped=0.2)
        theirs = await media.call()
        await theirs.until("media", 60)
        times = [int(frame["media"]["timestamp"]) for frame in theirs.of("media")]
        assert len(set(times)) < len(times), "none was repeated"
        assert times != sorted(times), "none was swapped"
        assert set(range(0, max(times), 20)) - set(times), "none was lost"


@together
async def test_marks_are_lost_as_they_are_told_to_be():
    async with streaming() as (twilio, _, media, call):
        twilio.faults.stream = StreamFaults(marks_lost=1.0)
        theirs = await media.call()
        await theirs.mark("a")
        await call.until(lambda: call.stream.echoes)
        twilio.faults.clear()
        await theirs.mark("b")
        await theirs.until("mark")
        assert [message["mark"]["name"] for message in theirs.of("mark")] == ["b"]


@quietly("asyncio", "uvloop")
async def test_a_simulator_that_closes_amid_calls_leaves_nothing_behind():
    async with streaming() as (twilio, _, media, call):
        theirs = await media.call()
        await theirs.play(tone(440, ms=2000))
        await theirs.mark("never")
        await call.until_heard(0.1)
        other = await twilio.ring("+15550122", OURS)
        await other.until_stream()
        other.stream.stall(5)
    assert call.is_over
    assert other.is_over


def test_many_calls_at_once_keep_their_own_time():
    async def main():
        async with Application() as app, MediaApplication() as media, Twilio() as twilio:
            twilio.number(OURS, voice_url=app.url + "/voice")
            app.answers["/voice"] = f"<Response><Connect><Stream url='{media.url}'/></Connect></Response>"
            calls = [
                await twilio.ring(f"+1555010{n:04d}", OURS, steps=[Pause(500), tone(440, ms=300), STAY])
                for n in range(40)
            ]
            theirs = [await media.call() for _ in calls]
            await asyncio.sleep(1)

            def frames_late(call):
                return (time.monotonic() - call.answered_at) / 0.02 - len(call.line.spoken) / 160

            await until(lambda: all(abs(frames_late(call)) < 15 for call in calls))
            for call in calls:
                call.hang_up()
            for their in theirs:
                await their.until("stop")
                times = [int(frame["media"]["timestamp"]) for frame in their.of("media")]
                assert times == [20 * n for n in range(len(times))]
                assert tone(440, ms=300) in their.mulaw
            spoken = [len(call.line.spoken) / 8000 for call in calls]
            lasted = [call.ended_at - call.answered_at for call in calls]
            assert spoken == pytest.approx(lasted, abs=0.3)

    asyncio.run(asyncio.wait_for(main(), 120))
