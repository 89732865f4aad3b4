"""Output guardrails: when they run and what a trip does."""

from support.machine_script import TOOLS, MachineScript, creates, growing_reply, script

from realtime_bridge.session import commands, events, inputs
from realtime_bridge.session.specs import AgentSpec
from realtime_bridge.wire import Response, server

GUARDED = AgentSpec(name="desk", guarded=True, tools=TOOLS)


def guarded(**settings) -> MachineScript:
    return script(GUARDED, every_chars=20, **settings)


def trip(s: MachineScript, **fields) -> None:
    s.do(inputs.GuardrailVerdict(run_id=s.asked(commands.RunGuardrails)[-1].run_id, tripped="no_prices", **fields))


def test_guardrails_run_on_the_growing_words():
    s = guarded()
    growing_reply(s, "It costs ten pounds", " and a penny.", " No more.", " At all.")
    assert [run.text for run in s.asked(commands.RunGuardrails)] == [
        "It costs ten pounds and a penny.",
        "It costs ten pounds and a penny. No more.",
    ]


def test_a_trip_stops_the_reply_and_tells_the_model_once():
    s = guarded()
    response_id, item_id = growing_reply(s, "It costs ten pounds and more")
    trip(s, info="a price")
    (event,) = s.told(events.GuardrailTripped)
    assert (event.guardrail, event.response_id, event.item_id, event.info) == (
        "no_prices",
        response_id,
        item_id,
        "a price",
    )
    assert len(s.asked(commands.Interrupt)) == 1
    assert s.asked(commands.Discard)[0].response_id == response_id
    assert "no_prices" in s.texts()[-1][1]
    assert creates(s) == [], "the reply is still ending"
    s.model.feed(server.ResponseDone(response=Response(id=response_id, status="cancelled")))
    assert len(creates(s)) == 1
    trip(s)
    assert len(s.told(events.GuardrailTripped)) == 1


def test_a_guardrail_may_have_its_own_words_for_the_model():
    s = guarded()
    growing_reply(s, "It costs ten pounds and more")
    trip(s, feedback="Name no prices.")
    assert s.texts()[-1] == ("system", "Name no prices.")


def test_a_trip_that_comes_late_does_not_reach_into_a_newer_turn():
    s = guarded()
    response_id, _ = growing_reply(s, "It costs ten pounds and more")
    s.model.feed(
        server.ResponseDone(response=Response(id=response_id, status="completed")),
        server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"),
    )
    trip(s)
    assert len(s.told(events.GuardrailTripped)) == 1
    assert s.asked(commands.Interrupt) == []
    assert s.asked(commands.Discard)[0].response_id == response_id
    assert not any(role == "system" for role, _ in s.texts())


def test_a_reply_that_was_complete_can_still_be_silenced():
    s = guarded()
    response_id, _ = growing_reply(s, "It costs ten pounds and more")
    s.model.feed(server.ResponseDone(response=Response(id=response_id, status="completed")))
    trip(s)
    assert len(s.asked(commands.Interrupt)) == 1, "the caller is still hearing it"
    assert len(creates(s)) == 1


def test_calls_of_a_reply_that_tripped_are_not_run():
    s = guarded()
    response_id, _ = growing_reply(s, "It costs ten pounds and more")
    trip(s)
    s.model.call(response_id, "look_up", call_id="call_x")
    assert s.asked(commands.RunTool) == []
    assert "not run" in s.outputs()["call_x"]


def test_a_guardrail_that_fails_is_reported_with_its_name():
    s = guarded()
    growing_reply(s, "It costs ten pounds and more")
    run_id = s.asked(commands.RunGuardrails)[0].run_id
    s.do(inputs.GuardrailVerdict(run_id=run_id, errors=(("no_prices", "raised KeyError"),)))
    error = s.told(events.SessionError)[0]
    assert (error.source, error.tool) == ("guardrail", "no_prices")


def test_typed_replies_are_guarded_too():
    s = guarded()
    s.model.reply("It costs ten pounds and more", written=True)
    trip(s)
    assert len(s.told(events.GuardrailTripped)) == 1


def test_audio_is_held_back_until_its_words_have_passed():
    s = guarded(holdback_ms=800)
    growing_reply(s, "Good", " morning", " to you")
    (first,) = s.asked(commands.RunGuardrails)
    s.do(inputs.GuardrailVerdict(run_id=first.run_id))
    release = s.asked(commands.Release)[-1]
    assert (release.item_id, release.audio_ms) == ("a", 1000), "only what cannot hold more than 'Good'"
    s.do(inputs.GuardrailVerdict(run_id=s.asked(commands.RunGuardrails)[-1].run_id))
    assert s.asked(commands.Release)[-1].audio_ms == 3000
    part = {
        "response_id": s.told(events.AgentStart)[0].response_id,
        "item_id": "a",
        "content_index": 0,
        "output_index": 0,
    }
    s.model.feed(server.ResponseOutputAudioTranscriptDone(transcript="Good morning to you", **part))
    assert len(s.asked(commands.RunGuardrails)) == 2, "the whole had passed already"


def test_audio_of_an_agent_without_guardrails_is_not_held():
    s = script(holdback_ms=800)
    growing_reply(s, "Good morning")
    assert s.asked(commands.Release) == [commands.Release(item_id="a", content_index=0)]
