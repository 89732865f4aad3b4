"""Tools: what becomes of a call."""

import pytest
from support.machine_script import (
    BILLING,
    barge_in,
    called,
    creates,
    finish,
    script,
)

from realtime_bridge.session import commands, events, inputs
from realtime_bridge.wire import Item, Response, server


def test_a_tool_runs_and_its_result_is_spoken_of():
    s = script()
    called(s, "look_up", '{"order": 1}')
    (run,) = s.asked(commands.RunTool)
    assert (run.agent, run.tool, run.arguments) == ("desk", "look_up", '{"order": 1}')
    assert creates(s) == []
    finish(s, output="shipped")
    assert s.outputs() == {"call_x": "shipped"}
    assert len(creates(s)) == 1
    end = s.told(events.AgentToolEnd)[0]
    assert (end.output, end.outcome) == ("shipped", "ok")


def test_a_result_that_lands_while_the_model_speaks_waits_for_the_end():
    s = script()
    called(s, "look_up")
    other = s.model.begin()
    finish(s)
    assert creates(s) == []
    s.model.feed(server.ResponseDone(response=Response(id=other, status="completed")))
    assert len(creates(s)) == 1


def test_a_reply_that_began_with_the_result_in_view_answers_it():
    s = script()
    called(s, "look_up")
    s.model.feed(server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"))
    finish(s)
    s.model.feed(server.InputAudioBufferSpeechStopped(audio_end_ms=0, item_id="u"))
    s.model.reply("It was shipped, and you are welcome")
    s.wait(10)
    assert creates(s) == []


def test_results_of_one_response_are_spoken_of_together():
    s = script()
    response_id = s.model.begin()
    s.model.call(response_id, "look_up", '{"a": 1}', call_id="one")
    s.model.call(response_id, "look_up", '{"a": 2}', call_id="two")
    s.model.feed(server.ResponseDone(response=Response(id=response_id, status="completed")))
    finish(s, "one")
    assert creates(s) == []
    finish(s, "two")
    assert len(creates(s)) == 1


def test_a_fast_result_does_not_wait_for_a_slow_one_for_ever():
    s = script()
    response_id = s.model.begin()
    s.model.call(response_id, "look_up", '{"a": 1}', call_id="one")
    s.model.call(response_id, "look_up", '{"a": 2}', call_id="two")
    s.model.feed(server.ResponseDone(response=Response(id=response_id, status="completed")))
    finish(s, "one")
    s.wait(4)
    assert len(creates(s)) == 1


def test_the_same_call_delivered_twice_runs_once():
    s = script()
    called(s, "look_up", '{"a": 1}')
    called(s, "look_up", '{ "a":1 }')
    assert len(s.asked(commands.RunTool)) == 1
    finish(s)
    called(s, "look_up", '{"a": 1}')
    assert len(s.asked(commands.RunTool)) == 1
    assert list(s.outputs()) == ["call_x"]


def test_a_call_id_used_again_for_another_call_is_refused():
    s = script()
    called(s, "look_up", '{"a": 1}')
    called(s, "look_up", '{"a": 2}')
    assert len(s.asked(commands.RunTool)) == 1
    assert s.told(events.SessionError)[0].code == "call_id_reused"


def test_a_call_goes_to_the_agent_whose_response_made_it():
    s = script()
    response_id = s.model.begin()
    s.do(inputs.AgentSwitched(agent=BILLING))
    s.model.call(response_id, "look_up", call_id="call_x")
    assert s.asked(commands.RunTool)[0].agent == "desk"


def test_a_tool_nobody_has_is_told_to_the_model():
    s = script()
    called(s, "invent")
    assert "look_up" in s.outputs()["call_x"]
    error = s.told(events.SessionError)[0]
    assert (error.code, error.tool) == ("tool_not_found", "invent")
    assert len(creates(s)) == 1, "so that it can mend it"


def test_a_model_that_only_makes_mistakes_does_not_talk_to_itself_for_ever():
    s = script()
    for n in range(20):
        called(s, "invent", call_id=f"call_{n}")
        if len(creates(s)) > n:
            s.model.reply(to=creates(s)[-1])
    assert len(creates(s)) == 5
    assert len(s.outputs()) == 20, "every call is answered all the same"


def test_an_unfinished_call_is_no_call():
    s = script()
    response_id = s.model.begin()
    item = Item(type="function_call", id="i", call_id="c", name="look_up", arguments='{"a', status="incomplete")
    s.model.feed(server.ResponseOutputItemDone(response_id=response_id, output_index=0, item=item))
    assert s.asked(commands.RunTool) == []


def test_calls_of_a_cancelled_orphan_are_answered_but_not_run():
    s = script()
    s.say("hello")
    s.do(inputs.InterruptWanted())
    response_id = s.model.begin(creates(s)[0])
    s.model.call(response_id, "look_up", call_id="call_x")
    assert s.asked(commands.RunTool) == []
    assert "not run" in s.outputs()["call_x"]


def test_a_background_tool_is_recorded_and_not_spoken_of():
    s = script()
    called(s, "note")
    finish(s)
    assert s.outputs() == {"call_x": "done"}
    s.wait(10)
    assert creates(s) == []


def test_a_silent_result_is_recorded_and_not_spoken_of():
    s = script()
    called(s, "look_up")
    finish(s, silent=True)
    s.wait(10)
    assert creates(s) == []


def test_what_user_code_raised_is_an_error_with_the_tools_name():
    s = script()
    called(s, "look_up")
    finish(s, output="It failed.", outcome="failed", error="tool look_up raised ValueError: x")
    error = s.told(events.SessionError)[0]
    assert (error.source, error.tool, error.call_id, error.fatal) == ("tool", "look_up", "call_x", False)
    assert s.outputs() == {"call_x": "It failed."}


def test_user_code_may_end_the_session():
    s = script()
    called(s, "look_up")
    finish(s, output="It failed.", outcome="failed", error="boom", fatal=True)
    assert s.asked(commands.Close)[0].error == "boom"
    s.say("anybody there?")
    assert creates(s) == []


@pytest.mark.parametrize(
    ("tool", "told", "spoken"),
    [("look_up", "done", False), ("later", "done", True), ("fragile", "cancelled", False)],
)
def test_after_a_barge_in_a_running_tool_follows_its_policy(tool, told, spoken):
    s = script()
    called(s, tool)
    barge_in(s)
    s.model.feed(server.InputAudioBufferSpeechStopped(audio_end_ms=1, item_id="u"))
    s.model.reply("Yes?")
    finish(s)
    s.wait(10)
    assert told in s.outputs()["call_x"]
    assert len(creates(s)) == (1 if spoken else 0)
    assert bool(s.asked(commands.CancelTool)) == (tool == "fragile")


def test_speech_on_a_silent_line_is_no_barge_in():
    s = script()
    called(s, "look_up")
    s.model.feed(server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"))
    s.model.feed(server.InputAudioBufferSpeechStopped(audio_end_ms=1, item_id="u"))
    s.model.reply("Just a moment")
    finish(s)
    assert len(creates(s)) == 1


def test_a_slow_tool_is_filled_with_words_once():
    s = script()
    called(s, "slow")
    s.wait(0.5)
    assert creates(s) == []
    s.wait(5)
    (filler,) = creates(s)
    assert "One moment, please." in filler.response["instructions"]
    assert filler.response["tool_choice"] == "none"
    s.model.reply("One moment, please.", to=filler)
    finish(s)
    assert len(creates(s)) == 2


def test_a_filler_is_not_said_after_the_result():
    s = script()
    s.model.feed(server.InputAudioBufferSpeechStarted(audio_start_ms=0, item_id="u"))
    called(s, "slow")
    s.wait(2)
    finish(s)
    s.model.feed(server.InputAudioBufferSpeechStopped(audio_end_ms=0, item_id="u"))
    s.wait(10)
    assert all("instructions" not in request.response for request in creates(s))
