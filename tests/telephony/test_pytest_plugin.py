"""The pytest plugin in projects of its users: runs of pytest inside this one, with text-level speech."""

import importlib.metadata
import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from support.source import ROOT

# A run inside this one forgets what it imports, and numpy cannot be imported twice.
from realtime_bridge.localmodel.brains import agent, script_format
from telephony.call_files import call_check, call_file
from telephony.replay import verify

IMPORTED = (agent, script_format, call_check, call_file, verify)

pytest_plugins = ["pytester"]

INSTALLED = any(point.name == "realtime_bridge" for point in importlib.metadata.entry_points(group="pytest11"))
LOADED = () if INSTALLED else ("-p", "telephony.pytest_plugin")

AGENT = """
from realtime_bridge import Agent, ToolContext, tool

@tool
def find_order(context: ToolContext, order_id: str) -> dict:
    '''Find where an order is.

    Args:
        order_id: The order's number, a letter and four digits.
    '''
    return {"status": "shipped"}

agent = Agent(name="Desk", tools=[find_order], instructions='Greet with "Wheel Street Bikes, how can I help you?".')
"""
CALL = """\
agent: desk:agent
speech: text
caller:
  - Where is my order A1042?
expect:
  - said: Wheel Street Bikes
  - tool: find_order
    with: {order_id: A1042}
"""


@pytest.fixture
def project(pytester):
    pytester.makepyfile(desk=AGENT)
    pytester.path.joinpath("order.call.yaml").write_text(CALL)
    return pytester


def pytest_run(project, *arguments):
    return project.runpytest_inprocess(*LOADED, "-p", "no:cacheprovider", *arguments)


def test_a_call_file_is_a_test(project):
    result = pytest_run(project, "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["phone calls: in virtual time, *", "order.call.yaml::order PASSED*"])


def test_a_broken_prompt_is_red_and_says_what_was_said_instead(project):
    project.makepyfile(desk=AGENT.replace("Wheel Street Bikes, how", "Good morning, how"))
    result = pytest_run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*_ call order _*",
            "order.call.yaml:6:5: expected: the agent says 'Wheel Street Bikes'",
            "but: the agent said nothing like it",
            "  * s  agent    Good morning, how can I help you?",
            "  * s  caller   Where is my order A1042?",
            '  * s  tool     find_order(order_id=\'A1042\') -> {"status":"shipped"}',
            "tape: *call.tape",
            "speech: text-level*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")


def test_mistakes_in_a_file_are_told_with_their_place_and_hurt_no_other_test(project):
    project.path.joinpath("order.call.yaml").write_text(CALL.replace("with:", "wiht:"))
    project.makepyfile(test_else="def test_else(): pass")
    result = pytest_run(project)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["order.call.yaml:8:5: an expectation has no 'wiht'; did you mean 'with'?", "*    wiht: {order_id: A1042}"]
    )


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere:agent", "order.call.yaml:1:8: no module 'nowhere', neither installed nor in *"),
        ("desk:agnet", "order.call.yaml:1:8: desk:agnet is no agent; there is desk:agent"),
    ],
)
def test_an_agent_that_is_not_there_is_told_with_its_place(project, name, told):
    project.path.joinpath("order.call.yaml").write_text(CALL.replace("desk:agent", name))
    pytest_run(project).stdout.fnmatch_lines([told])


def test_an_agents_module_that_fails_shows_where(project):
    project.makepyfile(desk="import no_such_package_at_all")
    result = pytest_run(project)
    result.stdout.fnmatch_lines(["E *No module named 'no_such_package_at_all'", "desk.py:1: ModuleNotFoundError"])
    result.stdout.no_fnmatch_line("*importlib*")


def test_a_test_in_python_calls_an_agent_and_looks_at_what_came_of_it(project):
    project.makepyfile(
        test_order="""
        import asyncio
        from desk import agent
        from telephony.testing import HangUp, InterruptAt, Interruptions, Press, Said, ToolCalled

        def test_order(phone_call):
            call = phone_call(
                agent, "Where is my order A1042?", speech="text", expect=[ToolCalled("find_order"), Said("shipped")]
            )
            assert call.record.tools[0].arguments == {"order_id": "A1042"}
            assert "caller   Where is my order" in call.transcript

        def test_interrupted_at_a_word(phone_call):
            call = phone_call(
                agent, [InterruptAt("Street"), "Goodbye.", Press("1")], speech="text",
                expect=[Interruptions(min=1)],
            )
            greeting = call.record.transcript[0]
            assert greeting.text.startswith("Wheel Street"), greeting
            assert greeting.unheard.endswith("can I help you?"), greeting

        def test_red(phone_call):
            phone_call(agent, [HangUp()], speech="text", expect=[Said("stolen")])

        async def in_a_loop(phone_call):
            phone_call(agent, [HangUp()], speech="text", expect=[Said("Wheel Street")])

        def test_from_within_an_event_loop_and_beside_one(phone_call):
            asyncio.run(in_a_loop(phone_call))
            loop = asyncio.new_event_loop()
            asyncio.set_event_loop(loop)
            phone_call(agent, [HangUp()], speech="text")
            assert asyncio.get_event_loop() is loop
            asyncio.set_event_loop(None)
            loop.close()
        """
    )
    result = pytest_run(project, "test_order.py")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(
        [
            ">*phone_call(agent,*",
            "E *CallFailedError: expected: the agent says 'stolen'*",
            "test_order.py:*: CallFailedError",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_plugin.py*")


def test_a_tape_is_replayed_to_an_agent_and_verified(project):
    project.makepyfile(
        test_tape="""
        import pathlib, pytest
        from desk import agent
        from telephony.testing import Said

        def test_tape(phone_call, replay_tape, tmp_path):
            phone_call(agent, ["Goodbye."], speech="text", keep=tmp_path)
            (tape,) = tmp_path.rglob("call.tape")
            assert replay_tape(tape).identical
            assert replay_tape(tape, agent=agent, speech="text").passed
            with pytest.raises(AssertionError, match="expected: the agent says 'stolen'"):
                replay_tape(tape, agent=agent, speech="text", expect=[Said("stolen")])
        """
    )
    pytest_run(project, "test_tape.py").assert_outcomes(passed=1)


def test_openais_model_needs_a_key_and_says_so(project, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    call = CALL.replace("speech: text", "model: openai").replace("- Where is my order A1042?", "- press: 1")
    project.path.joinpath("order.call.yaml").write_text(call)
    result = pytest_run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["order.call.yaml: OPENAI_API_KEY is not set*"])


def test_a_tape_that_is_none_is_told(project):
    (project.path / "call.tape").write_bytes(b"no tape")
    project.path.joinpath("order.call.yaml").write_text("agent: desk:agent\ntape: call.tape\n")
    pytest_run(project).stdout.fnmatch_lines(["order.call.yaml: *tape*"])


def test_junits_report_holds_the_failure(project):
    project.makepyfile(desk=AGENT.replace("Wheel Street Bikes", "Good morning"))
    pytest_run(project, "--junitxml=report.xml")
    (case,) = ET.parse(project.path / "report.xml").iter("testcase")
    assert case.get("name") == "order"
    assert case.find("failure").text.startswith("order.call.yaml:6:5: expected: the agent says 'Wheel Street Bikes'")
    assert {p.get("name"): p.get("value") for p in case.iter("property")} == {"speech": "text"}


@pytest.mark.parametrize(("key", "outcome"), [("1", "done"), ("*", "rejected")])
def test_a_caller_who_presses_keys_decides_what_she_may_approve_herself(project, key, outcome):
    project.makepyfile(desk=AGENT.replace("@tool\n", '@tool(needs_approval=True, approval_by_caller="1")\n'))
    steps = f"A1042?\n  - silence: 5 s\n  - press: '{key}'\n"
    wanted = "    outcome: " + outcome
    project.path.joinpath("order.call.yaml").write_text(CALL.replace("A1042?\n", steps).rstrip() + f"\n{wanted}\n")
    pytest_run(project).assert_outcomes(passed=1)


def test_of_several_runs_so_many_must_pass(project):
    short = CALL.replace("Where is my order A1042?", "Goodbye.")
    project.path.joinpath("order.call.yaml").write_text(short + "runs: 2\n")
    result = pytest_run(project)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["0 of 2 calls passed; 100% should have"])


def test_projects_without_calls_are_left_alone(tmp_path):
    """Neither time nor output: nothing but the plugin itself is imported."""
    (tmp_path / "test_one.py").write_text(
        "import sys\n"
        "def test_one():\n"
        "    ours = {m for m in sys.modules if m.split('.')[0] in ('telephony', 'realtime_bridge')}\n"
        "    assert ours <= {'telephony', 'telephony.pytest_plugin'}, ours\n"
        "    heavy = {'numpy', 'yaml', 'rapidfuzz', 'openai', 'pydantic', 'aiohttp', 'twilio'}\n"
        "    assert not heavy & set(sys.modules)\n"
    )
    command = [sys.executable, "-m", "pytest", *LOADED, "-p", "no:cacheprovider", "test_one.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "phone calls" not in done.stdout
