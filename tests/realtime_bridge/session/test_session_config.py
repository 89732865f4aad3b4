import pytest

from realtime_bridge.session.config import SessionConfig, merge
from realtime_bridge.session.specs import AgentSpec, HandoffSpec, McpSpec, ToolSpec

FORMATS = {"audio": {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcmu"}}}}


def config(**program) -> SessionConfig:
    return SessionConfig(program, FORMATS)


def test_every_update_carries_both_formats_and_they_win():
    made = config(audio={"output": {"format": {"type": "audio/pcm", "rate": 24000}}})
    for name in ("a", "b"):
        session, _ = made.update(AgentSpec(name=name))
        assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
        assert session["audio"]["output"]["format"] == {"type": "audio/pcmu"}


def test_the_agents_part():
    agent = AgentSpec(
        name="a",
        instructions="Be kind.",
        tools=(ToolSpec(name="f", description="F", parameters={"type": "object"}),),
        handoffs=(HandoffSpec(name="transfer_to_b"),),
        mcp=(McpSpec(server_label="s", definition={"type": "mcp", "server_label": "s"}),),
        voice="marin",
        prompt={"id": "p"},
        settings={"tool_choice": "required"},
    )
    session, warning = config().update(agent)
    assert warning is None
    assert (session["type"], session["instructions"], session["tool_choice"]) == ("realtime", "Be kind.", "required")
    assert session["audio"]["output"]["voice"] == "marin"
    assert session["prompt"] == {"id": "p"}
    assert [tool.get("name", tool.get("server_label")) for tool in session["tools"]] == ["f", "transfer_to_b", "s"]
    assert session["tools"][0] == {
        "type": "function",
        "name": "f",
        "description": "F",
        "parameters": {"type": "object"},
    }


def test_the_program_wins_over_the_agent():
    made = config(tool_choice="none", audio={"output": {"voice": "cedar"}})
    session, _ = made.update(AgentSpec(name="a", voice="marin", settings={"tool_choice": "required"}))
    assert (session["tool_choice"], session["audio"]["output"]["voice"]) == ("none", "cedar")


def test_one_agents_settings_do_not_linger_with_the_next():
    made = config()
    eager = {"tool_choice": "required", "max_output_tokens": 50, "audio": {"output": {"speed": 1.5}}}
    made.update(AgentSpec(name="a", settings=eager, prompt={"id": "p"}))
    session, _ = made.update(AgentSpec(name="b"))
    assert (session["tool_choice"], session["max_output_tokens"], session["prompt"]) == ("auto", "inf", None)
    assert session["audio"]["output"]["speed"] == 1.0


def test_the_voice_stays_once_it_was_heard():
    made = config()
    made.update(AgentSpec(name="a", voice="marin"))
    early, warning = made.update(AgentSpec(name="b", voice="cedar"))
    assert (early["audio"]["output"]["voice"], warning) == ("cedar", None)
    made.freeze_voice()
    late, warning = made.update(AgentSpec(name="c", voice="ash"))
    assert late["audio"]["output"]["voice"] == "cedar"
    assert "c speaks" in warning
    same, warning = made.update(AgentSpec(name="d"))
    assert (same["audio"]["output"]["voice"], warning) == ("cedar", None)
    made.fresh_session()
    restored, _ = made.update(AgentSpec(name="d"))
    assert restored["audio"]["output"]["voice"] == "cedar", "the caller knows this voice"


def test_a_default_voice_that_was_heard_is_not_named_later():
    made = config()
    made.update(AgentSpec(name="a"))
    made.freeze_voice()
    session, warning = made.update(AgentSpec(name="b", voice="ash"))
    assert "voice" not in session["audio"]["output"]
    assert warning is not None


@pytest.mark.parametrize("field", ["model", "tracing"])
def test_what_may_not_change_is_sent_once_per_model_session(field):
    made = config(model="m", tracing="auto")
    assert field in made.update(AgentSpec(name="a"))[0]
    assert field not in made.update(AgentSpec(name="b"))[0]
    made.fresh_session()
    assert field in made.update(AgentSpec(name="b"))[0]


def test_objects_merge_unless_their_type_differs():
    server = {"turn_detection": {"type": "server_vad", "silence_duration_ms": 300}}
    assert merge(server, {"turn_detection": {"type": "semantic_vad"}}) == {"turn_detection": {"type": "semantic_vad"}}
    assert merge(server, {"turn_detection": {"threshold": 0.5}})["turn_detection"]["silence_duration_ms"] == 300
    assert merge(server, {"turn_detection": None}) == {"turn_detection": None}
